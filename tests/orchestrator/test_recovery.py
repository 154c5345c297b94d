"""What an operator can do about a saga, and what not."""

import pytest

from messages.plan import Retry
from messages.saga import RecoveryAction
from orchestrator.progress import MAX_RECOVERIES
from tests.orchestrator.graphs import graph, node
from tests.orchestrator.saga_scenario import (
    SAGA,
    Scenario,
    applied,
    declined,
    given,
    operator,
    passes,
    start,
    undo_applied,
    undo_declined,
)

NEVER = Retry(attempts=1)


def parked_at_the_pivot() -> Scenario:
    """Nobody has ever answered the credit."""
    scenario = given(start(), applied("debit"), passes(minutes=30))
    assert scenario.state == "parked"
    return scenario


def parked_on_the_way_back() -> Scenario:
    definition = graph(node("a", undo_retry=NEVER), node("b", "a"))
    return given(
        start("graph"),
        applied("a"),
        declined("b", "account_closed"),
        undo_declined("a", "balance_overflow"),
        using=[definition],
    )


def test_a_retry_asks_for_the_step_again_under_its_effect_id() -> None:
    scenario = parked_at_the_pivot()
    attempt = scenario.requests("credit")[-1].attempt + 1
    scenario.when(operator("retry")).then(
        "retry accepted: ann, ticket 7", "resumed: running", f"credit asked ({attempt})"
    )
    named = b'"effect_id":"%s/credit/do"' % SAGA.encode()
    assert all(named in bytes(asked.command) for asked in scenario.requests("credit"))
    scenario.when(applied("credit", attempt)).then("credit applied", "completed")


def test_a_retry_that_fails_parks_again_at_once() -> None:
    scenario = parked_at_the_pivot().given(operator("retry"))
    attempt = scenario.requests("credit")[-1].attempt
    scenario.when(declined("credit", "effect_expired", attempt)).then(
        "credit refused: effect_expired", "parked: effect_expired at credit"
    )


def test_two_operators_at_once_retry_once() -> None:
    scenario = parked_at_the_pivot().given(operator("retry"))
    asked = len(scenario.requests("credit"))
    scenario.when(operator("retry", "bob")).then("retry refused: saga_not_parked")
    assert len(scenario.requests("credit")) == asked


def test_the_same_request_again_hears_how_the_saga_stands() -> None:
    scenario = parked_at_the_pivot().given(operator("retry", request_id="r"))
    attempt = scenario.requests("credit")[-1].attempt
    scenario.when(operator("retry", request_id="r")).then("repeated: running")
    scenario.given(declined("credit", "effect_expired", attempt))
    # It was heard once: whoever wants another try asks anew.
    scenario.when(operator("retry", request_id="r")).then("repeated: parked, effect_expired")
    assert scenario.requests("credit")[-1].attempt == attempt
    scenario.given(operator("retry"), applied("credit", attempt + 1))
    scenario.when(operator("retry", request_id="r")).then("repeated: completed")


def test_a_request_is_not_used_for_something_else() -> None:
    scenario = parked_at_the_pivot().given(operator("retry", request_id="r"))
    for other in (
        operator("retry", "bob", request_id="r"),
        operator("retry", request_id="r", why="ticket 8"),
        operator("cancel", request_id="r"),
    ):
        scenario.when(other).then(f"{other.action} refused: request_reused")


def test_the_last_requests_are_remembered() -> None:
    scenario = parked_at_the_pivot()
    for number in range(MAX_RECOVERIES + 1):
        scenario.given(operator("retry", request_id=f"r{number}"))
        attempt = scenario.requests("credit")[-1].attempt
        scenario.given(declined("credit", "effect_expired", attempt))
    scenario.when(operator("cancel", request_id="r1")).then("cancel refused: request_reused")
    scenario.when(operator("retry", request_id="r0")).then(
        "retry accepted: ann, ticket 7", "resumed: running", f"credit asked ({attempt + 1})"
    )


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_a_failed_compensation_is_replayed(action: RecoveryAction) -> None:
    scenario = parked_on_the_way_back()
    scenario.when(operator(action)).then(
        f"{action} accepted: ann, ticket 7", "resumed: compensating", "a undo asked (2)"
    )
    scenario.when(undo_applied("a", 2)).then("a undo applied", "compensated: account_closed")


def test_all_compensations_that_failed_are_replayed() -> None:
    definition = graph(
        node("a", undo_retry=NEVER), node("b", undo_retry=NEVER), node("c", "a", "b")
    )
    scenario = given(
        start("graph"),
        applied("a"),
        applied("b"),
        declined("c", "account_closed"),
        undo_declined("a", "balance_overflow"),
        undo_declined("b", "balance_overflow"),
        using=[definition],
    )
    scenario.when(operator("compensate")).then(
        "compensate accepted: ann, ticket 7",
        "resumed: compensating",
        "a undo asked (2)",
        "b undo asked (2)",
    )


@pytest.mark.parametrize("action", ["compensate", "cancel"])
def test_a_saga_whose_pivot_may_be_applied_is_not_turned_back(action: RecoveryAction) -> None:
    parked_at_the_pivot().when(operator(action)).then(f"{action} refused: pivot_passed")
    given(start(), applied("debit")).when(operator(action)).then(f"{action} refused: pivot_passed")


def test_a_saga_is_cancelled_up_to_its_pivot() -> None:
    scenario = given(start())
    scenario.when(operator("cancel")).then(
        "cancel accepted: ann, ticket 7", "turned back: cancelled"
    )
    scenario.when(applied("debit")).then("debit applied", "debit undo asked (1)")
    scenario.when(undo_applied("debit")).then("debit undo applied", "compensated: cancelled")


def test_a_saga_on_its_way_back_goes_on() -> None:
    scenario = given(start(), applied("debit"), declined("credit", "account_closed"))
    for action in ("cancel", "compensate"):
        scenario.when(operator(action)).then(f"{action} refused: already_compensating")
    scenario.when(operator("retry")).then("retry refused: saga_not_parked")


@pytest.mark.parametrize("action", ["retry", "compensate", "cancel"])
def test_what_has_ended_or_never_was_stays(action: RecoveryAction) -> None:
    given().when(operator(action)).then(f"{action} refused: saga_unknown")
    ended = given(start(), declined("debit", "insufficient_funds"))
    ended.when(operator(action)).then(f"{action} refused: saga_finished")


def test_a_late_answer_after_a_retry_is_taken() -> None:
    scenario = parked_at_the_pivot().given(operator("retry"))
    scenario.when(applied("credit", 1)).then("credit applied", "completed")
