"""A saga that goes forward: starting, requests, retries, the pivot, the end."""

import pytest

from messages.account import AccountCommand, Capture, Credit, Debit
from messages.plan import Retry
from messages.saga import (
    SagaStarted,
    StartRefused,
    StepApplied,
    StepRefused,
    StepTimedOut,
)
from messages.wire import Codec
from orchestrator.saga import MEMORY_HORIZON_MS, decide
from orchestrator.starts import MAX_SKEW_MS
from saga_definitions.dsl import command, result_of
from saga_definitions.registry import shipped
from tests.orchestrator.graphs import graph, node
from tests.orchestrator.saga_scenario import (
    PARAMS,
    SAGA,
    START_MS,
    applied,
    declined,
    given,
    passes,
    start,
)

COMMANDS: Codec[AccountCommand] = Codec(AccountCommand)


def test_a_transfer_starts_with_its_debit() -> None:
    given().when(start()).then("started: transfer 1", "debit asked (1)")


def test_an_applied_debit_leads_to_the_credit() -> None:
    given(start()).when(applied("debit")).then("debit applied", "credit asked (1)")


def test_an_applied_credit_completes_the_transfer() -> None:
    given(start(), applied("debit")).when(applied("credit")).then("credit applied", "completed")


def test_a_reserved_transfer_goes_hold_credit_capture() -> None:
    scenario = given(start("reserved_transfer"), applied("hold", hold_id="h"), applied("credit"))
    scenario.then("credit applied", "capture asked (1)")
    capture = COMMANDS.decode(bytes(scenario.requests("capture")[0].command))
    assert isinstance(capture, Capture)
    assert capture.hold_id == f"{SAGA}/hold/do"


def test_a_command_names_its_effect_its_saga_and_where_the_answer_goes() -> None:
    asked = given(start()).requests("debit")[0]
    assert (asked.topic, asked.key, asked.command_type) == (
        "account.input",
        "alice",
        "account.Debit.v1",
    )
    assert COMMANDS.decode(bytes(asked.command)) == Debit(
        account_id="alice",
        effect_id=f"{SAGA}/debit/do",
        issued_at_ms=START_MS + 1,
        attempt=1,
        saga_id=SAGA,
        step="debit",
        direction="do",
        reply_to="orchestrator.input",
        amount_minor=500,
        currency="EUR",
    )


def test_a_compensation_names_the_effect_it_takes_back_and_when_that_was_asked_for() -> None:
    scenario = given(start(), applied("debit"), declined("credit", "account_closed"))
    assert COMMANDS.decode(bytes(scenario.requests("debit", "undo")[0].command)) == Credit(
        account_id="alice",
        effect_id=f"{SAGA}/debit/undo",
        undoes=f"{SAGA}/debit/do",
        issued_at_ms=START_MS + 1,
        saga_id=SAGA,
        step="debit",
        direction="undo",
        reply_to="orchestrator.input",
        amount_minor=500,
        currency="EUR",
    )


def test_steps_that_wait_for_nobody_are_asked_for_together() -> None:
    definition = graph(node("a"), node("b"), node("c", "a", "b"))
    given(start("graph"), applied("a"), using=[definition]).then("a applied")
    scenario = given(using=[definition]).when(start("graph"))
    scenario.then("started: graph 1", "a asked (1)", "b asked (1)")
    scenario.given(applied("b")).when(applied("a")).then("a applied", "c asked (1)")


def test_a_step_can_use_the_result_of_an_earlier_one() -> None:
    use = command(Capture, account_id=PARAMS["source"], hold_id=result_of("a", "hold_id"))
    definition = graph(node("a"), node("b", "a", pivot=True, do=use))
    scenario = given(start("graph"), applied("a", hold_id="h7"), using=[definition])
    capture = COMMANDS.decode(bytes(scenario.requests("b")[0].command))
    assert isinstance(capture, Capture)
    assert capture.hold_id == "h7"


def test_a_result_that_is_missing_turns_the_saga_back() -> None:
    use = command(Capture, account_id=PARAMS["source"], hold_id=result_of("a", "hold_id"))
    definition = graph(node("a"), node("b", "a", pivot=True, do=use))
    given(start("graph"), using=[definition]).when(applied("a")).then(
        "a applied",
        "b refused: command_unresolved",
        "turned back: command_unresolved",
        "a undo asked (1)",
    )


def test_a_refusal_worth_another_try_is_tried_again() -> None:
    scenario = given(start("graph"), using=[graph(node("a"))])
    scenario.when(declined("a", "account_frozen")).then("a refused: account_frozen, again later")
    scenario.when(passes(ms=100)).then("a asked (2)")


def test_a_retry_keeps_its_effect_id_and_its_first_issue_time() -> None:
    scenario = given(
        start("graph"), declined("a", "account_frozen"), passes(s=1), using=[graph(node("a"))]
    )
    commands = [COMMANDS.decode(bytes(r.command)) for r in scenario.requests("a")]
    assert {c.effect_id for c in commands} == {f"{SAGA}/a/do"}
    assert {c.issued_at_ms for c in commands} == {START_MS + 1}
    assert [c.attempt for c in commands] == [1, 2]


def test_the_last_attempt_s_refusal_is_final() -> None:
    scenario = given(start("graph"), using=[graph(node("a"))])
    for attempt in (1, 2):
        scenario.given(declined("a", "account_frozen", attempt), passes(ms=500))
    scenario.when(declined("a", "account_frozen", 3)).then(
        "a refused: account_frozen", "turned back: account_frozen", "compensated: account_frozen"
    )


def test_the_pause_before_a_retry_doubles_up_to_its_limit_less_at_most_half() -> None:
    retry = Retry(attempts=6, first_delay_ms=100, max_delay_ms=400, retryable=("account_frozen",))
    scenario = given(start("graph"), using=[graph(node("a", retry=retry))])
    pauses: list[int] = []
    for attempt in range(1, 6):
        scenario.when(declined("a", "account_frozen", attempt))
        refused = scenario.last[0]
        assert isinstance(refused, StepRefused)
        pauses.append(refused.retry_at_ms - scenario.now_ms)
        scenario.given(passes(ms=500))
    for pause, limit in zip(pauses, (100, 200, 400, 400, 400), strict=True):
        assert limit / 2 <= pause <= limit
    assert len(set(pauses[2:])) == 3, "jitter"


def test_the_same_decision_gets_the_same_jitter() -> None:
    definition = graph(node("a"))
    one, other = (
        given(start("graph"), declined("a", "account_frozen"), using=[definition]).events
        for _ in range(2)
    )
    assert one == other


def test_a_huge_attempt_number_does_not_overflow_the_backoff() -> None:
    retry = Retry(attempts=1_000, first_delay_ms=1, factor=100.0, max_delay_ms=10)
    scenario = given(start("graph"), using=[graph(node("a", pivot=True, retry=retry))])
    scenario.given(passes(minutes=200))
    assert scenario.state == "parked"


def test_an_unanswered_step_is_asked_for_again_under_the_same_effect() -> None:
    scenario = given(start())
    scenario.when(passes(s=10, ms=300)).then("debit timed out, again later", "debit asked (2)")
    first, second = (COMMANDS.decode(bytes(r.command)) for r in scenario.requests("debit"))
    assert first.effect_id == second.effect_id


def test_an_answer_to_an_earlier_attempt_counts() -> None:
    given(start(), passes(s=11)).when(applied("debit", 1)).then("debit applied", "credit asked (1)")


def test_an_answer_while_the_retry_is_awaited_counts() -> None:
    scenario = given(start(), passes(s=10)).then("debit timed out, again later")
    scenario.when(applied("debit")).then("debit applied", "credit asked (1)")


def test_a_refusal_of_an_earlier_attempt_proves_nothing() -> None:
    given(start(), passes(s=11)).when(declined("debit", "insufficient_funds", 1)).then(
        "ignored: debit declined: insufficient_funds (attempt_superseded)"
    )


def test_a_refusal_after_a_success_is_ignored_and_recorded() -> None:
    given(start(), applied("debit")).when(declined("debit", "insufficient_funds")).then(
        "ignored: debit declined: insufficient_funds (succeeded_before)"
    )


def test_a_repeated_answer_is_ignored_and_recorded() -> None:
    given(start(), applied("debit")).when(applied("debit")).then(
        "ignored: debit applied (repeated)"
    )
    frozen = declined("a", "account_frozen")
    given(start("graph"), frozen, using=[graph(node("a"))]).when(frozen).then(
        "ignored: a declined: account_frozen (repeated)"
    )


@pytest.mark.parametrize("attempt", [0, -1, 2])
def test_an_answer_to_an_attempt_that_was_never_made_is_ignored(attempt: int) -> None:
    given(start()).when(applied("debit", attempt)).then("ignored: debit applied (attempt_unknown)")


def test_an_answer_to_what_was_never_asked_is_ignored() -> None:
    given(start()).when(applied("credit")).then("ignored: credit applied (not_requested)")
    given(start()).when(applied("nonsense")).then("ignored: nonsense applied (step_unknown)")
    undo = StepApplied(saga_id=SAGA, step="debit", direction="undo", attempt=1)
    given(start()).when(undo).then("ignored: debit undo applied (not_requested)")


def test_an_answer_for_an_unknown_saga_is_ignored_and_recorded() -> None:
    given().when(applied("debit")).then("ignored: debit applied (saga_unknown)")


def test_after_the_end_every_answer_is_ignored() -> None:
    scenario = given(start(), applied("debit"), applied("credit"))
    saga = scenario.saga
    for answer in (applied("credit"), declined("debit", "account_closed"), applied("x")):
        scenario.when(answer)
        assert [type(event).__name__ for event in scenario.last] == ["AnswerIgnored"]
    assert scenario.saga == saga


def test_the_same_start_again_is_answered_with_where_the_saga_stands() -> None:
    scenario = given(start()).when(start()).then("repeated: running")
    scenario.given(applied("debit"), applied("credit")).when(start()).then("repeated: completed")


def test_a_repeated_start_tells_why_the_saga_failed() -> None:
    given(start(), declined("debit", "insufficient_funds")).when(start()).then(
        "repeated: compensated, insufficient_funds"
    )


def test_the_same_key_with_another_body_is_refused() -> None:
    given(start()).when(start(amount_minor=501)).then("not started: idempotency_key_reused")
    given(start()).when(start("reserved_transfer")).then("not started: idempotency_key_reused")


def test_the_fingerprint_in_the_request_is_not_trusted() -> None:
    scenario = given(start())
    started = scenario.events[0]
    assert isinstance(started, SagaStarted)
    assert started.fingerprint != start().fingerprint


def test_an_unknown_definition_is_refused() -> None:
    given().when(start("nothing")).then("not started: definition_unknown")


def test_bad_params_are_refused_with_every_place_and_reason() -> None:
    scenario = given().when(start(amount_minor=1.5, target="alice", fee=1))
    scenario.then("not started: params_invalid")
    refused = scenario.last[0]
    assert isinstance(refused, StartRefused)
    assert "amount_minor: must be an integer" in refused.detail
    assert "fee: is not a parameter" in refused.detail


def test_a_request_older_than_what_is_remembered_is_refused() -> None:
    now_ms = START_MS + MEMORY_HORIZON_MS - MAX_SKEW_MS
    (event,) = decide(None, start(), now_ms, shipped())
    assert isinstance(event, StartRefused)
    assert event.reason == "request_expired"
    assert isinstance(decide(None, start(), now_ms - 1, shipped())[0], SagaStarted)


def test_a_request_from_the_future_is_refused() -> None:
    # Else a copy of it would still look fresh when the saga and its effects are forgotten.
    (event,) = decide(None, start(), START_MS - MAX_SKEW_MS - 1, shipped())
    assert isinstance(event, StartRefused)
    assert event.reason == "clock_ahead"
    assert isinstance(decide(None, start(), START_MS - MAX_SKEW_MS, shipped())[0], SagaStarted)


def test_an_unanswered_pivot_is_asked_for_until_its_attempts_are_used_up_then_parked() -> None:
    scenario = given(start(), applied("debit")).when(passes(minutes=60))
    asked = [event.attempt for event in scenario.requests("credit")]
    assert asked == list(range(1, 13))
    assert scenario.state == "parked"
    assert len(scenario.requests("debit", "undo")) == 0
    scenario.when(passes(minutes=60)).then()


def test_a_late_success_of_the_parked_pivot_leads_the_saga_on() -> None:
    given(start(), applied("debit"), passes(minutes=60)).when(applied("credit", 3)).then(
        "credit applied", "resumed: running", "completed"
    )


def test_a_late_refusal_of_the_parked_pivot_leads_the_saga_back() -> None:
    scenario = given(start(), applied("debit"), passes(minutes=60))
    scenario.when(declined("credit", "account_closed", 3)).then(
        "ignored: credit declined: account_closed (attempt_superseded)"
    )
    scenario.when(declined("credit", "account_closed", 12)).then(
        "credit refused: account_closed",
        "resumed: running",
        "turned back: account_closed",
        "debit undo asked (1)",
    )


def test_past_the_pivot_a_refusal_parks_the_saga() -> None:
    moves = (start("reserved_transfer"), applied("hold"), applied("credit"))
    scenario = given(*moves).when(declined("capture", "hold_unknown"))
    scenario.then("capture refused: hold_unknown", "parked: step_failed at capture")
    scenario.when(start("reserved_transfer")).then("repeated: parked, step_failed")


def test_a_refusal_that_leaves_the_effect_in_doubt_parks_the_saga() -> None:
    for reason in ("effect_expired", "effect_reused"):
        given(start()).when(declined("debit", reason)).then(
            f"debit refused: {reason}", f"parked: {reason} at debit"
        )


def test_a_parked_saga_begins_nothing_new_but_sees_through_what_is_in_flight() -> None:
    definition = graph(
        node("p", pivot=True),
        node("x", "p", irreversible=True),
        node("y", "p", irreversible=True),
        node("z", "y", irreversible=True),
    )
    scenario = given(start("graph"), applied("p"), using=[definition])
    scenario.given(declined("x", "account_closed")).then(
        "x refused: account_closed", "parked: step_failed at x"
    )
    scenario.when(passes(s=11)).then("y timed out, again later", "y asked (2)")
    scenario.when(applied("y", 2)).then("y applied")
    assert scenario.state == "parked"


def test_a_second_doubt_parks_the_saga_again_when_the_first_is_lifted() -> None:
    definition = graph(
        node("p", pivot=True), node("x", "p", irreversible=True), node("y", "p", irreversible=True)
    )
    scenario = given(start("graph"), applied("p"), passes(minutes=5), using=[definition])
    assert [e for e in scenario.events if isinstance(e, StepTimedOut)][-1].attempt == 3
    scenario.when(applied("x", 3)).then(
        "x applied", "resumed: running", "parked: outcome_unknown at y"
    )
    scenario.when(applied("y", 1)).then("y applied", "resumed: running", "completed")


def test_params_that_can_not_even_be_encoded_are_refused() -> None:
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]
    given().when(start(note=nested)).then("not started: params_invalid")
    given(start()).when(start(note=nested)).then("not started: idempotency_key_reused")
    given(start()).when(start(note="\ud800")).then("not started: idempotency_key_reused")
