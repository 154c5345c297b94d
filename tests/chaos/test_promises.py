"""What a run's verdict makes of approvals, payouts and the bank's own accounts."""

from typing import Any

from chaos.payments import Payment
from chaos.promises import OWN_WORD, Ended, misbooked, unapproved, unpaid
from chaos.roles import FREE_UP_TO_MINOR, SETTLEMENT

_ASKED: dict[str, Any] = {"amount_minor": 100, "currency": "EUR", "creditor_account": "DE89"}


def _approved(state: str, amount_minor: int = FREE_UP_TO_MINOR + 1) -> list[Ended]:
    return [Ended("s", "approved_transfer", state, {"amount_minor": amount_minor})]


def _payout(state: str) -> list[Ended]:
    return [Ended("s", "external_payout", state, _ASKED)]


def _payment(effect_id: str = "s/payout/do", amount_minor: int = 100, saga: str = "s") -> Payment:
    return Payment(effect_id, saga, "DE89", amount_minor, "EUR")


def test_a_large_transfer_needs_an_approval_to_go_through() -> None:
    assert list(unapproved(_approved("completed"), {"s": "approve"})) == []
    assert list(unapproved(_approved("compensated"), {"s": "reject"})) == []
    assert list(unapproved(_approved("completed", FREE_UP_TO_MINOR), {})) == []
    assert len(list(unapproved(_approved("completed"), {}))) == 1
    assert len(list(unapproved(_approved("completed"), {"s": "reject"}))) == 1


def test_the_word_of_the_one_who_asked_must_not_count_whatever_follows() -> None:
    assert len(list(unapproved(_approved("compensated"), {"s": OWN_WORD}))) == 1


def test_a_completed_payout_was_made_once_and_one_taken_back_never() -> None:
    assert list(unpaid(_payout("completed"), [_payment()])) == []
    assert list(unpaid(_payout("compensated"), [])) == []
    assert len(list(unpaid(_payout("completed"), []))) == 1
    assert len(list(unpaid(_payout("completed"), [_payment(), _payment("s/payout/do2")]))) == 1
    assert len(list(unpaid(_payout("compensated"), [_payment()]))) == 1


def test_a_payout_is_made_as_it_was_asked_for_and_only_if_it_was() -> None:
    assert len(list(unpaid(_payout("completed"), [_payment(amount_minor=99)]))) == 1
    assert len(list(unpaid([], [_payment(saga="nobody")]))) == 1


def test_the_banks_own_accounts_hold_what_completed_transfers_left_there() -> None:
    exchange = {
        "source_liquidity": "euros",
        "amount_minor": 100,
        "target_liquidity": "dollars",
        "target_amount_minor": 108,
    }
    sagas = [
        Ended("a", "fx_transfer", "completed", exchange),
        Ended("b", "fx_transfer", "compensated", exchange),
        *_payout("completed"),
    ]
    opened = {"euros": 1_000, "dollars": 1_000, SETTLEMENT: 0}
    found = {"euros": 1_100, "dollars": 892, SETTLEMENT: 100}
    assert list(misbooked(sagas, opened, found)) == []
    for account in opened:
        assert len(list(misbooked(sagas, opened, {**found, account: 0}))) == 1
