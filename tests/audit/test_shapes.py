"""The audit of sagas that skip, wait and split: yes to what happened, no to tampering."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from audit.accounts import Accounts
from audit.case import Case, Closed
from audit.cases import Cases
from audit.conditions import due
from audit.report import Findings
from audit.verdict import problems
from journal.log import Place
from messages.plan import Condition, PlannedStep
from messages.saga import (
    SagaCompleted,
    SagaEvent,
    SagaStarted,
    SignalAccepted,
    StepRequested,
    StepSkipped,
    StepSucceeded,
    StepWaiting,
    WaitEnded,
)
from saga_definitions.approved_transfer import FREE_UP_TO_MINOR
from tests.saga_definitions.bank import SAGA, Bank

ANN: dict[str, Any] = {"source": "alice", "target": "bob", "currency": "EUR", "initiator": "ann"}
Tampering = Callable[[SagaEvent], SagaEvent | None]


def folded(
    bank: Bank, tampering: Tampering = lambda event: event, *, sagas_first: bool = False
) -> tuple[Cases, Findings]:
    findings = Findings()
    cases = Cases(findings, memory_ms=0)
    accounts = Accounts(cases, findings, effect_horizon_ms=0)

    def fold_accounts() -> None:
        for offset, event in enumerate(bank.account_events):
            accounts.fold(event, Place("account.journal", 0), offset)

    if not sagas_first:
        fold_accounts()
    for offset, event in enumerate(bank.events):
        changed = tampering(event)
        if changed is not None:
            cases.fold(changed, Place("orchestrator.journal", 0), offset)
    if sagas_first:
        fold_accounts()
    return cases, findings


def found(bank: Bank, tampering: Tampering = lambda event: event) -> list[str]:
    """The checks that fail, sorted."""
    cases, findings = folded(bank, tampering)
    open_cases = [case for case in cases.sagas.values() if isinstance(case, Case)]
    left = {problem.check for case in open_cases for problem in problems(case)}
    return sorted({violation.check for violation in findings.first()} | left)


def approved(amount_minor: int) -> Bank:
    bank = Bank(alice=(5 * FREE_UP_TO_MINOR, "EUR"), bob=(0, "EUR"))
    bank.start("approved_transfer", amount_minor=amount_minor, **ANN)
    return bank


LARGE, SMALL = FREE_UP_TO_MINOR + 1, FREE_UP_TO_MINOR


def split() -> Bank:
    bank = Bank(alice=(100, "EUR"), bob=(0, "EUR"), carol=(0, "EUR"))
    legs = [{"target": "bob", "amount_minor": 1}, {"target": "carol", "amount_minor": 2}]
    return bank.start("split_transfer", source="alice", amount_minor=3, currency="EUR", legs=legs)


def payroll(definition: str = "payroll", *, closed: bool = True) -> Bank:
    bank = Bank(alice=(100, "EUR"), bob=(0, "EUR"), carol=(0, "EUR"))
    if closed:
        bank.close("carol")
    legs = [{"target": name, "amount_minor": 2} for name in ("bob", "carol", "bob")]
    return bank.start(definition, source="alice", amount_minor=6, currency="EUR", legs=legs)


def timed(definition: str, **params: Any) -> Bank:
    bank = Bank(alice=(100, "EUR"), bob=(0, "EUR"))
    common = {"source": "alice", "target": "bob", "amount_minor": 1, "currency": "EUR"}
    return bank.start(definition, **common, **params)


def scheduled() -> Bank:
    return timed("scheduled_transfer", execute_at="2027-01-01T01:00:00+01:00").wait(days=9_999)


NINE = "2027-01-01T09:00:00Z"


def standing() -> Bank:
    rhythm = {"first": "2027-01-01", "every": "day", "at": "09:00", "zone": "UTC", "times": 3}
    return timed("standing_order", **rhythm).wait(days=9_999)


def exchanged() -> Bank:
    params = {"target": "bob", "target_amount_minor": 162, "target_currency": "JPY"}
    quote = {"rate": "162", "quote_ends_at": "2099-01-01T00:00:00Z"}
    liquidity = {"source_liquidity": "bank-eur", "target_liquidity": "bank-jpy"}
    move = {"source": "alice", "amount_minor": 1_00, "currency": "EUR"}
    accounts = {"bank-eur": (0, "EUR"), "bank-jpy": (200, "JPY")}
    bank = Bank(alice=(1_00, "EUR"), bob=(0, "JPY"), **accounts)
    return bank.start("fx_transfer", **move, **params, **quote, **liquidity)


def at_other_times(**params: Any) -> Tampering:
    def tampering(event: SagaEvent) -> SagaEvent:
        if isinstance(event, SagaStarted) and event.saga_id == SAGA:
            return replace(event, params={**event.params, **params})
        return event

    return tampering


@pytest.mark.parametrize(
    ("bank", "others", "expected"),
    [
        (scheduled(), {"execute_at": "2027-01-01T00:00:00.001Z"}, ["too_early"]),
        (scheduled(), {"execute_at": "2027-01-01T00:00:00Z"}, []),
        (standing(), {"due": [NINE, NINE, "2027-01-03T09:00:00.001Z"]}, ["too_early"]),
        (standing(), {"due": [NINE, NINE, "2027-01-03T09:00:00Z"]}, []),
        (exchanged(), {"quote_ends_at": "2001-01-01T00:00:00Z"}, ["too_late"]),
        (exchanged(), {}, []),
    ],
)
def test_a_step_at_another_time_than_was_asked_for_is_seen(
    bank: Bank, others: dict[str, Any], expected: list[str]
) -> None:
    assert found(bank, at_other_times(**others)) == expected


@pytest.mark.parametrize(
    "bank",
    [
        scheduled(),
        standing(),
        exchanged(),
        payroll(),
        payroll(closed=False),
        payroll("payroll_all_or_none"),
        payroll("payroll_all_or_none", closed=False),
        approved(SMALL),
        approved(LARGE),
        approved(LARGE).signal("approval"),
        approved(LARGE).signal("approval", "reject"),
        approved(LARGE).wait(days=3),
        split(),
    ],
)
def test_what_happened_is_right(bank: Bank) -> None:
    assert found(bank) == []


@pytest.mark.parametrize("sagas_first", [True, False])
@pytest.mark.parametrize("bank", [payroll(), payroll("payroll_all_or_none"), split()])
def test_a_saga_is_closed_whichever_journal_is_read_first(bank: Bank, sagas_first: bool) -> None:
    cases, _ = folded(bank, sagas_first=sagas_first)
    assert isinstance(cases.sagas[SAGA], Closed)


def test_a_payroll_that_leaves_somebody_out_and_does_not_say_so_is_seen() -> None:
    def silent(event: SagaEvent) -> SagaEvent:
        return replace(event, reason="") if isinstance(event, SagaCompleted) else event

    def partial(event: SagaEvent) -> SagaEvent:
        return replace(event, reason="partial") if isinstance(event, SagaCompleted) else event

    assert found(payroll(), silent) == ["step_done"]
    assert found(payroll(closed=False), partial) == ["step_done"]


@pytest.mark.parametrize("definition", ["payroll", "payroll_all_or_none"])
def test_a_leg_that_was_never_paid_is_seen(definition: str) -> None:
    def longer(event: SagaEvent) -> SagaEvent:
        if isinstance(event, SagaStarted):
            legs = [*event.params["legs"], {"target": "dave", "amount_minor": 1}]
            return replace(event, params={**event.params, "legs": legs})
        return event

    assert found(payroll(definition, closed=False), longer) == ["step_done"]


def test_a_step_that_was_asked_for_before_its_wait_was_over_is_seen() -> None:
    bank = scheduled()
    over = [event for event in bank.events if isinstance(event, WaitEnded)]
    bank.events[:] = [event for event in bank.events if event not in over]
    at = next(i for i, event in enumerate(bank.events) if isinstance(event, StepSucceeded))
    bank.events[at:at] = over
    assert found(bank) == ["step_order"]


def test_a_step_with_legs_that_begins_after_its_last_moment_is_seen() -> None:
    late = {"by": "params.until"}

    def with_a_last_moment(event: SagaEvent) -> SagaEvent:
        if not isinstance(event, SagaStarted):
            return event
        steps = tuple(
            replace(step, **late) if step.name == "pay" else step for step in event.plan.steps
        )
        params = {**event.params, "until": "2001-01-01T00:00:00Z"}
        return replace(event, params=params, plan=replace(event.plan, steps=steps))

    assert found(payroll(), with_a_last_moment) == ["too_late"]


def test_an_approval_by_the_one_who_asked_is_seen() -> None:
    def by_ann(event: SagaEvent) -> SagaEvent:
        return replace(event, who="Ann") if isinstance(event, SignalAccepted) else event

    assert found(approved(LARGE).signal("approval"), by_ann) == ["approved_by"]


def test_a_transfer_that_went_on_without_its_approval_is_seen() -> None:
    def unasked(event: SagaEvent) -> SagaEvent | None:
        return None if isinstance(event, SignalAccepted | StepWaiting) else event

    assert found(approved(LARGE).signal("approval"), unasked) == ["step_done", "step_order"]


def test_an_approval_that_was_skipped_though_it_was_due_is_seen() -> None:
    def skipped(event: SagaEvent) -> SagaEvent | None:
        if isinstance(event, SignalAccepted):
            return StepSkipped(saga_id=SAGA, at_ms=event.at_ms, step="approval")
        return None if isinstance(event, StepWaiting) else event

    assert found(approved(LARGE).signal("approval"), skipped) == ["step_skipped"]


def test_a_step_that_is_never_skipped_and_was_is_seen() -> None:
    def skipped(event: SagaEvent) -> SagaEvent:
        if isinstance(event, StepRequested) and event.step == "capture":
            return StepSkipped(saga_id=SAGA, at_ms=event.at_ms, step="capture")
        return event

    assert "step_skipped" in found(approved(SMALL), skipped)


def test_a_step_that_was_begun_though_it_had_to_be_skipped_is_seen() -> None:
    def fewer_legs(event: SagaEvent) -> SagaEvent:
        if isinstance(event, SagaStarted):
            return replace(event, params={**event.params, "legs": event.params["legs"][:1]})
        return event

    assert "step_skipped" in found(split(), fewer_legs)


@pytest.mark.parametrize(
    ("left", "test", "right", "expected"),
    [
        ({"ref": "params.n"}, ">", 6, True),
        ({"ref": "params.n"}, "<=", 6, False),
        ({"ref": "params.n"}, "==", True, False),
        ({"ref": "params.gone"}, "==", None, True),
        ({"ref": "params.legs.0"}, "!=", None, True),
        ({"ref": "params.legs.1"}, "!=", None, False),
        ({"ref": "steps.a.result.n"}, "==", 7, None),
    ],
)
def test_what_is_due_follows_from_the_parameters(
    left: Any, test: Any, right: Any, expected: bool | None
) -> None:
    step = PlannedStep("a", when=(Condition(left, test, right),))
    assert due(step, {"n": 7, "legs": [{"target": "bob"}]}) is expected
