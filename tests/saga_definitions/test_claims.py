"""Sagas that claim and lock what they share: reversals, and definitions with locks of their own."""

from typing import Any

import pytest

from checker.course import Bounds
from checker.examples import example_params
from checker.exploration import explore
from messages.account import Credit
from messages.claims import AcquireLock, ReleaseLock
from messages.identity import saga_id
from messages.participants import CLAIMS
from messages.plan import CommandTemplate
from saga_definitions.dsl import (
    Definition,
    DefinitionError,
    Step,
    ask,
    command,
    condition,
    define,
    effect_of,
    lock,
    nested,
    step,
    unlock,
    wait_for,
)
from saga_definitions.registry import shipped
from tests.checker.broken import by_hand, credit, debit
from tests.orchestrator.graphs import MONEY, node, p
from tests.saga_definitions.bank import SAGA, Bank

A, B, C = (saga_id("bank", name) for name in "abc")
BACK = {"original": SAGA, "source": "bob", "target": "alice", "currency": "EUR"}

# Reversals


def back(bank: Bank, saga: str, amount_minor: int, total_minor: int = 100) -> tuple[str, str]:
    amounts = {"amount_minor": amount_minor, "total_minor": total_minor}
    return bank.start("reversal", saga, **BACK, **amounts).state_of(saga)


def test_reversals_give_back_what_was_moved_and_no_more() -> None:
    bank = Bank(alice=(0, "EUR"), bob=(500, "EUR"))
    assert back(bank, A, 60) == ("completed", "")
    assert back(bank, B, 60) == ("compensated", "limit_exceeded")
    assert back(bank, C, 40) == ("completed", "")
    assert bank.start("reversal", **BACK, amount_minor=1, total_minor=100).balances == {
        "alice": 100,
        "bob": 400,
    }


def test_a_reversal_that_nobody_can_pay_for_gives_its_claim_back() -> None:
    bank = Bank(alice=(0, "EUR"), bob=(50, "EUR"))
    assert back(bank, A, 60) == ("compensated", "insufficient_funds")
    assert back(bank, B, 50) == ("completed", "")


def test_a_reversal_that_can_not_be_paid_out_takes_everything_back() -> None:
    bank = Bank(alice=(0, "EUR"), bob=(100, "EUR"))
    bank.close("alice")
    assert back(bank, A, 60) == ("compensated", "account_closed")
    (quota,) = bank.claims.quotas.values()
    assert quota.claimed == 0


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"amount_minor": 101}, "amount_minor"),
        ({"target": "bob"}, "target"),
        ({"original": "5A" * 16}, "original"),
    ],
)
def test_the_definition_itself_checks_what_it_can(params: dict[str, Any], place: str) -> None:
    definition = shipped().find("reversal")
    given = {**BACK, "amount_minor": 100, "total_minor": 100, **params}
    assert [one for one, _ in definition.check_params(given)] == [place]


# Locks


HELD = lock("hold_it", "payroll", p.source, wait_ms=20_000, max_waiting=1)
PAY = {"source": "alice", "target": "bob", "amount_minor": 10, "currency": "EUR"}


def locked(*steps: Step) -> Definition:
    return define("locked", version=1, params=p, steps=steps)


def pay(*after: str) -> Step:
    return step(
        "pay", do=command(Credit, account_id=p.target, **MONEY), pivot=True, after=after or None
    )


GUARDED = locked(
    HELD,
    wait_for("go", timeout_ms=3_600_000),
    node("debit", "go"),
    pay(),
    unlock("release", HELD),
)


def guarded() -> Bank:
    return Bank(GUARDED, alice=(1_000, "EUR"), bob=(0, "EUR"))


def holder(bank: Bank) -> str:
    found = bank.claims.locks.get(("payroll", "alice"))
    return found.holder.saga_id if found is not None and found.holder is not None else ""


def test_one_saga_at_a_time_has_the_lock_and_its_end_gives_it_to_the_next() -> None:
    bank = guarded()
    bank.start("locked", A, **PAY)
    bank.start("locked", B, **PAY)
    assert holder(bank) == A
    assert bank.start("locked", C, **PAY).state_of(C) == ("compensated", "queue_full")
    assert bank.signal("go", saga=A).state_of(A) == ("completed", "")
    assert holder(bank) == B
    assert bank.signal("go", saga=B).state_of(B) == ("completed", "")
    assert not bank.claims.locks


def test_a_saga_that_turns_back_gives_its_lock_to_the_next() -> None:
    bank = guarded()
    bank.start("locked", A, **PAY)
    bank.start("locked", B, **PAY)
    assert bank.signal("go", "reject", saga=A).state_of(A)[0] == "compensated"
    assert holder(bank) == B


def test_a_saga_waits_for_a_lock_only_as_long_as_its_definition_says() -> None:
    bank = guarded()
    bank.start("locked", A, **PAY)
    bank.start("locked", B, **PAY)
    assert bank.wait(s=19).state_of(B)[0] == "running"
    assert bank.wait(s=1).state_of(B) == ("compensated", "lock_timeout")
    assert holder(bank) == A


def test_a_definition_with_a_lock_holds_in_every_order_of_outcomes() -> None:
    quick = locked(HELD, node("debit", "hold_it"), pay(), unlock("release", HELD))
    (params,) = example_params(quick)
    found = explore(quick, params, bounds=Bounds(duplicates=0, operators=0))
    assert found.counterexample is None, found.counterexample
    assert found.faults is None
    assert {"completed", "compensated", "parked"} <= found.ends.keys()


def test_the_checker_finds_a_lock_that_is_left_behind() -> None:
    named = {"purpose": "payroll", "resource": "alice"}
    take = CommandTemplate(
        "claims.input",
        "claims.AcquireLock.v1",
        "resource",
        {**named, "timeout_ms": 1_000, "max_waiting": 1},
    )
    give = CommandTemplate(
        "claims.input",
        "claims.ReleaseLock.v1",
        "resource",
        {**named, "lock_id": {"ref": "effect.take"}},
    )
    left = by_hand(
        debit("take", do=take, undo=give), debit("debit", "take"), credit("credit", "debit")
    )
    found = explore(left, {}).counterexample
    assert found is not None
    assert "the hold of take still stands" in str(found)


LATER = lock("later", "payroll", p.target)
FIRST = lock("first", "a", p.source)
SECOND = lock("second", "b", p.source)
BOTH = (pay(), unlock("u1", FIRST), unlock("u2", SECOND))


def test_locks_of_ascending_purposes_can_be_taken_one_after_the_other() -> None:
    assert locked(FIRST, SECOND, *BOTH)
    one, other = lock("first", "a", "x"), lock("second", "a", "y")
    assert locked(one, other, BOTH[0], unlock("u1", one), unlock("u2", other))


def taking(**fields: Any) -> Any:
    named = {"purpose": "payroll", "resource": p.source, **fields}
    return ask(CLAIMS, AcquireLock, **named, timeout_ms=1, max_waiting=1)


def giving(**fields: Any) -> Any:
    named = {"purpose": "payroll", "resource": p.source, "lock_id": effect_of("hold_it"), **fields}
    return ask(CLAIMS, ReleaseLock, **named)


RARE = condition(p.amount_minor, ">", 5)

WRONG: dict[str, tuple[tuple[Step, ...], str]] = {
    "a lock that nobody releases": ((HELD, pay()), "no step releases it"),
    "a lock that is released twice": (
        (HELD, pay(), unlock("one", HELD), unlock("two", HELD)),
        "releases it already",
    ),
    "a lock that is only sometimes released": (
        (HELD, pay(), step("free", do=giving(), irreversible=True, when=RARE)),
        "must be the same as that of hold_it",
    ),
    "a lock whose undo is another's": (
        (
            FIRST,
            step("hold_it", do=taking(), undo=giving(lock_id=effect_of("first"))),
            pay(),
            unlock("u1", FIRST),
            unlock("u2", HELD),
        ),
        "must be the same as what the step did",
    ),
    "a release of another resource": (
        (HELD, pay(), step("free", do=giving(resource=p.target), irreversible=True)),
        "must be the same as in hold_it",
    ),
    "a release of what is no lock": (
        (node("debit"), pay(), step("free", do=giving(lock_id="it"), irreversible=True)),
        "effect_of() the step that takes the lock",
    ),
    "a lock as the pivot": (
        (step("hold_it", do=taking(), pivot=True), unlock("free", HELD)),
        "needs its undo",
    ),
    "two locks of one purpose on what nobody knows beforehand": (
        (HELD, LATER, pay(), unlock("u1", HELD), unlock("u2", LATER)),
        "out of order after hold_it",
    ),
    "locks of descending purposes": (
        (SECOND, FIRST, pay(), *BOTH[1:]),
        "out of order after second",
    ),
    "locks taken at the same time": (
        (
            FIRST,
            lock("second", "b", p.source, after=()),
            pay("first", "second"),
            *BOTH[1:],
        ),
        "takes a lock beside",
    ),
    "a queue without a bound": (
        (lock("hold_it", "payroll", p.source, max_waiting=10**9), pay(), unlock("free", HELD)),
        "max_waiting",
    ),
    "a wait without a bound": (
        (lock("hold_it", "payroll", p.source, wait_ms=10**8), pay(), unlock("free", HELD)),
        "timeout_ms",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_definition_that_would_leave_a_lock_behind_or_deadlock_is_refused(what: str) -> None:
    steps, reason = WRONG[what]
    with pytest.raises(DefinitionError) as refused:
        locked(*steps)
    assert reason in str(refused.value)


def test_a_step_that_is_a_saga_takes_no_lock_beside_its_parents() -> None:
    given: Any = {"source": p.source, "target": p.target, **MONEY}
    inner = define(
        "inner",
        version=1,
        params=p,
        steps=(HELD, pay(), unlock("release", HELD)),
        deadline_ms=1_000,
    )
    outer = define(
        "outer", version=1, params=p, steps=(nested("in", inner, given=given, pivot=True),)
    )
    for child in (inner, outer):
        with pytest.raises(DefinitionError, match=f"{child.name} takes locks, too"):
            locked(
                HELD,
                nested("in", child, given=given, pivot=True),
                unlock("release", HELD),
            )
