"""What the definitions that ship do to accounts, on a bank of two machines."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages.money import MINOR_DIGITS
from messages.saga import SagaStarted, StepRequested
from saga_definitions.approved_transfer import FREE_UP_TO_MINOR
from saga_definitions.registry import shipped
from saga_definitions.rules import converted
from saga_definitions.split_transfer import MAX_LEGS
from tests.saga_definitions.bank import SAGA, Bank

EUR = {"currency": "EUR"}
ANN: dict[str, Any] = {"source": "alice", "target": "bob", "initiator": "ann", **EUR}


def problems(definition: str, params: dict[str, Any]) -> list[tuple[str, str]]:
    known = shipped().latest(definition)
    assert known is not None
    return known.check_params(params)


# split_transfer


def legs(**amounts: int) -> list[dict[str, Any]]:
    return [{"target": t, "amount_minor": amount} for t, amount in amounts.items()]


def split(**amounts: int) -> dict[str, Any]:
    total = sum(amounts.values())
    return {"source": "alice", "amount_minor": total, "legs": legs(**amounts), **EUR}


def four(**changes: tuple[int, str]) -> Bank:
    accounts = dict.fromkeys(("bob", "carol", "dave"), (0, "EUR"))
    return Bank(**{"alice": (100, "EUR"), **accounts, **changes})


def test_a_split_transfer_gives_every_target_its_part() -> None:
    bank = four().start("split_transfer", **split(bob=10, carol=20, dave=30))
    assert bank.state == ("completed", "")
    assert bank.balances == {"alice": 40, "bob": 10, "carol": 20, "dave": 30}


@pytest.mark.parametrize("bad", ["bob", "carol", "dave"])
def test_one_target_that_refuses_leaves_everybody_with_what_they_had(bad: str) -> None:
    bank = four()
    bank.close(bad)
    bank.start("split_transfer", **split(bob=10, carol=20, dave=30))
    assert bank.state == ("compensated", "account_closed")
    assert bank.balances == {"alice": 100, "bob": 0, "carol": 0, "dave": 0}


def test_a_part_is_not_to_be_spent_before_all_have_accepted() -> None:
    """dave's currency is another one: bob and carol have been credited by then, and give back
    without anybody asking what their balance allows."""
    bank = four(dave=(0, "USD"), bob=(0, "EUR"))
    bank.start("split_transfer", **split(bob=10, carol=20, dave=30))
    credited = [e for e in bank.events if isinstance(e, StepRequested) and e.direction == "undo"]
    assert {event.step for event in credited} >= {"credit_0", "credit_1"}
    assert {event.command_type for event in credited if event.step != "hold"} == {
        "account.Capture.v1"
    }
    assert bank.state == ("compensated", "currency_mismatch")
    assert bank.balances == {"alice": 100, "bob": 0, "carol": 0, "dave": 0}


def test_a_split_transfer_without_cover_asks_no_target() -> None:
    bank = four().start("split_transfer", **split(bob=50, carol=51))
    assert bank.state == ("compensated", "insufficient_funds")
    assert {e.step for e in bank.events if isinstance(e, StepRequested)} == {"hold"}


def test_a_split_transfer_has_as_many_legs_as_it_needs_also_to_one_target() -> None:
    bank = four()
    many = [{"target": "bob", "amount_minor": 1}] * MAX_LEGS
    bank.start("split_transfer", source="alice", amount_minor=MAX_LEGS, legs=many, **EUR)
    assert bank.balances["bob"] == MAX_LEGS
    one = four().start("split_transfer", **split(carol=100))
    assert one.balances == {"alice": 0, "bob": 0, "carol": 100, "dave": 0}


@pytest.mark.parametrize(
    ("change", "place", "reason"),
    [
        ({"amount_minor": 31}, "amount_minor", "must be the sum of legs"),
        ({"source": "carol"}, "legs", "must not lead back to source"),
        ({"legs": []}, "legs", "must be a list of 1 to 10 legs"),
        ({"legs": legs(bob=1) * 11}, "legs", "must be a list of 1 to 10 legs"),
        ({"legs": {"bob": 1}}, "legs", "must be a list of 1 to 10 legs"),
        ({"legs": [5]}, "legs", "leg 0 must have target and amount_minor and no more"),
        (
            {"legs": [*legs(bob=10), {"target": "x", "amount_minor": 1, "more": 1}]},
            "legs",
            "leg 1 must have target and amount_minor and no more",
        ),
        ({"legs": legs(bob=0)}, "legs", "leg 0: amount_minor must be an integer of minor units, "),
        (
            {"legs": [{"target": "a b", "amount_minor": 30}]},
            "legs",
            "leg 0: must be an account id: ",
        ),
    ],
)
def test_legs_that_are_none_are_a_problem(change: Any, place: str, reason: str) -> None:
    ((found, said),) = problems("split_transfer", {**split(bob=10, carol=20), **change})
    assert (found, said[: len(reason)]) == (place, reason)


# fx_transfer


def quote(**changes: Any) -> dict[str, Any]:
    return {
        "source": "alice",
        "amount_minor": 10_001,
        "currency": "EUR",
        "target": "yuki",
        "target_amount_minor": 16_237,
        "target_currency": "JPY",
        "rate": "162.35",
        "quote_ends_at": "2026-01-01T00:00:10Z",
        "source_liquidity": "bank-eur",
        "target_liquidity": "bank-jpy",
        **changes,
    }


def fx_bank(**changes: tuple[int, str]) -> Bank:
    accounts = {"alice": (20_000, "EUR"), "yuki": (0, "JPY")}
    liquidity = {"bank-eur": (0, "EUR"), "bank-jpy": (50_000, "JPY")}
    return Bank(**{**accounts, **liquidity, **changes})


def test_an_fx_transfer_goes_through_the_liquidity_of_both_currencies() -> None:
    bank = fx_bank().start("fx_transfer", **quote())
    assert bank.state == ("completed", "")
    assert bank.balances == {
        "alice": 9_999,
        "bank-eur": 10_001,
        "bank-jpy": 33_763,
        "yuki": 16_237,
    }


def test_a_target_that_refuses_gives_both_currencies_back() -> None:
    bank = fx_bank()
    bank.freeze("yuki")
    before = {"alice": 20_000, "bank-eur": 0, "bank-jpy": 50_000, "yuki": 0}
    bank.start("fx_transfer", **quote())
    assert (bank.state, bank.balances) == (("compensated", "account_frozen"), before)


def test_liquidity_that_is_short_gives_the_debit_back() -> None:
    bank = fx_bank(**{"bank-jpy": (16_236, "JPY")}).start("fx_transfer", **quote())
    assert bank.state == ("compensated", "insufficient_funds")
    assert bank.balances["alice"] == 20_000


def test_a_quote_that_has_ended_moves_nothing() -> None:
    bank = fx_bank().wait(s=11).start("fx_transfer", **quote())
    assert bank.state == ("compensated", "too_late")
    assert not [event for event in bank.events if isinstance(event, StepRequested)]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"target_amount_minor": 16_236}, "target_amount_minor"),
        ({"target_amount_minor": 16_238}, "target_amount_minor"),
        ({"rate": "162.36"}, "target_amount_minor"),
        ({"rate": 162.35}, "rate"),
        ({"rate": "0"}, "rate"),
        ({"rate": "-1"}, "rate"),
        ({"rate": "1e3"}, "rate"),
        ({"rate": "1" * 400}, "rate"),
        ({"target_currency": "EUR"}, "target_currency"),
        ({"source_liquidity": "alice"}, "source_liquidity"),
        ({"target_liquidity": "yuki"}, "target_liquidity"),
        ({"quote_ends_at": "2026-01-01"}, "quote_ends_at"),
    ],
)
def test_a_quote_that_does_not_hold_is_a_problem(change: Any, place: str) -> None:
    assert place in [found for found, _ in problems("fx_transfer", quote(**change))]


@pytest.mark.parametrize(
    ("amount", "currency", "rate", "into", "expected"),
    [
        (1, "EUR", "0.5", "USD", 0),
        (3, "EUR", "0.5", "USD", 2),
        (5, "EUR", "0.5", "USD", 2),
        (100, "EUR", "162.35", "JPY", 162),
        (1, "JPY", "0.006", "EUR", 1),
        (1, "JPY", "0.4", "KWD", 400),
    ],
)
def test_amounts_are_rounded_half_to_even(
    amount: int, currency: str, rate: str, into: str, expected: int
) -> None:
    assert converted(amount, currency, rate, into) == expected


@given(
    st.integers(1, 2**63 - 1),
    st.sampled_from(sorted(MINOR_DIGITS)),
    st.integers(1, 10**21),
    st.sampled_from(sorted(MINOR_DIGITS)),
)
def test_rounding_is_never_off_by_more_than_half_a_minor_unit(
    amount: int, currency: str, ppm: int, into: str
) -> None:
    """In integers alone: twice the distance is at most one minor unit."""
    rate = f"{ppm // 10**12}.{ppm % 10**12:012d}"
    got = converted(amount, currency, rate, into)
    up, down = 10 ** MINOR_DIGITS[into], 10 ** MINOR_DIGITS[currency]
    assert abs(2 * (got * down * 10**12 - amount * ppm * up)) <= down * 10**12


# approved_transfer

LARGE = FREE_UP_TO_MINOR + 1


def rich() -> Bank:
    return Bank(alice=(2 * LARGE, "EUR"), bob=(0, "EUR"))


def test_up_to_the_limit_nobody_is_asked() -> None:
    bank = rich().start("approved_transfer", amount_minor=FREE_UP_TO_MINOR, **ANN)
    assert bank.state == ("completed", "")
    assert bank.balances["bob"] == FREE_UP_TO_MINOR


def test_above_the_limit_the_money_is_held_until_another_person_approves() -> None:
    bank = rich().start("approved_transfer", amount_minor=LARGE, **ANN)
    assert bank.state[0] == "running"
    assert bank.held == {"alice": LARGE}
    assert bank.wait(days=2).signal("approval", who="ann").balances["bob"] == 0
    bank.signal("approval")
    assert (bank.state, bank.balances["bob"]) == (("completed", ""), LARGE)


@pytest.mark.parametrize("silent", [True, False])
def test_a_rejection_and_silence_release_the_money(silent: bool) -> None:
    bank = rich().start("approved_transfer", amount_minor=LARGE, **ANN)
    if silent:
        bank.wait(days=3)
    else:
        bank.signal("approval", "reject")
    assert bank.state == ("compensated", "signal_timeout" if silent else "rejected")
    assert (bank.held, bank.balances["alice"]) == ({}, 2 * LARGE)


def test_a_transfer_names_who_asks_for_it() -> None:
    params = {"amount_minor": LARGE, **ANN}
    assert problems("approved_transfer", params) == []
    assert problems("approved_transfer", {**params, "initiator": ""})[0][0] == "initiator"


# scheduled_transfer


def test_a_scheduled_transfer_moves_nothing_before_its_time() -> None:
    bank = Bank(alice=(0, "EUR"), bob=(0, "EUR"))
    params = {"source": "alice", "target": "bob", "amount_minor": 50, **EUR}
    bank.start("scheduled_transfer", execute_at="2027-01-01T01:00:00+01:00", **params)
    bank.wait(days=364, s=86_399)
    assert not [event for event in bank.events if isinstance(event, StepRequested)]
    # What the account has then decides, not what it had when it was asked for.
    late = Bank(alice=(50, "EUR"), bob=(0, "EUR"))
    late.start("scheduled_transfer", execute_at="2027-01-01T01:00:00+01:00", **params)
    late.wait(days=365)
    assert (late.state, late.balances["bob"]) == (("completed", ""), 50)
    bank.wait(s=1)
    assert bank.state == ("compensated", "insufficient_funds")


def test_what_ships_can_be_started_and_stands_in_the_journal_with_its_plan() -> None:
    assert shipped().names() == (
        "approved_transfer",
        "fee",
        "fx_transfer",
        "payroll",
        "payroll_all_or_none",
        "reserved_transfer",
        "reversal",
        "scheduled_transfer",
        "split_transfer",
        "standing_order",
        "transfer",
        "transfer_with_fee",
    )
    bank = four().start("split_transfer", **split(bob=1))
    (started,) = (event for event in bank.events if isinstance(event, SagaStarted))
    assert (started.saga_id, started.plan.definition) == (SAGA, "split_transfer")
