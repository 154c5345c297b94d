"""The audit of sagas that are steps of others: yes to what happened, no to tampering."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from audit.accounts import Accounts
from audit.case import Case
from audit.cases import Cases
from audit.report import Findings
from audit.verdict import problems
from journal.log import Place
from messages.child import ParentStep
from messages.saga import (
    CompensationStarted,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaStarted,
    StepRefused,
    StepRequested,
    StepSucceeded,
)
from tests.saga_definitions.bank import SAGA, Bank

PARAMS: Any = {
    "source": "alice",
    "target": "bob",
    "amount_minor": 100,
    "currency": "EUR",
    "fee_account": "fees",
    "fee_minor": 3,
}
Tampering = Callable[[SagaEvent], SagaEvent | None]


def paid(*, closed: str = "") -> Bank:
    bank = Bank(alice=(500, "EUR"), bob=(0, "EUR"), fees=(0, "EUR"))
    if closed:
        bank.close(closed)
    return bank.start("transfer_with_fee", **PARAMS)


def found(bank: Bank, tampering: Tampering = lambda event: event) -> list[str]:
    """The checks that fail, sorted. Children's events come first: the order must not matter."""
    findings = Findings()
    cases = Cases(findings, memory_ms=0)
    accounts = Accounts(cases, findings, effect_horizon_ms=0)
    for offset, event in enumerate(bank.account_events):
        accounts.fold(event, Place("account.journal", 0), offset)
    ordered = sorted(enumerate(bank.events), key=lambda at: (at[1].saga_id == SAGA, at[0]))
    for offset, event in ordered:
        changed = tampering(event)
        if changed is not None:
            cases.fold(changed, Place("orchestrator.journal", 0), offset)
    open_cases = [case for case in cases.sagas.values() if isinstance(case, Case)]
    left = {problem.check for case in open_cases for problem in problems(case)}
    left |= {problem.check for _, problem in cases.children.problems()}
    return sorted({violation.check for violation in findings.first()} | left)


@pytest.mark.parametrize("closed", ["", "bob", "fees"])
def test_what_happened_is_right(closed: str) -> None:
    assert found(paid(closed=closed)) == []


def test_a_child_that_nobody_asked_for_is_seen() -> None:
    def by_another(event: SagaEvent) -> SagaEvent:
        if isinstance(event, SagaStarted) and event.parent is not None:
            return replace(event, parent=ParentStep("other", event.parent.step, "do", 1))
        return event

    assert "child_asked" in found(paid(), by_another)


def test_a_child_that_does_something_else_than_asked_is_seen() -> None:
    def richer(event: SagaEvent) -> SagaEvent:
        if isinstance(event, SagaStarted) and event.plan.definition == "fee":
            return replace(event, params={**event.params, "amount_minor": 4})
        return event

    assert "child_asked" in found(paid(), richer)


def test_a_step_that_is_done_although_its_child_is_not_completed_is_seen() -> None:
    def compensated(event: SagaEvent) -> SagaEvent:
        if isinstance(event, SagaCompleted) and event.saga_id != SAGA:
            return SagaCompensated(saga_id=event.saga_id, at_ms=event.at_ms, reason="x")
        return event

    assert "child_told" in found(paid(), compensated)


def test_a_step_that_is_refused_although_its_child_is_completed_is_seen() -> None:
    def refused(event: SagaEvent) -> SagaEvent:
        if isinstance(event, StepSucceeded) and event.step == "payment":
            return StepRefused(
                saga_id=SAGA,
                at_ms=event.at_ms,
                step="payment",
                direction="do",
                attempt=1,
                reason="x",
            )
        return event

    assert "child_told" in found(paid(), refused)


def test_a_step_that_is_undone_although_its_child_is_not_is_seen() -> None:
    taken_back = paid(closed="bob")

    def stays(event: SagaEvent) -> SagaEvent | None:
        is_child = event.saga_id != SAGA
        back = isinstance(event, CompensationStarted | SagaCompensated)
        undo = getattr(event, "direction", "") == "undo"
        fee = event.saga_id == _fee(taken_back)
        return None if is_child and fee and (back or undo) else event

    assert "child_told" in found(taken_back, stays)


def _fee(bank: Bank) -> str:
    return next(
        e.saga_id for e in bank.events if isinstance(e, SagaStarted) and e.plan.definition == "fee"
    )


def test_a_completed_child_that_turns_back_unasked_is_seen() -> None:
    def unasked(event: SagaEvent) -> SagaEvent | None:
        undo = isinstance(event, StepRequested) and event.direction == "undo"
        return None if event.saga_id == SAGA and undo else event

    assert "saga_ended" in found(paid(closed="bob"), unasked)


def test_a_completed_saga_of_a_caller_never_turns_back() -> None:
    def callers(event: SagaEvent) -> SagaEvent:
        if isinstance(event, SagaStarted) and event.parent is not None:
            return replace(event, parent=None)
        return event

    assert "saga_ended" in found(paid(closed="bob"), callers)
