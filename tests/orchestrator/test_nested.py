"""Sagas in sagas: the child's end is the step's, and the step's undo takes the child back."""

from itertools import count
from typing import Any

from messages.account import Credit, Debit
from messages.child import ParentAnswered, StartChild, UndoChild
from messages.identity import child_id, effect_id
from messages.saga import (
    RecoverSaga,
    RecoveryRefused,
    SagaEvent,
    SagaStarted,
    SignalSaga,
    StartRefused,
    StartSaga,
    StepApplied,
    StepDeclined,
)
from orchestrator.machine import SagaMachine
from orchestrator.progress import Saga
from orchestrator.service import INPUTS
from saga_definitions.dsl import Definition, Params, command, define, nested, step, wait_for
from saga_definitions.registry import Registry, shipped
from tests.orchestrator.graphs import MONEY, UNDO, MoveParams, node
from tests.saga_definitions.bank import NOW_MS, SAGA, Bank

p = MoveParams()
GIVEN: Any = {
    "source": p.source,
    "target": p.target,
    "amount_minor": p.amount_minor,
    "currency": p.currency,
}
PARAMS: Any = {"source": "alice", "target": "bob", "amount_minor": 100, "currency": "EUR"}
DAY_MS = 86_400_000
SLOW: Any = {"deadline_ms": 3_600_000}


def pay(name: str = "pay", *before: Any) -> Definition:
    """Moves the amount from source to target, and can take it back."""
    return define(
        name,
        version=1,
        params=p,
        steps=(
            *before,
            node("debit", *(one.name for one in before)),
            step(
                "credit",
                do=command(Credit, account_id=p.target, **MONEY),
                undo=command(Debit, account_id=p.target, **MONEY),
                undo_retry=UNDO,
            ),
        ),
    )


def parent(*steps: Any, **options: Any) -> Definition:
    return define("parent", **{"version": 1, "params": p, "steps": steps, **options})


CREDIT_CAROL: Any = {"do": command(Credit, account_id="carol", **MONEY), "pivot": True}
PAID_THEN_CREDIT = parent(
    nested("pay", pay(), given=GIVEN),
    node(
        "debit_bob",
        "pay",
        do=command(Debit, account_id=p.target, **MONEY),
        undo=command(Credit, account_id=p.target, **MONEY),
    ),
    node("credit_carol", "debit_bob", **CREDIT_CAROL),
)


def bank(*definitions: Definition, **more: tuple[int, str]) -> Bank:
    accounts = {"alice": (500, "EUR"), "bob": (0, "EUR"), "carol": (0, "EUR")}
    return Bank(*definitions, **{**accounts, **more})


def child(bank: Bank, step: str = "pay") -> Saga:
    found = bank.sagas.sagas.get(child_of(bank, step))
    assert isinstance(found, Saga), found
    return found


_numbers = count(1)


def child_of(bank: Bank, step: str = "pay", life: int = 0) -> str:
    return child_id(SAGA, step, NOW_MS, life)


def begun(bank: Bank) -> list[str]:
    return [e.saga_id for e in bank.events if isinstance(e, SagaStarted) and e.parent is not None]


def operator(action: Any, saga_id: str = SAGA) -> RecoverSaga:
    name = f"o{next(_numbers)}"
    return RecoverSaga(saga_id=saga_id, request_id=name, action=action, who="ann", why="ticket")


def said(verdict: Any, saga_id: str = SAGA) -> SignalSaga:
    return SignalSaga(saga_id=saga_id, signal="word", request_id="g", verdict=verdict, who="bea")


def lines(bank: Bank, saga_id: str) -> list[str]:
    return [type(event).__name__ for event in bank.events if event.saga_id == saga_id]


def test_a_step_is_done_when_its_saga_is_completed() -> None:
    it = bank(PAID_THEN_CREDIT).start("parent", **PARAMS)
    assert it.state == ("completed", "")
    assert it.balances == {"alice": 400, "bob": 0, "carol": 100}
    assert child(it).state == "completed"


def test_a_step_is_refused_with_the_reason_of_its_saga() -> None:
    it = bank(PAID_THEN_CREDIT)
    it.close("bob")
    it.start("parent", **PARAMS)
    assert it.state == ("compensated", "account_closed")
    assert it.balances == {"alice": 500, "bob": 0, "carol": 0}


def test_a_completed_saga_is_taken_back_by_the_saga_whose_step_it_is() -> None:
    it = bank(PAID_THEN_CREDIT)
    it.close("carol")
    it.start("parent", **PARAMS)
    assert it.state == ("compensated", "account_closed")
    assert it.balances == {"alice": 500, "bob": 0, "carol": 0}
    told = lines(it, child_of(it))
    assert told[: told.index("ParentAsked")].count("SagaCompleted") == 1
    assert told[told.index("ParentAsked") :].count("SagaCompensated") == 1
    ended = it.sagas.sagas.get(child_of(it))
    assert ended is not None
    assert (ended.state, ended.reason) == ("compensated", "undone_by_parent")


def ask_child(kind: type[StartChild] | type[UndoChild], **fields: Any) -> Any:
    """What the step `pay` of the saga `SAGA` sends its child; fields of the other kind are none."""
    direction = "do" if kind is StartChild else "undo"
    if kind is StartChild:
        fields = {"definition": "pay", "version": 1, "params": PARAMS, **fields}
    return kind(
        **{
            "child_id": child_id(SAGA, "pay", NOW_MS, 0),
            "effect_id": effect_id(SAGA, "pay", direction),
            "issued_at_ms": NOW_MS,
            "saga_id": SAGA,
            "step": "pay",
            "direction": direction,
            "reply_to": "orchestrator.input",
            **fields,
        }
    )


class Partition:
    """The child's partition alone: what it decides and answers."""

    def __init__(self, definition: Definition | None = None) -> None:
        self.machine = SagaMachine(Registry((definition or pay(),)))
        self.now_ms = NOW_MS

    def take(self, message: Any) -> list[SagaEvent]:
        events = list(self.machine.decide(message, self.now_ms))
        for event in events:
            self.machine.evolve(event)
        self._check_snapshot()
        return events

    def told(self, message: Any) -> list[tuple[str, str, int]]:
        """(direction, reason, attempt) of the answers that follow from it."""
        return [
            (event.parent.direction, event.reason, event.parent.attempt)
            for event in self.take(message)
            if isinstance(event, ParentAnswered)
        ]

    def finish(self, *steps: str, direction: Any = "do") -> list[tuple[str, str, int]]:
        told: list[tuple[str, str, int]] = []
        for name in steps:
            told += self.told(StepApplied(saga_id=CHILD, step=name, direction=direction, attempt=1))
        return told

    def _check_snapshot(self) -> None:
        chunks = list(self.machine.snapshot())
        again = SagaMachine(Registry((pay(),)))
        for chunk in reversed(chunks):
            again.restore(chunk)
        assert again.sagas.get(CHILD) == self.machine.sagas.get(CHILD)
        assert again.sagas.revocable == self.machine.sagas.revocable


CHILD = child_id(SAGA, "pay", NOW_MS, 0)


def test_a_repeated_start_begins_nothing_and_hears_the_end() -> None:
    it = Partition()
    assert it.told(ask_child(StartChild)) == []
    assert [type(e).__name__ for e in it.take(ask_child(StartChild, attempt=2))] == ["ParentAsked"]
    assert it.finish("debit", "credit") == [("do", "", 2)]
    assert it.told(ask_child(StartChild, attempt=3)) == [("do", "", 3)]


def test_a_late_copy_of_an_earlier_attempt_is_not_what_is_answered() -> None:
    it = Partition()
    for attempt in (1, 2, 1):
        it.take(ask_child(StartChild, attempt=attempt))
    assert it.finish("debit", "credit") == [("do", "", 2)]


def test_an_undo_that_comes_first_voids_the_start() -> None:
    it = Partition()
    assert it.told(ask_child(UndoChild)) == [("undo", "", 1)]
    assert it.told(ask_child(StartChild)) == [("do", "effect_voided", 1)]
    assert it.told(ask_child(UndoChild, attempt=2)) == [("undo", "", 2)]
    assert not it.machine.sagas.live


def test_a_child_under_way_is_taken_back_and_not_begun_again() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    it.finish("debit")
    assert it.told(ask_child(UndoChild)) == []
    assert it.told(ask_child(StartChild, attempt=2)) == [("do", "effect_voided", 2)]
    declined = StepDeclined(
        saga_id=CHILD, step="credit", direction="do", attempt=1, reason="account_closed"
    )
    it.take(declined)
    assert it.finish("debit", direction="undo") == [("undo", "", 1)]


def test_a_completed_child_is_taken_back_once() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    it.finish("debit", "credit")
    assert it.told(ask_child(UndoChild)) == []
    assert [type(e).__name__ for e in it.take(ask_child(UndoChild, attempt=2))] == ["ParentAsked"]
    assert it.finish("credit", "debit", direction="undo") == [("undo", "", 2)]
    assert it.told(ask_child(UndoChild, attempt=3)) == [("undo", "", 3)]
    assert it.told(ask_child(StartChild, attempt=2)) == [("do", "undone_by_parent", 2)]


def test_nobody_but_the_parent_takes_a_completed_child_back() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    it.finish("debit", "credit")
    for action in ("compensate", "cancel", "retry"):
        (refused,) = it.take(operator(action, CHILD))
        assert isinstance(refused, RecoveryRefused) and refused.reason == "saga_finished"
    for stranger in ({"saga_id": "b" * 32}, {"step": "other"}):
        assert it.told(ask_child(UndoChild, **stranger)) == [("undo", "effect_reused", 1)]
        assert it.told(ask_child(StartChild, **stranger)) == [("do", "effect_reused", 1)]
    assert it.told(ask_child(StartChild, params={**PARAMS, "amount_minor": 1})) == [
        ("do", "effect_reused", 1)
    ]


def test_a_caller_does_not_get_at_a_child_under_its_id() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    asked = StartSaga(
        saga_id=CHILD,
        tenant="bank",
        definition="pay",
        params=PARAMS,
        fingerprint="",
        request_id="r",
        issued_at_ms=NOW_MS,
    )
    (refused,) = it.take(asked)
    assert isinstance(refused, StartRefused) and refused.reason == "idempotency_key_reused"


def test_a_child_that_is_forgotten_is_neither_begun_again_nor_held_for_undone() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    it.finish("debit", "credit")
    it.now_ms += 8 * DAY_MS
    it.take(ask_child(StartChild, saga_id="b" * 32, child_id="b" * 32, issued_at_ms=it.now_ms))
    assert it.machine.sagas.get(CHILD) is None
    assert it.told(ask_child(UndoChild)) == [("undo", "effect_expired", 1)]
    assert it.told(ask_child(StartChild, attempt=2)) == [("do", "effect_expired", 2)]


def test_a_child_is_as_good_as_forgotten_in_a_partition_where_nothing_happened_since() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    it.finish("debit", "credit")
    it.now_ms += 8 * DAY_MS - 1
    assert it.machine.sagas.revocable
    it.now_ms += 1
    assert it.told(ask_child(UndoChild)) == [("undo", "effect_expired", 1)]
    assert it.told(ask_child(UndoChild, attempt=2)) == [("undo", "effect_expired", 2)]
    assert it.machine.sagas.get(CHILD) is None


def test_a_child_is_taken_back_in_the_last_moment_before_it_is_forgotten() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    it.finish("debit", "credit")
    it.now_ms += 8 * DAY_MS - 1
    assert it.told(ask_child(UndoChild)) == []
    assert it.finish("credit", "debit", direction="undo") == [("undo", "", 1)]


def test_a_child_that_was_declined_without_a_reason_does_not_pass_for_applied() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    declined = StepDeclined(saga_id=CHILD, step="debit", direction="do", attempt=1, reason="")
    assert it.told(declined) == [("do", "child_compensated", 1)]


def test_a_child_that_is_taken_back_when_it_would_be_forgotten_is_remembered() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    it.finish("debit", "credit")
    it.take(ask_child(UndoChild))
    it.now_ms += 8 * DAY_MS
    it.take(ask_child(StartChild, saga_id="b" * 32, child_id="b" * 32, issued_at_ms=it.now_ms))
    assert it.finish("credit", "debit", direction="undo") == [("undo", "", 1)]
    assert it.told(ask_child(UndoChild, attempt=2)) == [("undo", "", 2)]


def test_a_child_past_its_pivot_is_not_taken_back() -> None:
    final = define(
        "pay", version=1, params=p, steps=(node("debit"), node("credit", "debit", pivot=True))
    )
    it = Partition(final)
    it.take(ask_child(StartChild))
    it.finish("debit")
    assert it.told(ask_child(UndoChild)) == [("undo", "pivot_passed", 1)]
    assert it.finish("credit") == [("do", "", 1)]
    assert it.told(ask_child(UndoChild)) == [("undo", "pivot_passed", 1)]


def test_a_child_is_begun_in_the_version_that_its_parent_names() -> None:
    it = Partition()
    unknown = ask_child(StartChild, version=2)
    assert it.told(unknown) == [("do", "definition_unknown", 1)]
    # It stays so: the next try is another child.
    assert it.told(ask_child(StartChild, attempt=2)) == [("do", "definition_unknown", 2)]
    (started, *_) = it.take(ask_child(StartChild, child_id="c" * 32, attempt=2))
    assert isinstance(started, SagaStarted) and started.plan.version == 1


def test_what_the_child_does_not_take_is_told_within_the_bounds_of_an_answer() -> None:
    it = Partition()
    wrong = {f"{'x' * 60}{n}": n for n in range(40)}
    _, answered = it.take(ask_child(StartChild, params=wrong))
    assert isinstance(answered, ParentAnswered) and answered.reason == "params_invalid"
    (answer,) = it.machine.outputs(answered)
    assert isinstance(INPUTS.decode(answer.value), StepDeclined)


def test_a_reason_that_would_mean_doubt_to_the_parent_is_told_as_another() -> None:
    it = Partition()
    it.take(ask_child(StartChild))
    # Nobody answers the debit until its attempts are used up.
    while not any(step.state == "undoing" for step in it.machine.sagas.live[CHILD].steps):
        due_ms = it.machine.next_due_ms()
        assert due_ms is not None
        it.now_ms = max(it.now_ms, due_ms)
        for event in it.machine.fire(it.now_ms):
            it.machine.evolve(event)
    assert it.finish("debit", direction="undo") == [("do", "child_compensated", 1)]


# The parent's side


PAID_LAST = parent(node("debit"), nested("pay", pay(), given=GIVEN, pivot=True))


def test_a_parent_never_guesses_about_a_child_that_waits_for_a_person() -> None:
    approved = pay("approved", wait_for("word", timeout_ms=3 * DAY_MS))
    it = bank(parent(nested("pay", approved, given=GIVEN, pivot=True))).start("parent", **PARAMS)
    it.wait(days=2)
    assert it.state == ("running", "")
    it.take(said("approve", child_of(it)))
    assert it.state == ("completed", "")
    assert it.balances["bob"] == 100
    # It asks ever more rarely.
    assert lines(it, SAGA).count("StepRequested") < 40


def test_a_cancelled_parent_takes_back_at_once_what_its_child_is_doing() -> None:
    approved = pay("approved", wait_for("word", timeout_ms=60_000))
    it = bank(
        parent(
            nested("pay", approved, given=GIVEN),
            node("end", "pay", pivot=True),
            deadline_ms=3_600_000,
        )
    ).start("parent", **PARAMS)
    assert child(it).waiting_beside("")
    it.take(operator("cancel", SAGA))
    assert it.state == ("compensated", "cancelled")
    assert it.balances == {"alice": 500, "bob": 0, "carol": 0}


def test_a_child_that_is_cancelled_by_a_person_refuses_its_step() -> None:
    approved = pay("approved", wait_for("word", timeout_ms=3 * DAY_MS))
    it = bank(parent(nested("pay", approved, given=GIVEN, pivot=True))).start("parent", **PARAMS)
    it.take(operator("cancel", child_of(it)))
    assert it.state == ("compensated", "cancelled")


def test_a_parent_waits_for_a_child_that_is_parked_and_hears_how_a_person_settled_it() -> None:
    it = bank(
        parent(
            nested("pay", pay(), given=GIVEN),
            wait_for("word", timeout_ms=DAY_MS),
            node("credit_carol", "word", **CREDIT_CAROL),
        )
    ).start("parent", **PARAMS)
    it.withdraw("bob", 100)
    it.take(said("reject")).wait(days=2)
    assert (child(it).state, child(it).parked_reason) == ("parked", "compensation_failed")
    assert it.state == ("compensating", "rejected")
    it.deposit("bob", 100)
    it.take(operator("retry", child_of(it)))
    assert it.state == ("compensated", "rejected")
    assert it.balances == {"alice": 500, "bob": 0, "carol": 0}


def test_what_is_declined_past_the_pivot_is_tried_again_by_another_child() -> None:
    it = bank(
        parent(node("debit", pivot=True), nested("pay", pay(), given=GIVEN, irreversible=True))
    )
    it.freeze("bob")
    it.start("parent", **PARAMS)
    assert it.state[0] == "parked"
    it.unfreeze("bob")
    it.take(operator("retry", SAGA))
    assert it.state == ("completed", "")
    assert begun(it) == [child_of(it), child_of(it, life=1)]
    assert it.balances == {"alice": 300, "bob": 100, "carol": 0}


def test_a_person_may_ask_for_another_child_however_late() -> None:
    it = bank(
        parent(node("debit", pivot=True), nested("pay", pay(), given=GIVEN, irreversible=True))
    )
    it.freeze("bob")
    it.start("parent", **PARAMS).wait(days=9)
    it.unfreeze("bob")
    it.take(operator("retry", SAGA))
    assert it.state == ("completed", "")
    assert it.balances == {"alice": 300, "bob": 100, "carol": 0}


def test_the_child_of_another_try_is_the_one_that_is_asked_again() -> None:
    slow = pay("pay", wait_for("word", timeout_ms=DAY_MS))
    again = nested("pay", slow, given=GIVEN, irreversible=True)
    it = bank(parent(node("debit", pivot=True), again))
    it.start("parent", **PARAMS).take(said("reject", child_of(it)))
    it.take(operator("retry")).wait(s=60)
    assert begun(it) == [child_of(it), child_of(it, life=1)]
    assert lines(it, child_of(it, life=1)).count("ParentAsked") > 1
    it.take(said("approve", child_of(it, life=1)))
    assert it.state == ("completed", "")
    assert it.balances == {"alice": 300, "bob": 100, "carol": 0}


def test_a_child_may_have_no_parameters() -> None:
    still = define("still", version=1, params=Params(), steps=(wait_for("word", timeout_ms=1_000),))
    it = bank(parent(nested("still", still, given={}), node("end", "still", pivot=True), **SLOW))
    it.start("parent", **PARAMS)
    assert child(it, "still").waiting_beside("") == "word"


def test_a_child_sleeps_until_its_time_and_answers_the_last_attempt_that_asked() -> None:
    given = {**GIVEN, "execute_at": "2026-01-11T00:00:00Z"}
    later = shipped().find("scheduled_transfer")
    it = bank(parent(nested("pay", later, given=given, pivot=True))).start("parent", **PARAMS)
    asleep = it.sagas.sagas.asleep
    it.wait(days=2)
    assert (len(asleep), it.state) == (1, ("running", ""))
    assert lines(it, child_of(it)).count("ParentAsked") > 8
    it.wait(days=9)
    assert (len(asleep), it.state) == (0, ("completed", ""))
    assert it.balances == {"alice": 400, "bob": 100, "carol": 0}


def test_a_sleeping_child_that_a_person_cancels_refuses_its_step() -> None:
    given = {**GIVEN, "execute_at": "2026-01-11T00:00:00Z"}
    later = shipped().find("scheduled_transfer")
    it = bank(parent(nested("pay", later, given=given, pivot=True))).start("parent", **PARAMS)
    assert len(it.sagas.sagas.asleep) == 1
    it.take(operator("cancel", child_of(it)))
    assert (len(it.sagas.sagas.asleep), it.state) == (0, ("compensated", "cancelled"))
    assert it.balances == {"alice": 500, "bob": 0, "carol": 0}
