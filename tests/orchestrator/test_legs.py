"""Steps that are done leg by leg: what a payroll moves in whatever order it is answered."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.account import CloseAccount, Deposit, OpenAccount
from messages.saga import (
    CompensationStarted,
    SagaParked,
    StartSaga,
    StepApplied,
    StepDeclined,
    StepRequested,
)
from orchestrator.machine import SagaMachine
from orchestrator.saga import Saga
from saga_definitions.dsl import Definition
from saga_definitions.payroll import PAYROLL
from saga_definitions.payroll_all_or_none import PAYROLL_ALL_OR_NONE
from saga_definitions.registry import Registry
from tests.orchestrator.real_accounts import SAGA, OnRealAccounts

WIDTH = 3


def narrow(definition: Definition) -> Definition:
    steps = (
        msgspec.structs.replace(step, width=WIDTH if step.each else 0)
        for step in definition.plan.steps
    )
    return replace(definition, plan=msgspec.structs.replace(definition.plan, steps=tuple(steps)))


DEFINITIONS = {one.name: narrow(one) for one in (PAYROLL, PAYROLL_ALL_OR_NONE)}


class Run(OnRealAccounts):
    """One payroll."""

    def __init__(self, definition: str, legs: int, bad: set[int], covered: bool = True) -> None:
        self.registry = Registry((DEFINITIONS[definition],))
        super().__init__(SagaMachine(self.registry))
        self.legs = [{"target": f"t{leg}", "amount_minor": 1 << leg} for leg in range(legs)]
        self.total = sum(1 << leg for leg in range(legs))
        self.cover = self.total if covered else self.total - 1
        self.order(OpenAccount, "source", currency="EUR")
        if self.cover:
            self.order(Deposit, "source", currency="EUR", amount_minor=self.cover)
        for leg in range(legs):
            self.order(OpenAccount, f"t{leg}", currency="EUR")
            if leg in bad:
                self.order(CloseAccount, f"t{leg}")
        self.ask(
            StartSaga(
                saga_id=SAGA,
                tenant="bank",
                definition=definition,
                params={
                    "source": "source",
                    "amount_minor": self.total,
                    "currency": "EUR",
                    "legs": self.legs,
                },
                fingerprint="",
                request_id="r",
                issued_at_ms=self.now_ms,
            )
        )

    def restart(self) -> None:
        """A new owner of the partition: from a snapshot."""
        again = self.restored(SagaMachine(self.registry))
        assert again.sagas.live == self.machine.sagas.live
        self.machine = again

    def look(self) -> None:
        if isinstance(self.saga, Saga):
            for legs in self.saga.legs.values():
                assert legs.under_way <= WIDTH
                assert legs.under_way == sum(1 for step in legs.open.values() if step.due_ms)
                letters = Counter(legs.letters)
                assert (letters["."], letters["?"]) == (legs.pending, len(legs.open))
                assert (letters["+"], letters["-"]) == (legs.applied, legs.undone)


MOVES = st.lists(st.tuples(st.sampled_from("dddddlrtst"), st.integers(0, 50)), max_size=60)
"""d: deliver, l: lose, r: deliver and keep a copy, t: time passes, s: restart; which message."""


def played(run: Run, moves: list[tuple[str, int]]) -> None:
    for move, number in moves:
        if move == "t":
            run.let_time_pass()
        elif move == "s":
            if isinstance(run.saga, Saga):
                run.restart()
        elif run.waiting:
            at = number % len(run.waiting)
            if move == "l":
                run.waiting.pop(at)
            else:
                run.deliver(at, keep=move == "r")


@given(st.integers(1, 8), st.sets(st.integers(0, 7)), st.booleans(), MOVES)
@settings(max_examples=150)
def test_a_payroll_pays_each_leg_once_or_gives_it_back(
    legs: int, bad: set[int], covered: bool, moves: list[tuple[str, int]]
) -> None:
    run = Run("payroll", legs, bad, covered)
    played(run, moves)
    run.finish()
    good = {f"t{leg}" for leg in range(legs)} - {f"t{leg}" for leg in bad}
    paid = {leg["target"]: leg["amount_minor"] for leg in run.legs if run.balances[leg["target"]]}
    assert all(run.balances[target] == amount for target, amount in paid.items())
    assert run.balances["source"] == run.cover - sum(paid.values())
    if run.saga.state == "completed":
        assert paid.keys() == good
        assert run.saga.reason == ("partial" if len(good) < legs else "")
    else:
        # The deadline may come before anybody is asked; then nobody is paid.
        assert not paid


@given(st.integers(1, 8), st.sets(st.integers(0, 7), max_size=1), st.booleans(), MOVES)
@settings(max_examples=150)
def test_all_or_none_pays_everybody_or_nobody(
    legs: int, bad: set[int], covered: bool, moves: list[tuple[str, int]]
) -> None:
    run = Run("payroll_all_or_none", legs, bad, covered)
    played(run, moves)
    run.finish()
    assert not any(account.holds for account in run.accounts.ledger.accounts())
    paid = run.saga.state == "completed"
    assert paid <= (covered and not any(leg < legs for leg in bad))
    for leg in run.legs:
        assert run.balances[leg["target"]] == (leg["amount_minor"] if paid else 0)
    assert run.balances["source"] == run.cover - (run.total if paid else 0)


def requested(run: Run) -> list[str]:
    return [event.step for event in run.events if isinstance(event, StepRequested)]


def answered(run: Run, step: str, reason: str = "", attempt: int = 1) -> None:
    if reason:
        run.ask(
            StepDeclined(saga_id=SAGA, step=step, direction="do", attempt=attempt, reason=reason)
        )
    else:
        run.ask(StepApplied(saga_id=SAGA, step=step, direction="do", attempt=attempt))


def test_as_many_legs_as_the_width_says_are_under_way_and_each_answer_lets_one_more_begin() -> None:
    run = Run("payroll", 5, set())
    answered(run, "debit")
    assert requested(run) == ["debit", "pay.0", "pay.1", "pay.2"]
    answered(run, "pay.1")
    assert requested(run)[4:] == ["pay.3"]
    answered(run, "pay.0", "account_closed")
    assert requested(run)[5:] == ["pay.4"]


def test_a_leg_that_waits_for_another_try_is_under_way() -> None:
    run = Run("payroll", 5, set())
    answered(run, "debit")
    answered(run, "pay.0", "clock_ahead")
    assert requested(run) == ["debit", "pay.0", "pay.1", "pay.2"]
    run.let_time_pass()
    assert requested(run)[4:] == ["pay.0"]


def test_a_leg_in_doubt_does_not_hold_up_the_others_and_its_answer_leads_the_saga_back() -> None:
    run = Run("payroll", 5, set())
    answered(run, "debit")
    answered(run, "pay.0", "effect_expired")
    for leg in range(1, 5):
        assert run.saga.state == "running"
        answered(run, f"pay.{leg}")
    (parked,) = (event for event in run.events if isinstance(event, SagaParked))
    assert (parked.step, parked.reason) == ("pay.0", "effect_expired")
    answered(run, "pay.0")
    assert (run.saga.state, run.saga.reason) == ("completed", "")


def test_before_the_pivot_one_leg_refused_turns_the_saga_back_and_begins_no_other() -> None:
    run = Run("payroll_all_or_none", 5, set())
    answered(run, "hold")
    answered(run, "credit.1", "account_closed")
    (turned,) = (event for event in run.events if isinstance(event, CompensationStarted))
    assert (turned.step, turned.reason) == ("credit.1", "account_closed")
    assert requested(run) == ["hold", "credit.0", "credit.1", "credit.2"]


def test_after_the_pivot_a_leg_that_is_refused_needs_a_person_once_all_others_are_done() -> None:
    run = Run("payroll_all_or_none", 4, set())
    for step in ("hold", *(f"credit.{leg}" for leg in range(4)), "capture"):
        answered(run, step)
    answered(run, "release.0", "hold_unknown")
    for leg in range(1, 4):
        assert run.saga.state == "running"
        answered(run, f"release.{leg}")
    assert (run.saga.state, run.saga.parked_step) == ("parked", "release.0")
    run.say("retry")
    answered(run, "release.0", attempt=2)
    assert run.saga.state == "completed"


@pytest.mark.parametrize(
    "step", ["pay", "pay.5", "pay.00", "pay.-1", "pay.x", "pay.0.0", "debit.0"]
)
def test_an_answer_for_a_leg_that_is_none_changes_nothing(step: str) -> None:
    run = Run("payroll", 5, set())
    answered(run, "debit")
    before = run.saga
    answered(run, step)
    assert run.saga is before
    assert run.events[-1].why == "step_unknown"


def test_what_is_settled_stays_whatever_is_answered_later() -> None:
    run = Run("payroll", 5, set())
    answered(run, "debit")
    answered(run, "pay.0", "account_closed")
    answered(run, "pay.1")
    before = run.saga
    answered(run, "pay.0")
    answered(run, "pay.1", "account_closed")
    assert run.saga is before


def test_a_leg_that_nobody_answered_is_taken_back_too() -> None:
    run = Run("payroll_all_or_none", 2, set())
    answered(run, "hold")
    for _ in range(40):
        run.let_time_pass()
    undone = [event.step for event in run.events if getattr(event, "direction", "") == "undo"]
    assert {"credit.0", "credit.1"} <= set(undone)


def test_a_leg_is_not_tried_again_once_the_saga_has_turned_back() -> None:
    run = Run("payroll_all_or_none", 2, set())
    answered(run, "hold")
    answered(run, "credit.0", "clock_ahead")
    answered(run, "credit.1", "account_closed")
    run.let_time_pass()
    assert requested(run).count("credit.0") == 1
    assert run.saga.legs["credit"].refused == 2


def test_a_retry_asks_for_every_leg_in_doubt() -> None:
    run = Run("payroll", 2, set())
    for step, reason in (("debit", ""), ("pay.0", "effect_expired"), ("pay.1", "effect_expired")):
        answered(run, step, reason)
    run.say("retry")
    assert requested(run)[3:] == ["pay.0", "pay.1"]
