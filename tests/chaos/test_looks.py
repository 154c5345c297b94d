"""Readers' answers against what the journals say."""

from chaos.looks import ALL, Fold, Look
from messages.account import Credited, Debited, Held

_ASKED = {"version": 1, "at_ms": 0, "effect_id": "e", "fingerprint": 0}


def folded() -> Fold:
    fold = Fold()
    fold.take(
        Credited(account_id="a", amount_minor=100, currency="EUR", balance_minor=100, **_ASKED)
    )
    fold.take(Held(account_id="a", amount_minor=30, currency="EUR", held_minor=30, **_ASKED))
    fold.take(Credited(account_id="b", amount_minor=50, currency="EUR", balance_minor=50, **_ASKED))
    fold.take(Debited(account_id="b", amount_minor=20, currency="EUR", balance_minor=30, **_ASKED))
    return fold


def test_a_true_answer_passes() -> None:
    fold = folded()
    assert fold.check(Look(0, 9, "a", 100, 30)) == ""
    assert fold.check(Look(0, 9, "b", 30, 0)) == ""
    assert fold.check(Look(0, 9, ALL, 130, 30)) == ""


def test_a_balance_that_never_was_is_told_with_its_place() -> None:
    said = folded().check(Look(2, 9, "b", 50, 0))
    assert "b of partition 2 at offset 9" in said
    assert "told 50" in said and "it was 30" in said


def test_a_sum_that_mixes_two_moments_is_not_true() -> None:
    # The debit was seen, the credit before it was not.
    assert "all accounts" in folded().check(Look(0, 9, ALL, 80, 30))
