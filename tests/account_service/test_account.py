"""What one account allows and what it refuses."""

import pytest

from account_service.account import MAX_HOLDS, HistoryBroken, decide, evolve
from messages.account import CommandRefused
from messages.money import MAX_MINOR
from tests.account_service.statement import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    capture,
    captured,
    change_limits,
    close,
    closed,
    credit,
    credited,
    debit,
    debited,
    deposit,
    deposited,
    freeze,
    frozen,
    given,
    held,
    hold,
    limits_changed,
    open_account,
    opened,
    release,
    released,
    unfreeze,
    unfrozen,
    withdraw,
    withdrawn,
)

MIDNIGHT = NOW + 12 * HOUR


def test_an_account_is_opened_with_its_limits():
    limits = {"overdraft_limit_minor": 5, "transfer_limit_minor": 6, "daily_limit_minor": 7}
    statement = given().when(open_account(**limits)).then(opened(**limits))
    assert statement.account() | limits == statement.account()


def test_an_account_is_opened_once():
    given(opened()).when(open_account()).then_refused("account_exists")


def test_an_account_that_was_never_opened_refuses_with_version_0():
    given().when(debit(1)).then_refused("account_unknown")


def test_a_deposit_raises_the_balance():
    given(opened()).when(deposit(100)).then(deposited(100, balance=100))


def test_a_withdrawal_lowers_the_balance():
    given(opened(), deposited(100, 100)).when(withdraw(30)).then(withdrawn(30, balance=70))


def test_a_debit_lowers_the_balance():
    given(opened(), deposited(100, 100)).when(debit(100)).then(debited(100, balance=0))


def test_a_credit_raises_the_balance():
    given(opened()).when(credit(40)).then(credited(40, balance=40))


@pytest.mark.parametrize("ask", [debit, withdraw, hold])
def test_more_than_is_available_is_refused(ask):
    given(opened(), deposited(100, 100)).when(ask(101)).then_refused("insufficient_funds")


def test_an_overdraft_can_be_used_up_to_its_limit():
    given(opened(overdraft_limit_minor=50)).when(debit(50)).then(debited(50, -50)).when(
        debit(1, effect_id="e2")
    ).then_refused("insufficient_funds")


def test_a_hold_lowers_the_available_but_not_the_posted_balance():
    statement = given(opened(), deposited(100, 100)).when(hold(60)).then(held(60, total=60))
    assert statement.account()["balance_minor"] == 100
    assert statement.account()["available_minor"] == 40
    statement.when(debit(41, effect_id="e2")).then_refused("insufficient_funds")
    statement.when(debit(40, effect_id="e3")).then(debited(40, balance=60))


def test_a_capture_takes_exactly_the_held_money():
    statement = given(opened(), deposited(100, 100), held(60, 60, effect_id="h"))
    statement.when(capture("h")).then(captured("h", 60, balance=40))
    assert statement.account()["holds"] == {}
    assert statement.account()["available_minor"] == 40


def test_a_released_hold_is_available_again():
    statement = given(opened(), deposited(100, 100), held(60, 60, effect_id="h"))
    statement.when(release("h")).then(released("h", 60))
    assert statement.account()["available_minor"] == 100


@pytest.mark.parametrize("ask", [capture, release])
def test_a_hold_that_is_not_there_can_be_neither_captured_nor_released(ask):
    given(opened()).when(ask("h")).then_refused("hold_unknown")


def test_one_of_several_holds_is_released_by_its_id():
    statement = given(
        opened(), deposited(100, 100), held(10, 10, effect_id="h1"), held(20, 30, effect_id="h2")
    )
    statement.when(release("h1")).then(released("h1", 10, total=20))
    assert list(statement.account()["holds"]) == ["h2"]


def test_an_account_has_a_bounded_number_of_holds():
    holds = [held(1, n, effect_id=f"h{n}") for n in range(1, MAX_HOLDS + 1)]
    statement = given(opened(), deposited(5_000, 5_000), *holds)
    statement.when(hold(1)).then_refused("too_many_holds")
    statement.when(release("h7", effect_id="e2")).then(released("h7", 1, total=MAX_HOLDS - 1))
    statement.when(hold(1, effect_id="e3")).then(held(1, total=MAX_HOLDS))


@pytest.mark.parametrize("ask", [debit, withdraw, hold, credit, deposit])
def test_another_currency_is_refused(ask):
    given(opened(), deposited(100, 100)).when(ask(1, currency="USD")).then_refused(
        "currency_mismatch"
    )


@pytest.mark.parametrize("ask", [credit, deposit])
def test_a_balance_stays_within_63_bits(ask):
    full = given(opened(), deposited(MAX_MINOR, MAX_MINOR))
    full.when(ask(1)).then_refused("balance_overflow")
    one_left = given(opened(), deposited(MAX_MINOR - 1, MAX_MINOR - 1)).when(ask(1))
    assert one_left.account()["balance_minor"] == MAX_MINOR


@pytest.mark.parametrize("ask", [debit, withdraw, hold])
def test_an_amount_above_the_limit_per_transfer_is_refused(ask):
    statement = given(opened(transfer_limit_minor=50), deposited(100, 100))
    statement.when(ask(51)).then_refused("transfer_limit_exceeded")
    statement.when(ask(50, effect_id="e2"))
    assert not isinstance(statement.event, CommandRefused)


@pytest.mark.parametrize("ask", [debit, withdraw, hold])
def test_debits_withdrawals_and_holds_count_against_the_daily_limit(ask):
    statement = given(
        opened(daily_limit_minor=100),
        deposited(1000, 1000),
        debited(30, 970),
        withdrawn(30, 940),
        held(30, 30),
    )
    statement.when(ask(11)).then_refused("daily_limit_exceeded")
    statement.when(ask(10, effect_id="e2"))
    assert statement.account()["spent_minor"] == 100


def test_a_capture_does_not_count_a_second_time():
    statement = given(
        opened(daily_limit_minor=100), deposited(1000, 1000), held(100, 100, effect_id="h")
    )
    statement.when(capture("h")).then(captured("h", 100, balance=900))
    assert statement.account()["spent_minor"] == 100


def test_the_daily_limit_starts_anew_at_midnight_utc():
    statement = given(opened(daily_limit_minor=100), deposited(1000, 1000), debited(100, 900))
    statement.when(debit(1), at_ms=MIDNIGHT - 1).then_refused("daily_limit_exceeded")
    statement.when(debit(100, effect_id="e2"), at_ms=MIDNIGHT).then(debited(100, balance=800))
    statement.when(debit(1, effect_id="e3"), at_ms=MIDNIGHT).then_refused("daily_limit_exceeded")


def test_a_clock_that_goes_back_brings_no_second_allowance():
    account = given(
        opened(daily_limit_minor=100), deposited(1000, 1000), debited(100, 900, at_ms=MIDNIGHT)
    ).ledger.account("alice")
    event = decide(account, debit(1), NOW)
    assert isinstance(event, CommandRefused)
    assert event.reason == "daily_limit_exceeded"


def test_a_debit_that_comes_from_a_slow_clock_counts_for_the_latest_day():
    statement = given(
        opened(daily_limit_minor=100),
        deposited(1000, 1000),
        debited(60, 940, at_ms=MIDNIGHT),
        debited(30, 910, at_ms=NOW),
    )
    statement.when(debit(11), at_ms=MIDNIGHT).then_refused("daily_limit_exceeded")


def test_what_was_spent_before_a_daily_limit_was_set_counts():
    statement = given(opened(), deposited(1000, 1000), debited(90, 910))
    statement.when(change_limits(daily_limit_minor=100)).then(limits_changed(daily_limit_minor=100))
    statement.when(debit(11, effect_id="e2")).then_refused("daily_limit_exceeded")


def test_a_hold_released_on_its_day_gives_its_allowance_back():
    statement = given(
        opened(daily_limit_minor=100), deposited(1000, 1000), held(100, 100, effect_id="h")
    )
    statement.when(release("h")).when(debit(100, effect_id="e2")).then(debited(100, balance=900))


def test_a_hold_released_on_a_later_day_gives_no_allowance_for_that_day():
    statement = given(
        opened(daily_limit_minor=100),
        deposited(1000, 1000),
        held(100, 100, effect_id="h"),
        debited(60, 940, at_ms=MIDNIGHT),
    )
    statement.when(release("h"), at_ms=MIDNIGHT)
    statement.when(debit(41, effect_id="e2"), at_ms=MIDNIGHT).then_refused("daily_limit_exceeded")


def test_a_debit_given_back_on_its_day_gives_its_allowance_back():
    statement = given(
        opened(daily_limit_minor=100), deposited(100, 100), debited(100, 0, effect_id="d")
    )
    day = NOW // DAY
    statement.when(credit(100, undoes="d", direction="undo")).then(
        credited(100, balance=100, undoes="d", allowance_day=day)
    )
    statement.when(debit(100, effect_id="e2")).then(debited(100, balance=0))


def test_a_debit_given_back_on_a_later_day_gives_no_allowance_for_that_day():
    statement = given(
        opened(daily_limit_minor=100),
        deposited(1000, 1000),
        debited(100, 900, effect_id="d"),
        debited(60, 840, at_ms=MIDNIGHT),
    )
    statement.when(credit(100, undoes="d"), at_ms=MIDNIGHT)
    statement.when(debit(41, effect_id="e2"), at_ms=MIDNIGHT).then_refused("daily_limit_exceeded")


def test_a_capture_given_back_counts_for_the_day_of_its_hold():
    statement = given(
        opened(daily_limit_minor=100),
        deposited(1000, 1000),
        held(100, 100, effect_id="h"),
        debited(60, 940, at_ms=MIDNIGHT),
        captured("h", 100, 840, effect_id="c", at_ms=MIDNIGHT),
    )
    statement.when(credit(100, undoes="c"), at_ms=MIDNIGHT)
    statement.when(debit(41, effect_id="e2"), at_ms=MIDNIGHT).then_refused("daily_limit_exceeded")


def test_a_plain_credit_gives_no_allowance():
    statement = given(opened(daily_limit_minor=100), deposited(1000, 1000), debited(100, 900))
    statement.when(credit(100)).when(debit(1, effect_id="e2")).then_refused("daily_limit_exceeded")


def test_the_sum_of_a_day_stays_within_63_bits():
    statement = given(opened(), deposited(MAX_MINOR, MAX_MINOR), debited(MAX_MINOR, 0))
    statement.when(deposit(MAX_MINOR)).when(debit(MAX_MINOR, effect_id="e2"))
    assert statement.account()["spent_minor"] == MAX_MINOR


def test_limits_can_be_changed_and_lifted():
    before = {"overdraft_limit_minor": 9, "transfer_limit_minor": 10, "daily_limit_minor": 10}
    given(opened(**before)).when(change_limits()).then(limits_changed())


def test_an_overdraft_limit_below_its_use_is_refused():
    statement = given(opened(overdraft_limit_minor=50), debited(20, -20), held(10, 10))
    statement.when(change_limits(overdraft_limit_minor=29)).then_refused("insufficient_funds")
    statement.when(change_limits(overdraft_limit_minor=30, effect_id="e2")).then(
        limits_changed(overdraft_limit_minor=30)
    )


@pytest.mark.parametrize("ask", [debit, withdraw, hold])
@pytest.mark.parametrize("policy", ["accept", "refuse"])
def test_nothing_leaves_a_frozen_account(ask, policy):
    given(opened(), deposited(100, 100), frozen(policy)).when(ask(1)).then_refused("account_frozen")


@pytest.mark.parametrize("ask", [credit, deposit])
def test_a_frozen_account_takes_money_in_by_its_policy(ask):
    given(opened(), frozen("refuse")).when(ask(1)).then_refused("account_frozen")
    accepting = given(opened(), frozen("accept")).when(ask(1))
    assert accepting.account()["balance_minor"] == 1


def test_a_frozen_account_takes_its_own_debit_back():
    given(opened(), deposited(100, 100), debited(40, 60, effect_id="d"), frozen("refuse")).when(
        credit(40, undoes="d")
    ).then(credited(40, balance=100, undoes="d", allowance_day=NOW // DAY))


def test_a_hold_made_before_the_freeze_can_be_captured():
    given(opened(), deposited(100, 100), held(40, 40, effect_id="h"), frozen()).when(
        capture("h")
    ).then(captured("h", 40, balance=60))


def test_a_hold_made_before_the_freeze_can_be_released():
    given(opened(), deposited(100, 100), held(40, 40, effect_id="h"), frozen()).when(
        release("h")
    ).then(released("h", 40))


def test_freezing_a_frozen_account_changes_its_policy():
    given(opened(), frozen("refuse")).when(freeze("accept")).then(frozen("accept")).when(
        credit(1, effect_id="e2")
    ).then(credited(1, balance=1))


def test_an_unfrozen_account_is_as_open_as_before():
    given(opened(), deposited(100, 100), frozen()).when(unfreeze()).then(unfrozen()).when(
        debit(1, effect_id="e2")
    ).then(debited(1, balance=99))


def test_an_account_that_is_not_frozen_can_not_be_unfrozen():
    given(opened()).when(unfreeze()).then_refused("account_not_frozen")


def test_an_empty_account_can_be_closed():
    given(opened()).when(close()).then(closed())


def test_an_empty_frozen_account_can_be_closed():
    given(opened(), frozen()).when(close()).then(closed())


def test_an_account_with_money_in_it_is_not_closed():
    given(opened(), deposited(1, 1)).when(close()).then_refused("account_not_empty")


def test_an_account_with_an_overdraft_in_use_is_not_closed():
    given(opened(overdraft_limit_minor=9), debited(9, -9)).when(close()).then_refused(
        "account_not_empty"
    )


def test_an_account_with_a_hold_is_not_closed():
    given(opened(overdraft_limit_minor=9), held(9, 9)).when(close()).then_refused(
        "account_not_empty"
    )


@pytest.mark.parametrize(
    "command",
    [
        open_account(),
        debit(1),
        withdraw(1),
        hold(1),
        credit(1),
        deposit(1),
        capture("h"),
        release("h"),
        freeze(),
        unfreeze(),
        change_limits(),
        close(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_closed_account_refuses_everything(command):
    given(opened(), closed()).when(command).then_refused("account_closed")


def test_a_closed_account_does_not_even_take_its_own_debit_back():
    given(opened(), deposited(40, 40), debited(40, 0, effect_id="d"), closed()).when(
        credit(40, undoes="d")
    ).then_refused("account_closed")


def test_a_refusal_tells_no_amount():
    statement = given(opened(overdraft_limit_minor=777), deposited(4321, 4321)).when(debit(98765))
    assert isinstance(statement.event, CommandRefused)
    assert not any(figure in statement.event.detail for figure in ("777", "4321", "98765", "5098"))


def test_an_event_with_a_gap_before_it_stops_the_fold():
    account = given(opened()).ledger.account("alice")
    with pytest.raises(HistoryBroken, match=r"version 3 can't follow version 1 .* alice"):
        evolve(account, deposited(1, 1, version=3))
    with pytest.raises(HistoryBroken):
        evolve(account, opened(version=1))
    with pytest.raises(HistoryBroken):
        evolve(None, deposited(1, 1, version=1))
    with pytest.raises(HistoryBroken):
        evolve(None, opened(version=2))


def test_an_event_does_not_change_the_account_it_is_folded_onto():
    account = given(opened(), deposited(9, 9), held(1, 1, effect_id="h")).ledger.account("alice")
    assert account is not None
    event = decide(account, release("h"), NOW + MINUTE)
    evolve(account, event)
    assert list(account.holds) == ["h"]


def test_holds_do_not_outgrow_what_can_be_stored():
    most = 2**63 - 1
    statement = given(opened(overdraft_limit_minor=most), deposited(most, most))
    statement.when(hold(most, effect_id="h1")).when(hold(most - 1, effect_id="h2"))
    statement.then_refused("balance_overflow")
