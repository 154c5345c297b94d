"""Names that must be the same in every process and release, and never the same for two things."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages.account import AccountId
from messages.identity import account_id, effect_id, fingerprint, request_effect_id, saga_id
from messages.participant import EffectId
from messages.saga import SagaId

NAMERS: list[Callable[[str, str], str]] = [
    saga_id,
    account_id,
    lambda tenant, key: request_effect_id(tenant, key, "a"),
]

members = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# Golden names: they are in journals. If one changes, a retry is taken for a new request.


def test_a_saga_is_named_the_same_in_every_release():
    assert saga_id("acme", "order-1") == "9e12c1ea6ca50d8c1024a86ed58976d5"


def test_a_request_is_named_the_same_in_every_release():
    name = request_effect_id("acme", "order-1", "a1")
    assert name == "request/c11cea9c3ae8d6c2a07e37cddcc73445"


def test_a_key_used_on_two_accounts_names_two_requests():
    assert request_effect_id("acme", "1", "a1") != request_effect_id("acme", "1", "a2")


def test_an_account_is_named_the_same_in_every_release():
    assert account_id("acme", "order-1") == "aa87e17bdfa85901"


def test_an_effect_is_named_by_its_saga_step_and_direction():
    assert effect_id("9e12", "debit", "do") == "9e12/debit/do"
    assert effect_id("9e12", "debit", "undo") == "9e12/debit/undo"


def test_a_fingerprint_is_the_same_in_every_release():
    params = {"source": "a", "target": "b", "amount": 5}
    assert fingerprint("transfer", params) == "1538dc1217812301c3b140e0"


# Two things, two names


@pytest.mark.parametrize("name", NAMERS)
@given(st.text(min_size=1), st.data())
def test_tenant_and_key_do_not_run_into_each_other(
    name: Callable[[str, str], str], both: str, data: st.DataObject
):
    here, there = (data.draw(st.integers(0, len(both))) for _ in range(2))
    same = name(both[:here], both[here:]) == name(both[:there], both[there:])
    assert same == (here == there)


@pytest.mark.parametrize("name", NAMERS)
def test_digits_in_a_name_are_not_taken_for_its_length(name: Callable[[str, str], str]):
    # With lengths but nothing behind them, both would read 1110aaaaaaaaa0.
    assert name("1", "aaaaaaaaa0") != name("10aaaaaaaaa", "")


def test_one_key_of_one_tenant_names_a_saga_a_request_and_an_account_differently():
    saga = saga_id("acme", "1")
    request = request_effect_id("acme", "1", "a").removeprefix("request/")
    assert saga != request
    assert account_id("acme", "1")[1:] not in (saga[:15], request[:15])


@given(st.text(), st.text())
def test_a_name_keeps_to_the_form_of_its_kind(tenant: str, key: str):
    msgspec.convert(saga_id(tenant, key), SagaId)
    msgspec.convert(request_effect_id(tenant, key, "a"), EffectId)
    msgspec.convert(account_id(tenant, key), AccountId)


# Fingerprints


def reordered(value: Any) -> Any:
    """The same members, the other way round, at every depth."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(), members))
def test_a_fingerprint_does_not_depend_on_the_order_of_members(params: dict[str, Any]):
    assert fingerprint("transfer", reordered(params)) == fingerprint("transfer", params)


def test_a_fingerprint_depends_on_the_order_of_a_list():
    assert fingerprint("t", {"to": ["a", "b"]}) != fingerprint("t", {"to": ["b", "a"]})


def test_a_fingerprint_depends_on_the_definition():
    assert fingerprint("transfer", {"a": 1}) != fingerprint("reserved_transfer", {"a": 1})


def test_values_that_python_takes_for_equal_have_fingerprints_of_their_own():
    values: list[Any] = [1, 1.0, True, "1", None, [], {}, [1], {"1": 1}]
    assert len({fingerprint("t", {"a": value}) for value in values}) == len(values)


def test_a_value_does_not_pass_from_one_member_to_another():
    assert fingerprint("t", {"a": "x", "b": ""}) != fingerprint("t", {"a": "", "b": "x"})


def test_a_missing_member_is_not_a_member_that_is_null():
    assert fingerprint("t", {}) != fingerprint("t", {"a": None})
