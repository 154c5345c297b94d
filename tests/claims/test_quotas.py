"""Quotas: what is claimed of one never exceeds its limit, each effect counts once, and what is
taken back is there again."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claims.quotas import Quota, QuotaBroken
from messages.claims import Claim, GiveBack
from tests.claims.desk import DAY_MS, NOW_MS, Desk, asked


def claim(
    saga: str,
    amount: int,
    attempt: int = 1,
    *,
    of: str = "transfer-1",
    limit: int = 100,
    **more: Any,
) -> Claim:
    fields = {**asked(saga, "claim", "do", attempt), "purpose": "reversal", **more}
    return Claim(**fields, resource=of, amount_minor=amount, limit_minor=limit)


def give_back(saga: str, amount: int, attempt: int = 1, *, of: str = "transfer-1") -> GiveBack:
    fields = asked(saga, "claim", "undo", attempt)
    return GiveBack(**fields, purpose="reversal", resource=of, amount_minor=amount)


def test_claims_are_granted_up_to_the_limit_and_not_a_cent_more() -> None:
    desk = Desk()
    assert desk.ask(claim("a", 60)) == "applied"
    assert desk.ask(claim("b", 41)) == "limit_exceeded"
    assert desk.ask(claim("c", 40)) == "applied"
    assert desk.ask(claim("d", 1)) == "limit_exceeded"
    assert desk.claimed() == 100


def test_quotas_of_different_resources_and_purposes_have_nothing_to_do_with_each_other() -> None:
    desk = Desk()
    assert desk.ask(claim("a", 100)) == "applied"
    assert desk.ask(claim("b", 100, of="transfer-2")) == "applied"
    assert desk.ask(claim("c", 100, purpose="refund")) == "applied"


def test_a_repetition_hears_the_first_outcome_and_claims_nothing() -> None:
    desk = Desk()
    assert desk.ask(claim("a", 60)) == "applied"
    assert desk.ask(claim("a", 60, 2)) == "applied"
    assert desk.ask(claim("b", 60)) == "limit_exceeded"
    desk.ask(give_back("a", 60))
    assert desk.ask(claim("b", 60)) == "limit_exceeded", "a copy of what was refused stays refused"
    assert desk.ask(claim("b", 60, 2)) == "applied"
    assert desk.claimed() == 60


def test_what_is_given_back_can_be_claimed_again_and_is_given_back_once() -> None:
    desk = Desk()
    desk.ask(claim("a", 100))
    assert desk.ask(give_back("a", 100)) == "applied"
    assert desk.ask(give_back("a", 100, 2)) == "applied"
    assert desk.claimed() == 0
    assert desk.ask(claim("b", 100)) == "applied"
    assert desk.claimed() == 100


def test_a_claim_that_its_undo_has_overtaken_is_not_made_any_more() -> None:
    desk = Desk()
    assert desk.ask(give_back("a", 60)) == "applied"
    assert desk.ask(claim("a", 60)) == "effect_voided"
    assert desk.claimed() == 0


def test_a_refused_claim_has_nothing_to_give_back() -> None:
    desk = Desk()
    desk.ask(claim("a", 60))
    desk.ask(claim("b", 60))
    assert desk.ask(give_back("b", 60)) == "applied"
    assert desk.claimed() == 60


def test_the_first_claim_sets_the_limit() -> None:
    desk = Desk()
    desk.ask(claim("a", 60))
    assert desk.ask(claim("b", 60, limit=1_000)) == "limit_differs"


def test_only_an_undo_gives_back() -> None:
    desk = Desk()
    desk.ask(claim("a", 60))
    fields = {**asked("b", "claim", "do", 1), "purpose": "reversal"}
    forward = GiveBack(**fields, resource="transfer-1", amount_minor=60)
    assert desk.ask(forward) == "not_claimed"
    assert desk.claimed() == 60


def test_a_claim_from_beyond_the_horizon_is_refused_and_quotas_are_kept_for_ever() -> None:
    desk = Desk()
    desk.ask(claim("a", 60))
    desk.now_ms += 400 * DAY_MS
    assert desk.ask(claim("b", 1)) == "effect_expired"
    desk.restart()
    assert desk.ask(claim("c", 41, issued_at_ms=desk.now_ms)) == "limit_exceeded"
    assert desk.claimed() == 60


def test_a_journal_that_says_more_was_claimed_than_there_is_is_not_believed() -> None:
    desk, other = Desk(), Desk()
    events = [*desk.machine.decide(claim("a", 60), NOW_MS)]
    events += other.machine.decide(claim("b", 60), NOW_MS)
    with pytest.raises(QuotaBroken, match="60 are claimed"):
        for event in events:
            desk.machine.evolve(event)


SAGAS = ("a", "b", "c", "d", "e", "f")
AMOUNTS = {"a": 60, "b": 40, "c": 55, "d": 100, "e": 1, "f": 45}
moves = st.lists(
    st.tuples(
        st.sampled_from(SAGAS),
        st.sampled_from(("claim", "give back", "restart")),
        st.integers(1, 3),
        st.sampled_from(("transfer-1", "transfer-2")),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(moves)
def test_whatever_comes_in_whatever_order_the_books_of_the_claims_are_right(
    history: list[tuple[str, str, int, str]],
) -> None:
    desk = Desk()
    standing: dict[tuple[str, str], int] = {}
    ended: set[tuple[str, str]] = set()
    for saga, move, attempt, of in history:
        named = (f"{saga}-{of}", of)
        amount = AMOUNTS[saga]
        if move == "restart":
            desk.restart()
        elif move == "claim":
            told = desk.ask(claim(named[0], amount, attempt, of=of))
            if told == "applied":
                assert named not in ended
                standing[named] = amount
            else:
                assert named not in standing, "a repetition hears the first outcome"
        else:
            assert desk.ask(give_back(named[0], amount, attempt, of=of)) == "applied"
            standing.pop(named, None)
            ended.add(named)
        sums = Counter[str]()
        for (_, one), taken in standing.items():
            sums[one] += taken
        for one in ("transfer-1", "transfer-2"):
            assert desk.claimed(one) == sums[one] <= 100


def test_a_snapshot_of_many_quotas_brings_them_all_back() -> None:
    desk = Desk()
    for number in range(1_500):
        desk.ask(claim(f"saga-{number}", 7, of=f"transfer-{number}"))
    before = dict(desk.machine.quotas)
    desk.restart()
    assert desk.machine.quotas == before
    assert before["reversal", "transfer-1499"] == Quota(100, 7)
