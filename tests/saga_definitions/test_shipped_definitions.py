"""The definitions that ship: their graphs, and what they take from outside."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.identity import fingerprint
from saga_definitions.registry import shipped

GOOD: dict[str, Any] = {
    "source": "a1",
    "target": "a2",
    "amount_minor": 1250,
    "currency": "EUR",
}
TRANSFER = shipped().latest("transfer")
RESERVED = shipped().latest("reserved_transfer")
assert TRANSFER is not None
assert RESERVED is not None


def problems(**changes: Any) -> list[tuple[str, str]]:
    return TRANSFER.check_params({**GOOD, **changes})


def test_a_transfer_debits_then_credits_and_gives_a_debit_back() -> None:
    debit, credit = TRANSFER.plan.steps
    assert (debit.do.type, debit.undo and debit.undo.type) == (
        "account.Debit.v1",
        "account.Credit.v1",
    )
    assert debit.undo is not None
    assert debit.undo.fields["account_id"] == {"ref": "params.source"}
    assert (credit.do.type, credit.undo, credit.pivot) == ("account.Credit.v1", None, True)
    assert credit.after == ("debit",)


def test_a_reserved_transfer_captures_only_what_was_credited() -> None:
    hold, credit, capture = RESERVED.plan.steps
    assert hold.undo is not None
    assert hold.undo.type == "account.Release.v1"
    assert hold.undo.fields["hold_id"] == {"ref": "effect.hold"}
    assert credit.pivot
    assert capture.after == ("credit",)
    assert capture.do.fields["hold_id"] == {"ref": "effect.hold"}


def test_good_params_have_no_problems() -> None:
    assert problems() == []
    assert problems(reference="rent 11/2026") == []
    assert problems(amount_minor=2**63 - 1) == []


@pytest.mark.parametrize("amount", [0, -1, 2**63, 1.0, True, "1", None, [], 10**40])
def test_an_amount_that_may_not_move_is_a_problem(amount: Any) -> None:
    assert [place for place, _ in problems(amount_minor=amount)] == ["amount_minor"]


@pytest.mark.parametrize("currency", ["eur", "XXX", "EURO", "EUR\n", "", 978, None, [], {}])
def test_an_unknown_currency_is_a_problem(currency: Any) -> None:
    assert [place for place, _ in problems(currency=currency)] == ["currency"]


@pytest.mark.parametrize("account", ["", "a b", "a" * 65, "a1\n", "-a", 1, True, None, {"a": 1}])
def test_what_is_no_account_id_is_a_problem(account: Any) -> None:
    assert [place for place, _ in problems(source=account)] == ["source"]


@pytest.mark.parametrize("reference", ["x" * 141, "a\x00b", "a\nb", 1, None, "\ud800"])
def test_a_reference_that_is_no_short_printable_text_is_a_problem(reference: Any) -> None:
    assert [place for place, _ in problems(reference=reference)] == ["reference"]


def test_the_same_source_and_target_is_a_problem() -> None:
    assert problems(target="a1") == [("target", "must differ from source")]


def test_a_missing_parameter_is_a_problem() -> None:
    assert ("source", "is required") in TRANSFER.check_params({"target": "a2"})


def test_an_unknown_parameter_is_a_problem() -> None:
    assert problems(fee=1) == [("fee", "is not a parameter of this definition")]


def test_many_unknown_parameters_are_few_problems_with_short_places() -> None:
    found = problems(**{"x" * 1_000 + str(i): 1 for i in range(1_000)})
    assert len(found) == 20
    assert all(len(place) <= 64 for place, _ in found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from([*GOOD, "reference", "x"]) | st.text(), json_values))
def test_hostile_params_are_problems_never_errors(params: dict[str, Any]) -> None:
    for definition in (TRANSFER, RESERVED):
        found = definition.check_params(params)
        if not found:
            assert fingerprint(definition.name, params)
        for name in params.keys() - {*GOOD, "reference"}:
            assert found, name
