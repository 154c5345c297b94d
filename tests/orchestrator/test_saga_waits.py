"""Steps that wait: for a person's word, for an outside event, for a time far off."""

from typing import Any

import pytest

from messages.account import Hold, Release
from messages.saga import SignalSaga
from orchestrator.machine import SagaMachine
from saga_definitions.dsl import (
    Definition,
    Instant,
    Person,
    command,
    condition,
    define,
    effect_of,
    result_of,
    wait_for,
    wait_until,
)
from saga_definitions.registry import Registry
from tests.orchestrator.graphs import MoveParams, node
from tests.orchestrator.saga_scenario import (
    START_MS,
    Scenario,
    applied,
    declined,
    given,
    operator,
    passes,
    signal,
    start,
    undo_applied,
)

DAY_MS = 86_400_000


class WaitingParams(MoveParams):
    initiator = Person()
    execute_at = Instant()


q = WaitingParams()
HOLD: dict[str, Any] = {
    "do": command(Hold, account_id=q.source, amount_minor=q.amount_minor, currency=q.currency),
    "undo": command(Release, account_id=q.source, hold_id=effect_of("hold")),
}
APPROVAL = wait_for("approval", timeout_ms=2 * DAY_MS, not_by=q.initiator, after=("hold",))


def waiting(*steps: Any) -> Definition:
    return define("waiting", version=1, params=q, steps=steps, deadline_ms=60_000)


def begin(**params: Any) -> Any:
    return start("waiting", **{"initiator": "ann", "execute_at": "1970-02-01T00:00:00Z", **params})


APPROVED = waiting(node("hold", **HOLD), APPROVAL, node("pivot", "approval", pivot=True))


def held() -> Scenario:
    return given(begin(), applied("hold"), using=[APPROVED])


def test_a_saga_waits_for_a_signal_and_goes_on_with_it() -> None:
    scenario = given(begin(), using=[APPROVED])
    scenario.when(applied("hold")).then("hold applied", "approval waits")
    scenario.when(passes(days=1)).then()
    scenario.when(signal()).then("approval approve: bea", "pivot asked (1)")
    scenario.when(applied("pivot")).then("pivot applied", "completed")


def test_a_rejection_takes_the_saga_back() -> None:
    scenario = held()
    scenario.when(signal(verdict="reject")).then(
        "approval reject: bea", "turned back: rejected", "hold undo asked (1)"
    )
    scenario.when(undo_applied("hold")).then("hold undo applied", "compensated: rejected")


def test_silence_is_a_refusal() -> None:
    scenario = held()
    scenario.when(passes(days=2)).then(
        "approval over: signal_timeout", "turned back: signal_timeout", "hold undo asked (1)"
    )
    scenario.when(signal()).then("approval approve refused: not_waiting")


@pytest.mark.parametrize("who", ["ann", "ANN", "Ann"])
def test_who_started_a_saga_does_not_approve_it(who: str) -> None:
    scenario = held()
    scenario.when(signal(who=who)).then("approval approve refused: same_person")
    scenario.when(signal(request_id="g2")).then("approval approve: bea", "pivot asked (1)")


def test_who_started_a_saga_may_reject_it() -> None:
    held().when(signal(who="ann", verdict="reject")).then(
        "approval reject: ann", "turned back: rejected", "hold undo asked (1)"
    )


def test_the_same_signal_again_hears_the_same_also_after_the_end() -> None:
    scenario = held().given(signal())
    scenario.when(signal()).then("signal repeated: running")
    scenario.when(signal(who="cid")).then("approval approve refused: request_reused")
    scenario.when(signal(request_id="g2")).then("approval approve refused: not_waiting")
    scenario.given(applied("pivot"))
    scenario.when(signal()).then("signal repeated: completed")
    scenario.when(signal(request_id="g3")).then("approval approve refused: saga_finished")


def test_a_finished_saga_remembers_its_signals_in_the_partition_and_its_snapshot() -> None:
    machine = SagaMachine(Registry((APPROVED,)))

    def work(message: Any) -> list[str]:
        events = list(machine.decide(message, START_MS))
        for event in events:
            machine.evolve(event)
        return [type(event).__name__ for event in events]

    for message in (begin(), applied("hold"), signal(), applied("pivot")):
        work(message)
    assert work(signal()) == ["SignalRepeated"]
    again = SagaMachine(Registry((APPROVED,)))
    for chunk in machine.snapshot():
        again.restore(chunk)
    assert [type(e).__name__ for e in again.decide(signal(), START_MS)] == ["SignalRepeated"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (signal("nobody"), "signal_unknown"),
        (signal("hold"), "signal_unknown"),
        (signal("pivot"), "signal_unknown"),
    ],
)
def test_a_signal_that_nobody_waits_for_is_refused(message: SignalSaga, reason: str) -> None:
    held().when(message).then(f"{message.signal} approve refused: {reason}")


def test_a_signal_before_its_step_waits_is_refused_and_can_be_sent_again() -> None:
    scenario = given(begin(), using=[APPROVED])
    scenario.when(signal()).then("approval approve refused: not_waiting")
    scenario.given(applied("hold"))
    scenario.when(signal()).then("approval approve: bea", "pivot asked (1)")


def test_a_signal_for_no_saga_is_refused() -> None:
    given(using=[APPROVED]).when(signal()).then("approval approve refused: saga_unknown")


def test_what_comes_with_a_signal_is_the_result_of_its_step() -> None:
    definition = waiting(
        wait_for("approval", timeout_ms=DAY_MS),
        node("a", "approval", when=condition(result_of("approval", "urgent"), "==", True)),
    )
    given(begin(), using=[definition]).when(signal(urgent=True)).then(
        "approval approve: bea", "a asked (1)"
    )
    given(begin(), using=[definition]).when(signal(urgent=False)).then(
        "approval approve: bea", "a skipped", "completed"
    )


def test_a_saga_that_waits_is_cancelled_and_hears_no_signal_any_more() -> None:
    scenario = held()
    scenario.when(operator("cancel")).then(
        "cancel accepted: ann, ticket 7", "turned back: cancelled", "hold undo asked (1)"
    )
    scenario.when(signal()).then("approval approve refused: not_waiting")
    scenario.when(undo_applied("hold")).then("hold undo applied", "compensated: cancelled")


def test_the_deadline_counts_from_the_end_of_the_wait() -> None:
    definition = waiting(node("hold", **HOLD), APPROVAL, node("a", "approval", timeout_ms=600_000))
    scenario = given(begin(), applied("hold"), passes(days=1), signal(), using=[definition])
    scenario.when(passes(s=59)).then()
    scenario.when(passes(s=1)).then("turned back: deadline_exceeded")


def test_a_wait_that_ended_while_nobody_looked_is_not_taken_for_a_missed_deadline() -> None:
    definition = waiting(wait_until("due", q.execute_at), node("a", "due"))
    machine = SagaMachine(Registry((definition,)))
    for event in machine.decide(begin(), START_MS):
        machine.evolve(event)
    late_ms = 40 * DAY_MS
    events = machine.fire(late_ms)
    assert [type(event).__name__ for event in events] == ["WaitEnded", "StepRequested"]


def test_a_saga_sleeps_until_its_time() -> None:
    definition = waiting(wait_until("due", q.execute_at), node("a", "due"))
    scenario = given(using=[definition]).when(begin())
    scenario.then("started: waiting 1", "due waits")
    # January has 31 days, and scenarios begin 1,000 s into it.
    scenario.when(passes(days=30, s=86_399 - 1_000)).then()
    scenario.when(passes(s=1)).then("due over", "a asked (1)")


def test_a_time_that_is_past_is_no_wait() -> None:
    definition = waiting(wait_until("due", q.execute_at), node("a", "due"))
    scenario = given(begin(execute_at="1970-01-01T00:00:00Z"), using=[definition])
    scenario.when(passes(ms=1)).then("due over", "a asked (1)")


def test_two_persons_approve_in_any_order() -> None:
    definition = waiting(
        wait_for("first", timeout_ms=DAY_MS, after=()),
        wait_for("second", timeout_ms=DAY_MS, after=()),
        node("a", "first", "second"),
    )
    scenario = given(begin(), using=[definition])
    scenario.when(signal("second")).then("second approve: bea")
    scenario.when(signal("first", request_id="g2")).then("first approve: bea", "a asked (1)")


def test_a_wait_can_be_skipped() -> None:
    definition = waiting(
        wait_for("approval", timeout_ms=DAY_MS, when=condition(q.amount_minor, ">", 1_000)),
        node("a", "approval"),
    )
    given(using=[definition]).when(begin()).then(
        "started: waiting 1", "approval skipped", "a asked (1)"
    )


def test_a_saga_that_fails_beside_a_wait_does_not_wait_any_more() -> None:
    definition = waiting(
        node("hold", **HOLD),
        wait_for("approval", timeout_ms=DAY_MS, after=()),
        node("a", "hold", "approval"),
    )
    scenario = given(begin(), using=[definition])
    scenario.when(declined("hold", "insufficient_funds")).then(
        "hold refused: insufficient_funds",
        "turned back: insufficient_funds",
        "compensated: insufficient_funds",
    )


def test_a_signal_after_the_time_is_too_late_although_nobody_has_looked_yet() -> None:
    scenario = held()
    scenario.now_ms += 2 * DAY_MS
    scenario.when(signal()).then("approval approve refused: signal_timeout")
    scenario.when(passes(s=0)).then(
        "approval over: signal_timeout", "turned back: signal_timeout", "hold undo asked (1)"
    )
