"""A saga that turns back: what is undone, in which order, and how it ends."""

from messages.plan import Retry
from messages.saga import SagaCompensated, StepRequested
from tests.orchestrator.graphs import graph, node
from tests.orchestrator.saga_scenario import (
    Scenario,
    applied,
    declined,
    given,
    passes,
    start,
    undo_applied,
    undo_declined,
)


def test_a_refused_debit_ends_the_transfer_with_its_reason() -> None:
    given(start()).when(declined("debit", "insufficient_funds")).then(
        "debit refused: insufficient_funds",
        "turned back: insufficient_funds",
        "compensated: insufficient_funds",
    )


def test_a_refused_credit_gives_the_debit_back() -> None:
    scenario = given(start(), applied("debit"))
    scenario.when(declined("credit", "account_closed")).then(
        "credit refused: account_closed", "turned back: account_closed", "debit undo asked (1)"
    )
    scenario.when(undo_applied("debit")).then("debit undo applied", "compensated: account_closed")


def test_a_refused_credit_releases_the_hold_of_a_reserved_transfer() -> None:
    scenario = given(start("reserved_transfer"), applied("hold"))
    scenario.when(declined("credit", "account_frozen")).then(
        "credit refused: account_frozen", "turned back: account_frozen", "hold undo asked (1)"
    )
    assert scenario.requests("hold", "undo")[0].command_type == "account.Release.v1"
    scenario.when(undo_applied("hold")).then("hold undo applied", "compensated: account_frozen")


def test_steps_are_undone_in_reverse_order_of_dependency() -> None:
    definition = graph(node("a"), node("b", "a"), node("c", "b"), node("d", "c"))
    scenario = given(start("graph"), applied("a"), applied("b"), applied("c"), using=[definition])
    scenario.when(declined("d", "account_closed")).then(
        "d refused: account_closed", "turned back: account_closed", "c undo asked (1)"
    )
    scenario.when(undo_applied("c")).then("c undo applied", "b undo asked (1)")
    scenario.when(undo_applied("b")).then("b undo applied", "a undo asked (1)")
    scenario.when(undo_applied("a")).then("a undo applied", "compensated: account_closed")


def test_the_order_of_undoing_holds_while_an_undo_awaits_its_retry() -> None:
    definition = graph(node("a"), node("b", "a"), node("c", "b"))
    scenario = given(start("graph"), applied("a"), applied("b"), using=[definition])
    scenario.given(declined("c", "account_closed"))
    scenario.when(undo_declined("b", "account_frozen")).then(
        "b undo refused: account_frozen, again later"
    )
    scenario.when(passes(ms=100)).then("b undo asked (2)")
    scenario.when(undo_applied("b", 2)).then("b undo applied", "a undo asked (1)")


def test_a_step_in_the_middle_that_needs_no_undo_does_not_free_what_is_behind_it() -> None:
    definition = graph(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))
    scenario = given(start("graph"), applied("a"), applied("b"), using=[definition])
    scenario.when(declined("c", "account_closed")).then(
        "c refused: account_closed", "turned back: account_closed", "b undo asked (1)"
    )
    scenario.when(undo_applied("b")).then("b undo applied", "a undo asked (1)")


def test_undoing_waits_for_steps_still_in_flight() -> None:
    definition = graph(node("a"), node("b", "a"), node("c", "a"))
    scenario = given(start("graph"), applied("a"), using=[definition])
    scenario.when(declined("b", "account_closed")).then(
        "b refused: account_closed", "turned back: account_closed"
    )
    scenario.when(applied("c")).then("c applied", "c undo asked (1)")
    scenario.when(undo_applied("c")).then("c undo applied", "a undo asked (1)")


def test_a_step_in_flight_that_nobody_answers_is_undone_after_its_time_out() -> None:
    definition = graph(node("a"), node("b", "a"), node("c", "a"))
    scenario = given(
        start("graph"), applied("a"), declined("b", "account_closed"), using=[definition]
    )
    scenario.when(passes(s=10)).then("c timed out", "c undo asked (1)")


def test_steps_beside_each_other_are_undone_together() -> None:
    definition = graph(node("a"), node("b"), node("c", "a", "b"))
    scenario = given(start("graph"), applied("a"), applied("b"), using=[definition])
    scenario.when(declined("c", "account_closed")).then(
        "c refused: account_closed",
        "turned back: account_closed",
        "b undo asked (1)",
        "a undo asked (1)",
    )
    scenario.when(undo_applied("a")).then("a undo applied")
    scenario.when(undo_applied("b")).then("b undo applied", "compensated: account_closed")


def test_two_steps_beside_each_other_that_both_fail_end_the_saga_once() -> None:
    scenario = given(start("graph"), using=[graph(node("a"), node("b"))])
    scenario.when(declined("a", "account_closed")).then(
        "a refused: account_closed", "turned back: account_closed"
    )
    scenario.when(declined("b", "insufficient_funds")).then(
        "b refused: insufficient_funds", "compensated: account_closed"
    )
    scenario.when(declined("b", "insufficient_funds")).then(
        "ignored: b declined: insufficient_funds (saga_finished)"
    )
    assert sum(isinstance(event, SagaCompensated) for event in scenario.events) == 1


def test_a_saga_that_turned_back_tries_nothing_forward_again() -> None:
    scenario = given(start("graph"), using=[graph(node("a"), node("b"))])
    scenario.given(declined("a", "account_frozen")).when(declined("b", "account_closed")).then(
        "b refused: account_closed", "turned back: account_closed", "compensated: account_closed"
    )
    other = given(start("graph"), using=[graph(node("a"), node("b"))])
    other.given(declined("b", "account_closed")).when(declined("a", "account_frozen")).then(
        "a refused: account_frozen", "compensated: account_closed"
    )


def test_a_debit_that_nobody_answers_is_given_back_although_its_outcome_is_unknown() -> None:
    scenario = given(start()).when(passes(s=59))
    assert [event.attempt for event in scenario.requests("debit")] == [1, 2, 3]
    assert [event.attempt for event in scenario.requests("debit", "undo")][:1] == [1]
    scenario.when(undo_applied("debit")).then("debit undo applied", "compensated: step_timeout")


def test_a_step_may_be_given_up_at_its_first_time_out() -> None:
    definition = graph(node("a", on_timeout="compensate"))
    given(start("graph"), using=[definition]).when(passes(s=10)).then(
        "a timed out", "turned back: step_timeout", "a undo asked (1)"
    )


def test_a_late_success_after_a_time_out_is_compensated_not_forgotten() -> None:
    definition = graph(
        node("a"), node("b", "a", on_timeout="compensate"), node("c", "a", timeout_ms=30_000)
    )
    scenario = given(start("graph"), applied("a"), passes(s=10), using=[definition])
    scenario.then("b timed out", "turned back: step_timeout", "b undo asked (1)")
    scenario.when(applied("b")).then("ignored: b applied (undo_requested)")
    scenario.when(undo_applied("b")).then("b undo applied")
    scenario.when(applied("c")).then("c applied", "c undo asked (1)")
    scenario.when(undo_applied("c")).then("c undo applied", "a undo asked (1)")


def _parked_with_an_unanswered_step() -> Scenario:
    definition = graph(node("r"), node("a", "r"), node("b", "r"), node("d", "r"))
    scenario = given(start("graph"), applied("r"), applied("a"), using=[definition])
    scenario.given(declined("b", "account_closed")).then(
        "b refused: account_closed", "turned back: account_closed", "a undo asked (1)"
    )
    scenario.given(undo_declined("a", "effect_expired")).then(
        "a undo refused: effect_expired", "parked: compensation_failed at a"
    )
    return scenario.given(passes(s=10)).then("d timed out")


def test_a_late_success_in_a_parked_saga_is_compensated_when_it_goes_on() -> None:
    scenario = _parked_with_an_unanswered_step()
    scenario.when(applied("d")).then("d applied")
    scenario.when(undo_applied("a")).then(
        "a undo applied", "resumed: compensating", "d undo asked (1)"
    )
    scenario.when(undo_applied("d")).then("d undo applied", "r undo asked (1)")


def test_a_late_refusal_in_a_parked_saga_leaves_nothing_to_undo() -> None:
    scenario = _parked_with_an_unanswered_step()
    scenario.when(declined("d", "account_closed")).then("d refused: account_closed")
    scenario.when(undo_applied("a")).then(
        "a undo applied", "resumed: compensating", "r undo asked (1)"
    )


def test_an_applied_answer_beats_an_earlier_refusal() -> None:
    scenario = given(start("graph"), using=[graph(node("a"), node("b"))])
    scenario.given(declined("a", "account_closed")).when(applied("a")).then(
        "a applied", "a undo asked (1)"
    )


def test_a_pivot_applied_after_its_refusal_parks_the_saga() -> None:
    scenario = given(start(), applied("debit"), declined("credit", "account_closed"))
    scenario.when(applied("credit")).then("credit applied", "parked: pivot_passed at credit")


def test_an_unanswered_undo_is_asked_for_again_under_the_same_effect() -> None:
    scenario = given(start("graph"), applied("a"), using=[graph(node("a"), node("b", "a"))])
    scenario.given(declined("b", "account_closed"))
    scenario.when(passes(s=11)).then("a undo timed out, again later", "a undo asked (2)")
    one, two = scenario.requests("a", "undo")
    effect = b'"effect_id":"5a6a5a6a5a6a5a6a5a6a5a6a5a6a5a6a/a/undo"'
    assert effect in bytes(one.command)
    assert effect in bytes(two.command)


def test_an_undo_that_keeps_being_refused_parks_the_saga() -> None:
    scenario = given(start("graph"), applied("a"), using=[graph(node("a"), node("b", "a"))])
    scenario.given(declined("b", "account_closed"))
    for attempt in (1, 2):
        scenario.given(undo_declined("a", "balance_overflow", attempt), passes(ms=500))
    scenario.when(undo_declined("a", "balance_overflow", 3)).then(
        "a undo refused: balance_overflow", "parked: compensation_failed at a"
    )
    scenario.when(start("graph")).then("repeated: parked, compensation_failed")
    scenario.when(passes(minutes=60)).then()


def test_an_undo_whose_effect_is_in_doubt_is_not_tried_again() -> None:
    scenario = given(start(), applied("debit"), declined("credit", "account_closed"))
    scenario.when(undo_declined("debit", "effect_expired")).then(
        "debit undo refused: effect_expired", "parked: compensation_failed at debit"
    )


def test_an_undo_that_nobody_answers_parks_the_saga_until_the_answer_comes() -> None:
    scenario = given(start("graph"), applied("a"), using=[graph(node("a"), node("b", "a"))])
    scenario.given(declined("b", "account_closed"), passes(minutes=5))
    assert scenario.saga is not None
    assert (scenario.state, scenario.saga.parked_reason) == ("parked", "outcome_unknown")
    scenario.when(undo_applied("a", 2)).then(
        "a undo applied", "resumed: compensating", "compensated: account_closed"
    )


def test_a_late_refusal_of_an_undo_in_doubt_says_why_the_saga_is_parked() -> None:
    scenario = given(start("graph"), applied("a"), using=[graph(node("a"), node("b", "a"))])
    scenario.given(declined("b", "account_closed"), passes(minutes=5))
    scenario.when(undo_declined("a", "balance_overflow", 3)).then(
        "a undo refused: balance_overflow",
        "resumed: compensating",
        "parked: compensation_failed at a",
    )


def test_while_parked_other_undos_are_seen_through_but_none_is_begun() -> None:
    definition = graph(node("r"), node("a", "r"), node("b", "r"), node("c", "a", "b"))
    scenario = given(start("graph"), applied("r"), applied("a"), applied("b"), using=[definition])
    scenario.given(declined("c", "account_closed"))
    scenario.given(undo_declined("a", "effect_expired")).then(
        "a undo refused: effect_expired", "parked: compensation_failed at a"
    )
    scenario.when(undo_declined("b", "account_frozen")).then(
        "b undo refused: account_frozen, again later"
    )
    scenario.when(passes(ms=100)).then("b undo asked (2)")
    scenario.when(undo_applied("b", 2)).then("b undo applied")
    scenario.when(undo_applied("a")).then(
        "a undo applied", "resumed: compensating", "r undo asked (1)"
    )


def test_the_deadline_turns_a_saga_back() -> None:
    scenario = given(
        start("graph"),
        applied("a"),
        using=[graph(node("a"), node("b", "a", timeout_ms=60_000), deadline_ms=5_000)],
    )
    scenario.when(passes(s=5)).then("turned back: deadline_exceeded")
    scenario.when(applied("b")).then("b applied", "b undo asked (1)")
    scenario.given(undo_applied("b")).when(undo_applied("a")).then(
        "a undo applied", "compensated: deadline_exceeded"
    )


def test_the_deadline_cuts_retries_short() -> None:
    scenario = given(start("graph"), using=[graph(node("a"), deadline_ms=1)])
    scenario.given(declined("a", "account_frozen"))
    scenario.when(passes(ms=5)).then(
        "turned back: deadline_exceeded", "compensated: deadline_exceeded"
    )


def test_the_deadline_waits_for_the_answer_of_a_pivot_that_was_asked_for() -> None:
    given(start(), applied("debit"), passes(s=65)).when(applied("credit")).then(
        "credit applied", "completed"
    )
    scenario = given(start(), applied("debit"), passes(s=65))
    asked = len(scenario.requests("credit"))
    scenario.when(declined("credit", "account_closed", asked)).then(
        "credit refused: account_closed",
        "turned back: account_closed",
        "debit undo asked (1)",
    )


def test_the_deadline_turns_back_a_saga_whose_pivot_was_refused_for_now() -> None:
    definition = graph(node("a"), node("p", "a", pivot=True), deadline_ms=5_000)
    scenario = given(start("graph"), applied("a"), passes(s=6), using=[definition])
    scenario.when(declined("p", "account_frozen")).then("p refused: account_frozen, again later")
    scenario.when(passes(ms=1)).then("turned back: deadline_exceeded", "a undo asked (1)")


def test_past_the_pivot_the_deadline_has_no_effect() -> None:
    scenario = given(start("reserved_transfer"), applied("hold"), applied("credit"))
    scenario.given(passes(s=90))
    assert scenario.state == "running"
    asked = len(scenario.requests("capture"))
    assert asked > 1
    scenario.when(applied("capture", asked)).then("capture applied", "completed")


def test_past_the_pivot_the_deadline_has_no_effect_on_a_step_refused_for_now() -> None:
    retry = Retry(
        attempts=3, first_delay_ms=60_000, max_delay_ms=60_000, retryable=("account_frozen",)
    )
    definition = graph(
        node("p", pivot=True), node("z", "p", irreversible=True, retry=retry), deadline_ms=5_000
    )
    scenario = given(start("graph"), applied("p"), using=[definition])
    scenario.given(declined("z", "account_frozen"))
    scenario.when(passes(s=60)).then("z asked (2)")


def test_steps_that_were_never_asked_for_are_skipped() -> None:
    definition = graph(node("a"), node("b", "a"), node("c", "b"))
    scenario = given(
        start("graph"), applied("a"), declined("b", "account_closed"), using=[definition]
    )
    assert scenario.saga is not None
    assert [step.state for step in scenario.saga.steps] == ["undoing", "refused", "skipped"]
    assert {e.step for e in scenario.events if isinstance(e, StepRequested)} == {"a", "b"}
    scenario.when(applied("c")).then("ignored: c applied (not_requested)")


def test_an_undo_has_attempts_of_its_own() -> None:
    definition = graph(node("a", retry=Retry(attempts=1)), node("b", "a"))
    scenario = given(
        start("graph"), applied("a"), declined("b", "account_closed"), using=[definition]
    )
    scenario.given(undo_declined("a", "account_frozen"), passes(s=1)).then("a undo asked (2)")
    scenario.when(passes(s=10)).then("a undo timed out, again later", "a undo asked (3)")


def test_a_pending_retry_is_dropped_while_other_steps_are_undone() -> None:
    definition = graph(node("r"), node("a", "r"), node("b", "r"), node("c", "r"))
    scenario = given(start("graph"), applied("r"), applied("b"), using=[definition])
    scenario.given(declined("a", "account_frozen")).then("a refused: account_frozen, again later")
    scenario.given(declined("c", "account_closed")).then(
        "c refused: account_closed", "turned back: account_closed", "b undo asked (1)"
    )
    scenario.when(passes(s=9)).then()
