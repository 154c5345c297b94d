"""Steps that are sagas, sagas whose steps are done leg by leg, and locks: together in one bank."""

from typing import Any

import pytest

from checker.course import Bounds
from checker.examples import example_params
from checker.exploration import explore
from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    AddUp,
    Amount,
    Currency,
    Definition,
    Legs,
    Params,
    command,
    condition,
    define,
    lock,
    nested,
    result_of,
    step,
    unlock,
)
from saga_definitions.payroll import PAYROLL
from tests.saga_definitions.bank import SAGA, Bank


class ListParams(Params):
    source = Account()
    amount_minor = Amount()
    currency = Currency()
    legs = Legs(most=10)


p = ListParams()
RULES = (AddUp(p.legs, p.amount_minor, p.source),)
SUM: Any = {"account_id": p.source, "amount_minor": p.amount_minor, "currency": p.currency}
LEG: Any = {
    "account_id": p.legs.leg.target,
    "amount_minor": p.legs.leg.amount_minor,
    "currency": p.currency,
}
GIVEN: Any = {
    "source": p.source,
    "amount_minor": p.amount_minor,
    "currency": p.currency,
    "legs": p.legs,
}


def over_lists(name: str, *steps: Any) -> Definition:
    return define(name, version=1, params=p, rules=RULES, steps=steps)


COLLECT = over_lists(
    "collect",
    step("take", each=p.legs, width=2, do=command(Debit, **LEG), undo=command(Credit, **LEG)),
    step("give", do=command(Credit, **SUM), undo=command(Debit, **SUM)),
)
"""Takes from everybody, and can be taken back also when it is completed."""

COLLECT_AND_PAY = over_lists(
    "collect_and_pay",
    nested("collect", COLLECT, given=GIVEN),
    step("send", do=command(Debit, **SUM), undo=command(Credit, **SUM)),
    step("reach", do=command(Credit, **{**SUM, "account_id": "far"}), pivot=True),
)

HELD = lock("hold_it", "payroll", p.source)
UNPAID = result_of("pay", "refused_minor")
LOCKED = over_lists(
    "locked",
    HELD,
    step("debit", do=command(Debit, **SUM), undo=command(Credit, **SUM)),
    step("pay", each=p.legs, width=2, do=command(Credit, **LEG), pivot=True),
    step(
        "give_back",
        do=command(Credit, **{**SUM, "amount_minor": UNPAID}),
        irreversible=True,
        when=condition(UNPAID, ">", 0),
    ),
    unlock("free", HELD),
)

WRAPPED = over_lists("wrapped", nested("pay_all", PAYROLL, given=GIVEN, pivot=True))

TOGETHER = (COLLECT, COLLECT_AND_PAY, LOCKED, WRAPPED)


def bank(*, closed: str = "", **balances: int) -> Bank:
    accounts = {"source": 0, "far": 0, "t0": 100, "t1": 100, "t2": 100, **balances}
    it = Bank(*TOGETHER, **{name: (balance, "EUR") for name, balance in accounts.items()})
    if closed:
        it.close(closed)
    return it


def started(it: Bank, definition: Definition, saga: str = SAGA) -> Bank:
    legs = [{"target": f"t{leg}", "amount_minor": 10 * (leg + 1)} for leg in range(3)]
    values: dict[str, Any] = {"source": "source", "amount_minor": 60, "currency": "EUR"}
    return it.start(definition.name, saga, **values, legs=legs)


def test_a_step_that_is_a_saga_does_its_own_steps_leg_by_leg() -> None:
    it = started(bank(), COLLECT_AND_PAY)
    assert it.state == ("completed", "")
    assert it.balances == {"source": 0, "far": 60, "t0": 90, "t1": 80, "t2": 70}


def test_the_legs_of_a_completed_child_are_taken_back_with_it() -> None:
    it = started(bank(closed="far"), COLLECT_AND_PAY)
    assert it.state == ("compensated", "account_closed")
    assert it.balances == {"source": 0, "far": 0, "t0": 100, "t1": 100, "t2": 100}


def test_a_leg_that_is_refused_refuses_the_step_whose_saga_it_belongs_to() -> None:
    it = started(bank(t2=0), COLLECT_AND_PAY)
    assert it.state == ("compensated", "insufficient_funds")
    assert it.balances == {"source": 0, "far": 0, "t0": 100, "t1": 100, "t2": 0}


def test_a_payroll_that_is_partial_is_done_for_its_parent() -> None:
    it = bank(source=60, t1=0)
    it.close("t1")
    started(it, WRAPPED)
    assert it.state == ("completed", "")
    assert it.balances == {"source": 20, "far": 0, "t0": 110, "t1": 0, "t2": 130}


def test_a_payroll_within_a_lock_gives_it_up_when_all_legs_are_through() -> None:
    it = bank(source=60, t1=0)
    it.close("t1")
    assert started(it, LOCKED).state == ("completed", "partial")
    assert it.balances == {"source": 20, "far": 0, "t0": 110, "t1": 0, "t2": 130}
    # Who comes next has the lock, not the money any more.
    another = "b" * 32
    assert started(it, LOCKED, another).state_of(another) == ("compensated", "insufficient_funds")


@pytest.mark.parametrize(
    ("definition", "as_child"), [*((one, False) for one in TOGETHER), (COLLECT, True)]
)
def test_the_checker_finds_nothing_wrong_with_them(definition: Definition, as_child: bool) -> None:
    for params in example_params(definition):
        found = explore(definition, params, bounds=Bounds(states=400), as_child=as_child)
        assert found.counterexample is None, found.counterexample
        assert found.ends["completed"]
