"""What the ledger remembers: an effect happens once, whoever asks for it how often."""

import pytest

from account_service.effects import MAX_SKEW_MS
from messages.account import EffectRepeated, EffectVoided
from messages.saga import StepApplied, StepDeclined
from tests.account_service.statement import (
    DAY,
    HOUR,
    NOW,
    capture,
    captured,
    change_limits,
    close,
    closed,
    credit,
    credit_on_hold,
    credited,
    credited_on_hold,
    debit,
    debited,
    deposit,
    deposited,
    freeze,
    frozen,
    given,
    held,
    hold,
    open_account,
    opened,
    release,
    released,
    repeated,
    voided,
)

WEEK = 7 * DAY


def rich():
    return given(opened(at_ms=NOW), deposited(100, 100))


def test_a_command_sent_twice_moves_money_once():
    statement = rich().when(debit(30)).then(debited(30, 70)).when(debit(30)).then(repeated())
    assert statement.account()["balance_minor"] == 70


def test_a_retry_of_an_applied_effect_is_told_the_first_outcome():
    rich().when(debit(30)).when(debit(30, attempt=2, issued_at_ms=NOW + 1)).then(repeated())


def test_a_refused_command_sent_again_with_the_same_attempt_stays_refused():
    statement = rich().when(debit(101)).then_refused("insufficient_funds")
    statement.when(deposit(1, effect_id="e2"))
    statement.when(debit(101)).then(repeated(refused="insufficient_funds"))


def test_a_late_first_attempt_does_not_undo_the_refusal_of_the_second():
    statement = rich().when(debit(101, attempt=2)).then_refused("insufficient_funds")
    statement.when(deposit(1, effect_id="e2"))
    statement.when(debit(101, attempt=1)).then(repeated(refused="insufficient_funds"))


def test_a_new_attempt_at_a_refused_effect_is_decided_anew():
    statement = rich().when(debit(101)).when(deposit(1, effect_id="e2"))
    statement.when(debit(101, attempt=2)).then(debited(101, 0))
    statement.when(debit(101, attempt=1)).then(repeated())


def test_a_new_attempt_can_be_refused_for_another_reason():
    statement = rich().when(debit(101)).when(freeze(effect_id="e2"))
    statement.when(debit(101, attempt=2)).then_refused("account_frozen")
    statement.when(debit(101, attempt=2)).then(repeated(refused="account_frozen"))


def test_a_command_for_an_account_that_is_opened_later_is_applied_at_a_later_attempt():
    statement = given().when(credit(5)).then_refused("account_unknown")
    statement.when(open_account(effect_id="e2")).then(opened())
    statement.when(credit(5, attempt=2)).then(credited(5, 5))


@pytest.mark.parametrize(
    "other",
    [debit(31), debit(30, saga_id="saga-2"), debit(30, account_id="bob"), credit(30)],
    ids=["amount", "saga", "account", "type"],
)
def test_an_effect_id_used_for_another_request_is_refused(other):
    statement = rich().when(debit(30)).when(other).then_refused("effect_reused")
    statement.when(debit(30)).then(repeated())


def test_a_refused_effect_id_used_for_another_request_is_refused():
    statement = rich().when(debit(101)).when(debit(1, attempt=2)).then_refused("effect_reused")
    statement.when(debit(101)).then(repeated(refused="insufficient_funds"))


def test_the_name_of_a_hold_that_stands_is_taken_even_when_its_effect_is_forgotten():
    later = NOW + 2 * WEEK
    statement = given(opened(), deposited(9, 9), held(1, 1, effect_id="h"))
    statement.when(deposit(1, issued_at_ms=later), at_ms=later)
    statement.when(hold(2, effect_id="h", issued_at_ms=later), at_ms=later)
    statement.then_refused("effect_reused")


# Horizon


def test_a_command_as_old_as_the_horizon_is_refused():
    old = NOW - WEEK
    rich().when(debit(1, issued_at_ms=old)).then_refused("effect_expired")
    rich().when(debit(1, issued_at_ms=old + 1)).then(debited(1, 99))


def test_a_late_duplicate_is_refused_once_its_effect_is_forgotten():
    statement = rich().when(debit(1))
    statement.when(debit(1), at_ms=NOW + WEEK + MAX_SKEW_MS - 1).then(repeated())
    statement.when(debit(1), at_ms=NOW + WEEK + MAX_SKEW_MS).then_refused("effect_expired")


def test_an_idle_partition_forgets_as_fast_as_a_busy_one():
    # Else a saga that begins anew would find its debit done here and its credit forgotten there.
    later = NOW + WEEK + MAX_SKEW_MS
    statement = rich().when(debit(1)).when(debit(1, issued_at_ms=later), at_ms=later)
    statement.then(debited(1, 98))


def test_a_duplicate_is_refused_although_a_new_owners_clock_is_behind():
    later = NOW + WEEK + MAX_SKEW_MS
    statement = rich().when(debit(1)).when(deposit(1, effect_id="e2", issued_at_ms=later), later)
    statement.when(debit(1), at_ms=NOW + HOUR).then_refused("effect_expired")
    assert statement.event.at_ms == later


def test_a_senders_clock_may_be_a_little_ahead():
    skewed = NOW + MAX_SKEW_MS
    statement = rich().when(debit(1, issued_at_ms=skewed)).then(debited(1, 99))
    week = NOW + WEEK
    statement.when(deposit(1, effect_id="w", issued_at_ms=week), at_ms=week)
    statement.when(debit(1, issued_at_ms=skewed), at_ms=week).then(repeated())
    forgotten = NOW + WEEK + MAX_SKEW_MS
    statement.when(deposit(1, effect_id="e2", issued_at_ms=forgotten), at_ms=forgotten)
    statement.when(debit(1, issued_at_ms=skewed), at_ms=forgotten).then_refused("effect_expired")


def test_a_sagas_command_from_the_future_stays_refused_when_it_comes_again_later():
    # Its saga may have ended because of the refusal (found by the simulator, seed 9000458).
    early = debit(1, issued_at_ms=NOW + MAX_SKEW_MS + 1)
    statement = rich().when(early).then_refused("clock_ahead")
    statement.when(early, at_ms=NOW + 1).then(repeated(refused="clock_ahead"))
    assert statement.account()["balance_minor"] == 100


@pytest.mark.parametrize("ahead_ms", [MAX_SKEW_MS + 1, WEEK, 100 * WEEK])
def test_a_sagas_command_from_the_future_is_refused_until_it_is_expired(ahead_ms: int):
    # Found by the simulator, seed 815030163.
    early = debit(1, issued_at_ms=NOW + ahead_ms)
    statement = rich().when(early).then_refused("clock_ahead")
    last_ms = NOW + ahead_ms + WEEK - 1
    statement.when(deposit(1, effect_id="d", issued_at_ms=last_ms), at_ms=last_ms)
    statement.when(early, at_ms=last_ms).then(repeated(refused="clock_ahead"))
    forgotten = NOW + ahead_ms + WEEK + MAX_SKEW_MS
    statement.when(early, at_ms=forgotten).then_refused("effect_expired")


def test_effects_are_forgotten_in_time_although_one_from_the_future_came_first():
    statement = rich().when(debit(1, issued_at_ms=NOW + 100 * WEEK)).then_refused("clock_ahead")
    for number in range(20):
        statement.when(deposit(1, effect_id=f"before-{number}"))
    later = NOW + WEEK + MAX_SKEW_MS
    for number in range(20):
        statement.when(deposit(1, effect_id=f"after-{number}", issued_at_ms=later), at_ms=later)
    chunks = b"".join(statement.ledger.snapshot())
    assert b"before-" not in chunks
    assert chunks.count(b"after-") == 20


def test_the_next_attempt_of_a_command_from_the_future_is_decided_anew():
    issued_at_ms = NOW + MAX_SKEW_MS + 1
    statement = rich().when(debit(1, issued_at_ms=issued_at_ms)).then_refused("clock_ahead")
    again = debit(1, attempt=2, issued_at_ms=issued_at_ms)
    statement.when(again, at_ms=NOW + 1).then(debited(1, 99))


def test_a_request_from_the_future_may_be_asked_again():
    early = deposit(1, effect_id="d", saga_id="", issued_at_ms=NOW + MAX_SKEW_MS + 1)
    statement = rich().when(early).then_refused("clock_ahead")
    statement.when(deposit(1, effect_id="d", saga_id=""))
    assert statement.account()["balance_minor"] == 101


def test_a_credit_that_was_taken_back_is_not_told_as_applied_any_more():
    statement = rich().when(credit(30, effect_id="c")).when(debit(30, effect_id="u", undoes="c"))
    statement.then(debited(30, 100, undoes="c"))
    statement.when(debit(30, effect_id="u2", undoes="c")).then(voided("c"))
    statement.when(credit(30, effect_id="c")).then_refused("effect_voided")
    assert statement.account()["balance_minor"] == 100


def test_an_expired_command_leaves_no_trace_in_the_memory():
    statement = rich().when(debit(1, issued_at_ms=NOW - WEEK)).then_refused("effect_expired")
    statement.when(debit(2)).then(debited(2, 98))


def test_the_memory_gives_up_what_is_past_the_horizon():
    statement = given(opened(), effect_horizon_ms=DAY)
    for hour in range(24 * 10):
        at = NOW + hour * HOUR
        statement.when(deposit(1, effect_id=f"d{hour}", issued_at_ms=at), at_ms=at)
    assert statement.account()["balance_minor"] == 240
    snapshot = b"".join(statement.ledger.snapshot())
    assert b'"d239"' in snapshot
    assert b'"d216"' in snapshot
    assert b'"d210"' not in snapshot


def test_an_effect_past_the_horizon_counts_as_forgotten_before_its_entry_is_gone():
    statement = rich()
    for number in range(20):
        statement.when(deposit(1, effect_id=f"d{number}"))
    later = NOW + WEEK + MAX_SKEW_MS
    statement.when(deposit(1, effect_id="later", issued_at_ms=later), at_ms=later)
    assert b'"d19"' in b"".join(statement.ledger.snapshot())
    statement.when(deposit(1, effect_id="d19"), at_ms=later).then_refused("effect_expired")


def test_an_effect_decided_anew_is_remembered_from_then_on():
    statement = (
        given(opened(), effect_horizon_ms=DAY).when(debit(5)).when(deposit(5, effect_id="first"))
    )
    statement.when(debit(5, attempt=2), at_ms=NOW + 20 * HOUR).then(debited(5, 0))
    at = NOW + 30 * HOUR
    statement.when(deposit(1, effect_id="late", issued_at_ms=at), at_ms=at)
    statement.when(debit(5, attempt=2), at_ms=at).then(repeated())
    snapshot = b"".join(statement.ledger.snapshot())
    assert b'"e1"' in snapshot
    assert b'"first"' not in snapshot


def test_time_does_not_go_back_with_an_event_from_a_slow_clock():
    statement = given(opened(at_ms=NOW + HOUR), deposited(5, 5, at_ms=NOW))
    statement.when(debit(1), at_ms=NOW)
    assert statement.event.at_ms == NOW + HOUR


# Compensations


def test_a_debit_is_given_back():
    statement = rich().when(debit(30, effect_id="d"))
    statement.when(credit(30, effect_id="u", undoes="d", direction="undo")).then(
        credited(30, 100, undoes="d", allowance_day=NOW // DAY)
    )


def test_a_debit_is_given_back_once_whatever_the_compensation_is_called():
    statement = rich().when(debit(30, effect_id="d")).when(credit(30, effect_id="u1", undoes="d"))
    statement.when(credit(30, effect_id="u1", undoes="d")).then(repeated())
    statement.when(credit(30, effect_id="u2", undoes="d")).then(voided("d"))
    assert statement.account()["balance_minor"] == 100


def test_an_effect_that_was_taken_back_is_not_told_as_applied_any_more():
    # Else a saga that begins anew under a forgotten name would pay out what was given back.
    statement = rich().when(debit(30, effect_id="d")).when(credit(30, effect_id="u", undoes="d"))
    statement.when(debit(30, effect_id="d")).then_refused("effect_voided")
    statement.when(hold(30, effect_id="h")).when(release("h", effect_id="r", undoes="h"))
    statement.when(hold(30, effect_id="h")).then_refused("effect_voided")
    assert statement.account()["balance_minor"] == 100


def test_a_compensation_that_overtakes_its_debit_voids_it():
    statement = rich().when(credit(30, effect_id="u", undoes="d")).then(voided("d"))
    statement.when(credit(30, effect_id="u", undoes="d")).then(repeated())
    statement.when(debit(30, effect_id="d")).then_refused("effect_voided")
    statement.when(debit(30, effect_id="d", attempt=2)).then_refused("effect_voided")
    assert statement.account()["balance_minor"] == 100


def test_a_compensation_of_a_refused_debit_voids_it():
    statement = rich().when(debit(101, effect_id="d")).then_refused("insufficient_funds")
    statement.when(credit(101, effect_id="u", undoes="d")).then(voided("d"))
    statement.when(deposit(1, effect_id="e2"))
    statement.when(debit(101, effect_id="d", attempt=2)).then_refused("effect_voided")


def test_a_compensation_of_an_unknown_account_voids_what_may_come():
    statement = given().when(credit(5, effect_id="u", undoes="d")).then(voided("d"))
    statement.when(open_account(effect_id="o"))
    statement.when(debit(1, effect_id="d")).then_refused("effect_voided")


def test_a_hold_is_released_by_its_compensation():
    statement = rich().when(hold(30, effect_id="h"))
    statement.when(release("h", effect_id="u", undoes="h")).then(released("h", 30, undoes="h"))
    statement.when(release("h", effect_id="u", undoes="h")).then(repeated())


def test_a_release_that_overtakes_its_hold_voids_it():
    statement = rich().when(release("h", effect_id="u", undoes="h")).then(voided("h"))
    statement.when(hold(30, effect_id="h")).then_refused("effect_voided")


def test_of_a_captured_hold_there_is_nothing_left_to_release():
    statement = rich().when(hold(30, effect_id="h")).when(capture("h", effect_id="c"))
    statement.when(release("h", effect_id="u", undoes="h")).then(voided("h"))
    statement.when(hold(30, effect_id="h")).then(repeated(hold_id="h"))


def test_of_a_released_hold_there_is_nothing_left_to_release():
    statement = rich().when(hold(30, effect_id="h")).when(release("h", effect_id="r"))
    statement.when(release("h", effect_id="u", undoes="h")).then(voided("h"))


def test_a_capture_is_given_back():
    statement = rich().when(hold(30, effect_id="h")).when(capture("h", effect_id="c"))
    statement.then(captured("h", 30, 70))
    statement.when(credit(30, effect_id="u", undoes="c")).then(
        credited(30, 100, undoes="c", allowance_day=NOW // DAY)
    )


def test_a_compensation_refused_at_first_is_applied_at_a_later_attempt():
    full = 2**63 - 1
    statement = given(opened(), deposited(30, 30)).when(debit(30, effect_id="d"))
    statement.when(deposit(full, effect_id="e2"))
    statement.when(credit(30, effect_id="u", undoes="d")).then_refused("balance_overflow")
    statement.when(debit(30, effect_id="e3"))
    statement.when(credit(30, effect_id="u", undoes="d", attempt=2))
    assert statement.account()["balance_minor"] == full


def test_a_compensation_is_not_paid_to_another_account():
    statement = rich().when(open_account(account_id="bob", effect_id="o"))
    statement.when(debit(30, effect_id="d"))
    statement.when(credit(30, account_id="bob", effect_id="u", undoes="d"))
    statement.then_refused("effect_reused")
    statement.when(credit(30, effect_id="u2", undoes="d")).then(
        credited(30, 100, undoes="d", allowance_day=NOW // DAY)
    )


def test_a_debit_that_may_have_been_forgotten_is_not_taken_for_one_that_never_came():
    later = NOW + WEEK + MAX_SKEW_MS
    statement = rich().when(debit(30, effect_id="d")).when(deposit(1, effect_id="e2"), at_ms=later)
    undo = credit(30, effect_id="u", undoes="d", issued_at_ms=NOW)
    statement.when(undo, at_ms=later).then_refused("effect_expired")


def test_a_remembered_debit_is_given_back_however_old_the_request_is():
    at = NOW + WEEK + MAX_SKEW_MS - 1
    rich().when(debit(30, effect_id="d")).when(
        credit(30, effect_id="u", undoes="d"), at_ms=at
    ).then(credited(30, 100, undoes="d", allowance_day=NOW // DAY))


def test_what_has_the_name_of_a_forgotten_effect_is_not_taken_for_it():
    """The first debit can't be judged any more: neither is the second given back in its place, nor
    is the first one called void."""
    later = NOW + WEEK + MAX_SKEW_MS
    statement = rich().when(debit(30, effect_id="d"))
    statement.when(debit(5, effect_id="d", issued_at_ms=later), at_ms=later)
    statement.when(credit(30, effect_id="u", undoes="d"), at_ms=later)
    statement.then_refused("effect_expired")
    statement = rich().when(debit(30, effect_id="d"))
    statement.when(debit(500, effect_id="d", issued_at_ms=later), at_ms=later)
    statement.then_refused("insufficient_funds")
    statement.when(credit(30, effect_id="u", undoes="d"), at_ms=later)
    statement.then_refused("effect_expired")


def test_a_hold_that_has_the_name_of_a_forgotten_one_is_not_released_in_its_place():
    later = NOW + WEEK + MAX_SKEW_MS
    statement = rich().when(hold(30, effect_id="h")).when(release("h", effect_id="r"))
    statement.when(hold(5, effect_id="h", issued_at_ms=later), at_ms=later)
    assert statement.account()["held_minor"] == 5
    statement.when(release("h", effect_id="u", undoes="h"), at_ms=later)
    statement.then_refused("effect_expired")


def test_a_hold_that_stands_is_released_however_long_ago_it_was_made():
    later = NOW + 3 * WEEK
    statement = rich().when(hold(30, effect_id="h")).when(deposit(1, effect_id="e2"), at_ms=later)
    statement.when(release("h", effect_id="u", undoes="h"), at_ms=later)
    statement.then(released("h", 30, undoes="h"))


def test_a_release_of_one_hold_does_not_pass_as_the_compensation_of_another():
    statement = rich().when(hold(30, effect_id="h1"))
    statement.when(release("h1", effect_id="u", undoes="h2")).then(voided("h2"))
    statement.when(hold(5, effect_id="h2")).then_refused("effect_voided")


# Answers


def applied(result=None, attempt=1, direction="do"):
    return StepApplied(
        saga_id="saga-1", step="pay", direction=direction, attempt=attempt, result=result or {}
    )


def test_a_saga_is_told_that_its_step_is_applied_and_no_balance():
    rich().when(debit(30)).then_told(applied())


def test_a_saga_is_told_the_id_of_its_hold():
    statement = rich().when(hold(30)).then_told(applied({"hold_id": "e1"}))
    statement.when(hold(30, attempt=2)).then_told(applied({"hold_id": "e1"}, attempt=2))


def test_a_saga_is_told_why_its_step_is_declined_the_second_time_as_the_first():
    statement = rich().when(debit(101))
    declined = StepDeclined(
        saga_id="saga-1",
        step="pay",
        direction="do",
        attempt=1,
        reason="insufficient_funds",
        detail="the available balance does not cover it",
    )
    statement.then_told(declined).when(debit(101)).then(repeated("insufficient_funds"))
    statement.then_told(declined)


def test_a_saga_is_told_that_its_compensation_is_applied_when_there_is_nothing_to_take_back():
    statement = rich().when(credit(30, undoes="d", direction="undo")).then(voided("d"))
    statement.then_told(applied(direction="undo"))


@pytest.mark.parametrize("nobody", [{"reply_to": ""}, {"saga_id": ""}])
def test_nobody_is_told_when_nobody_waits(nobody):
    rich().when(debit(30, **nobody)).then_told(None)
    rich().when(debit(101, **nobody)).then_told(None)


def test_a_repetition_does_not_change_what_is_remembered():
    statement = rich().when(debit(30)).when(credit(5, effect_id="u", undoes="x"))
    before = [*statement.ledger.snapshot()]
    statement.when(debit(30))
    assert isinstance(statement.event, EffectRepeated)
    assert [*statement.ledger.snapshot()] == before


def test_an_effect_on_a_closed_account_is_told_its_first_outcome():
    statement = given(opened(), deposited(5, 5)).when(debit(5))
    statement.ledger.evolve(closed(version=4, effect_id="c"))
    statement.when(debit(5)).then(repeated())


def test_nothing_to_take_back_from_a_frozen_account_is_no_refusal():
    statement = given(opened(), frozen()).when(credit(5, undoes="d"))
    assert isinstance(statement.event, EffectVoided)


# Credits on hold


def on_hold(**limits):
    """alice has 100, and 30 more that she can't spend."""
    statement = given(opened(**limits), deposited(100, 100))
    return statement.when(credit_on_hold(30, effect_id="c")).then(credited_on_hold(30, 130, 30))


def test_a_credit_on_hold_is_there_but_not_to_be_spent():
    statement = on_hold()
    told = statement.account()
    assert (told["balance_minor"], told["available_minor"]) == (130, 100)
    statement.when(debit(101)).then_refused("insufficient_funds")
    statement.when(release("c", effect_id="r")).then(released("c", 30))
    statement.when(debit(130, effect_id="e2")).then(debited(130, 0))


def test_a_credit_on_hold_is_taken_back_whatever_has_become_of_the_account():
    statement = on_hold().when(debit(100)).when(freeze(effect_id="f"))
    statement.when(change_limits(effect_id="l", transfer_limit_minor=1, daily_limit_minor=0))
    statement.when(close(effect_id="x")).then_refused("account_not_empty")
    back = {"effect_id": "u", "undoes": "c"}
    statement.when(capture("c", **back)).then(captured("c", 30, 0, undoes="c"))
    statement.when(capture("c", **back)).then(repeated())
    statement.when(credit_on_hold(30, effect_id="c")).then_refused("effect_voided")


def test_a_credit_on_hold_that_never_came_is_voided_and_does_not_come_late():
    statement = rich().when(capture("c", effect_id="u", undoes="c")).then(voided("c"))
    statement.when(credit_on_hold(30, effect_id="c")).then_refused("effect_voided")


def test_a_credit_on_hold_is_taken_back_after_the_memory_has_forgotten_it():
    later = NOW + WEEK + HOUR
    on_hold().when(capture("c", effect_id="u", undoes="c"), at_ms=later).then(
        captured("c", 30, 100, undoes="c")
    )


def test_a_credit_whose_hold_is_released_stands_when_it_is_repeated():
    statement = on_hold().when(release("c", effect_id="r"))
    statement.when(credit_on_hold(30, effect_id="c")).then(repeated(hold_id="c"))
    assert statement.account()["balance_minor"] == 130


def test_a_credit_on_hold_uses_no_daily_limit_and_gives_none_back():
    statement = on_hold(daily_limit_minor=50).when(debit(20))
    statement.when(release("c", effect_id="r")).then(released("c", 30))
    statement.when(debit(31, effect_id="e2")).then_refused("daily_limit_exceeded")
    statement.when(debit(30, effect_id="e3")).then(debited(30, 80))


def test_a_frozen_account_takes_no_credit_on_hold_and_a_closed_one_neither():
    frozen_one = rich().when(freeze(effect_id="f"))
    frozen_one.when(credit_on_hold(30)).then_refused("account_frozen")
    given(opened(), closed()).when(credit_on_hold(30)).then_refused("account_closed")
    rich().when(credit_on_hold(30, currency="USD")).then_refused("currency_mismatch")
    rich().when(credit_on_hold(2**63 - 100)).then_refused("balance_overflow")
