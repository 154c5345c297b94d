"""What is on the wire becomes a message or is `Undecodable`, and old types are lifted."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages.account import AccountCommand, AccountEvent, Debit, OpenAccount
from messages.saga import SagaEvent, SagaInput, StartSaga, StepApplied
from messages.wire import MAX_UPCASTS, Codec, Undecodable, Upcaster, encode, type_name


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="till.Opened.v1"):
    clerk: str
    drawer: int = 1


class Paid(msgspec.Struct, frozen=True, kw_only=True, tag="till.Paid.v3"):
    """v1 had `euros`; v2 had `amount_minor`, but no currency yet."""

    amount_minor: int
    currency: str


def paid_v1(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "till.Paid.v2", "amount_minor": fields["euros"] * 100}


def paid_v2(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "type": "till.Paid.v3", "currency": "EUR"}


TILL: Codec[Any] = Codec(Opened | Paid)
LIFTING: Codec[Any] = Codec(Opened | Paid, {"till.Paid.v1": paid_v1, "till.Paid.v2": paid_v2})

HOSTILE = {
    "nothing": b"",
    "blank": b" \n",
    "zero bytes": bytes(64),
    "not UTF-8": b"\xff\xfe",
    "not UTF-8 in a field": b'{"type":"till.Opened.v1","clerk":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"type":"till.Opened.v1","clerk":"\\ud800"}',
    "a byte order mark": b'\xef\xbb\xbf{"type":"till.Opened.v1","clerk":"eve"}',
    "null": b"null",
    "a number": b"17",
    "a text": b'"till.Opened.v1"',
    "an array": b'[{"type":"till.Opened.v1","clerk":"eve"}]',
    "no type": b'{"clerk":"eve"}',
    "a type that is null": b'{"type":null,"clerk":"eve"}',
    "a type that is a number": b'{"type":1,"clerk":"eve"}',
    "an unknown type": b'{"type":"till.Robbed.v1","clerk":"eve"}',
    "no field": b'{"type":"till.Opened.v1"}',
    "a field of another kind": b'{"type":"till.Opened.v1","clerk":5}',
    "a fraction for a count": b'{"type":"till.Opened.v1","clerk":"eve","drawer":1.0}',
    "cut short": b'{"type":"till.Opened.v1","clerk":"ev',
    "two messages": b'{"type":"till.Opened.v1","clerk":"eve"}{"type":"till.Opened.v1"}',
    "a huge number": b'{"type":"till.Opened.v1","clerk":"eve","drawer":%s}' % (b"9" * 5000),
    "an infinite number": b'{"type":"till.Opened.v1","clerk":"eve","drawer":1e999}',
    "deep arrays": b"[" * 100_000,
    "deep arrays in a field": b'{"type":"till.Opened.v1","clerk":%s' % (b"[" * 100_000),
    "deep arrays in an unknown field": b'{"type":"till.Opened.v1","clerk":"eve","x":%s'
    % (b"[" * 100_000),
    "deep objects in an old type": b'{"type":"till.Paid.v1","x":%s' % (b'{"a":' * 100_000),
}


def refusal(codec: Codec[Any], value: bytes | None) -> str:
    """Why `value` is not a message."""
    with pytest.raises(Undecodable) as raised:
        codec.decode(value)
    return raised.value.reason


# Encoding and decoding


def test_a_message_is_json_with_its_type_first():
    assert encode(Opened(clerk="eve")) == b'{"type":"till.Opened.v1","clerk":"eve","drawer":1}'


@pytest.mark.parametrize("message", [Opened(clerk="Zoë"), Paid(amount_minor=5, currency="EUR")])
def test_a_message_comes_back_as_it_was_encoded(message: object):
    assert TILL.decode(encode(message)) == message


def test_a_message_of_before_a_field_was_added_takes_the_default():
    assert TILL.decode(b'{"type":"till.Opened.v1","clerk":"eve"}') == Opened(clerk="eve", drawer=1)


def test_a_field_that_the_reader_does_not_know_yet_is_passed_over():
    newer = b'{"type":"till.Opened.v1","clerk":"eve","shift":"late"}'
    assert TILL.decode(newer) == Opened(clerk="eve")


def test_the_type_name_is_that_of_the_message_and_of_its_class():
    assert type_name(Opened) == type_name(Opened(clerk="eve")) == "till.Opened.v1"


def test_the_types_are_those_of_the_family():
    assert TILL.types == {b"till.Opened.v1", b"till.Paid.v3"}


def test_the_types_of_a_family_of_one_are_that_one():
    assert Codec[Opened](Opened).types == {b"till.Opened.v1"}


def test_the_types_that_are_lifted_are_among_the_types():
    assert LIFTING.types == TILL.types | {b"till.Paid.v1", b"till.Paid.v2"}


# What nobody can read


@pytest.mark.parametrize("codec", [TILL, LIFTING], ids=["plain", "lifting"])
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_undecodable(codec: Codec[Any], value: bytes):
    assert refusal(codec, value)


@pytest.mark.parametrize("kind", [b"[]", b"{}", b'["till.Opened.v1"]'])
def test_a_type_that_is_no_text_is_undecodable(kind: bytes):
    assert "$.type" in refusal(TILL, b'{"type":%s,"clerk":"eve"}' % kind)


@pytest.mark.parametrize("codec", [TILL, LIFTING], ids=["plain", "lifting"])
def test_a_record_without_a_value_is_undecodable(codec: Codec[Any]):
    assert refusal(codec, None) == "the record has no value"


def test_the_reason_says_which_field_is_wrong():
    assert "$.clerk" in refusal(TILL, b'{"type":"till.Opened.v1","clerk":5}')


def test_the_reason_is_the_text_of_the_error():
    assert str(Undecodable("it is torn")) == "it is torn"


FAMILIES = (AccountCommand, AccountEvent, SagaInput, SagaEvent)
CODECS: list[Codec[Any]] = [Codec(family) for family in FAMILIES]
ASKED: dict[str, Any] = {"account_id": "a", "effect_id": "e", "issued_at_ms": 1}
REAL = (
    OpenAccount(**ASKED, currency="EUR"),
    Debit(**ASKED, amount_minor=5, currency="EUR", saga_id="s", step="debit"),
    StepApplied(saga_id="s", step="debit", direction="do", attempt=1),
    StartSaga(
        saga_id="s",
        tenant="acme",
        definition="transfer",
        params={"amount": 5, "of": ["a", {"b": None}]},
        fingerprint="f",
        request_id="r",
        issued_at_ms=1,
    ),
)
KINDS = [kind for family in FAMILIES for kind in get_args(family)]
TYPES = [type_name(kind) for kind in KINDS]
FIELDS = sorted({name for kind in KINDS for name in kind.__struct_fields__})

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def nearly_messages(draw: st.DrawFn) -> bytes:
    """JSON with the type of a message, and something under the names of its fields."""
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), anything, max_size=8))
    return msgspec.json.encode({**fields, "type": draw(st.sampled_from(TYPES) | anything)})


@st.composite
def damaged_messages(draw: st.DrawFn) -> bytes:
    """A real message of which a stretch is replaced by other bytes."""
    whole = encode(draw(st.sampled_from(REAL)))
    begin = draw(st.integers(0, len(whole)))
    end = draw(st.integers(begin, len(whole)))
    return whole[:begin] + draw(st.binary(max_size=8)) + whole[end:]


@given(st.sampled_from(CODECS), st.binary() | nearly_messages() | damaged_messages())
def test_no_bytes_raise_anything_but_undecodable(codec: Codec[Any], value: bytes):
    try:
        message = codec.decode(value)
    except Undecodable as error:
        assert error.reason
    else:
        assert codec.decode(encode(message)) == message


# Old types


def test_a_message_of_an_old_type_is_lifted():
    old = b'{"type":"till.Paid.v2","amount_minor":700}'
    assert LIFTING.decode(old) == Paid(amount_minor=700, currency="EUR")


def test_a_message_of_a_still_older_type_is_lifted_through_every_version():
    assert LIFTING.decode(b'{"type":"till.Paid.v1","euros":7}') == Paid(
        amount_minor=700, currency="EUR"
    )


def test_a_message_of_a_present_type_is_not_lifted():
    present = Paid(amount_minor=7, currency="USD")
    assert LIFTING.decode(encode(present)) == present


def test_without_upcasters_an_old_type_is_undecodable():
    assert "till.Paid.v2" in refusal(TILL, b'{"type":"till.Paid.v2","amount_minor":700}')


def test_an_unknown_type_is_undecodable_and_named_also_where_others_are_lifted():
    assert "till.Robbed.v1" in refusal(LIFTING, b'{"type":"till.Robbed.v1"}')


@pytest.mark.parametrize(
    "value", [b'{"type":"till.Opened.v1","clerk":5}', b'{"type":"till.Op'], ids=["field", "torn"]
)
def test_what_is_not_lifted_keeps_its_own_reason_where_others_are_lifted(value: bytes):
    assert refusal(LIFTING, value) == refusal(TILL, value)


def test_what_was_lifted_into_something_malformed_is_undecodable():
    reason = refusal(LIFTING, b'{"type":"till.Paid.v2","amount_minor":"much"}')
    assert reason.startswith("after upcasting: ")
    assert "$.amount_minor" in reason


def chain(lifts: int) -> dict[str, Upcaster]:
    """Upcasters from `old.<lifts>` down to `old.1`, which becomes a present type."""

    def to(name: str) -> Upcaster:
        return lambda fields: {**fields, "type": name}

    names = ["till.Opened.v1", *(f"old.{i}" for i in range(1, lifts + 1))]
    return {name: to(newer) for newer, name in pairwise(names)}


def test_as_many_lifts_as_are_allowed_are_made():
    codec: Codec[Any] = Codec(Opened, chain(MAX_UPCASTS))
    oldest = b'{"type":"old.%d","clerk":"eve"}' % MAX_UPCASTS
    assert codec.decode(oldest) == Opened(clerk="eve")


def test_one_lift_more_than_is_allowed_is_undecodable():
    codec: Codec[Any] = Codec(Opened, chain(MAX_UPCASTS + 1))
    assert "circle" in refusal(codec, b'{"type":"old.%d","clerk":"eve"}' % (MAX_UPCASTS + 1))


@pytest.mark.parametrize(
    "circle",
    [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}],
    ids=["of one", "of two", "beside the beginning"],
)
def test_upcasters_that_go_round_in_a_circle_are_undecodable(circle: dict[str, str]):
    upcasters: dict[str, Upcaster] = {
        old: lambda fields, new=new: {**fields, "type": new} for old, new in circle.items()
    }
    assert (
        refusal(Codec(Opened, upcasters), b'{"type":"a"}') == "the upcasters go round in a circle"
    )


@pytest.mark.parametrize(
    "fails",
    [
        lambda fields: fields["missing"],
        lambda fields: fields["clerk"] + 1,
        lambda fields: {"type": "till.Opened.v1", "clerk": int(fields["clerk"])},
    ],
    ids=["KeyError", "TypeError", "ValueError"],
)
def test_a_message_that_its_upcaster_fails_on_is_undecodable(
    fails: Callable[[dict[str, Any]], dict[str, Any]],
):
    codec: Codec[Any] = Codec(Opened, {"till.Opened.v0": fails})
    reason = refusal(codec, b'{"type":"till.Opened.v0","clerk":"eve"}')
    assert reason.startswith("the upcaster of an old type failed: ")


@given(
    st.sampled_from(["till.Paid.v1", "till.Paid.v2"]),
    st.dictionaries(st.sampled_from(["euros", "amount_minor", "currency"]), anything),
)
def test_whatever_an_old_message_holds_it_is_lifted_or_undecodable(
    kind: str, fields: dict[str, Any]
):
    try:
        lifted = LIFTING.decode(msgspec.json.encode({**fields, "type": kind}))
    except Undecodable:
        return
    assert isinstance(lifted, Paid)


@pytest.mark.parametrize("kind", [b"[]", b"{}", b'["till.Opened.v1"]'])
def test_a_type_that_is_no_text_is_undecodable_also_where_others_are_lifted(kind: bytes):
    assert refusal(LIFTING, b'{"type":%s,"clerk":"eve"}' % kind)


@pytest.mark.parametrize(
    "fails",
    [
        lambda fields: {"type": "till.Opened.v1", "clerk": fields["clerk"].strip()},
        lambda fields: {"type": "till.Opened.v1", "clerk": fields["drawers"][0]},
        lambda fields: None,
        lambda fields: {"type": ["till.Opened.v1"]},
    ],
    ids=["AttributeError", "IndexError", "gives nothing", "gives a type that is no text"],
)
def test_whatever_an_upcaster_fails_with_the_message_is_undecodable(fails: Any):
    codec: Codec[Any] = Codec(Opened, {"till.Opened.v0": fails})
    assert refusal(codec, b'{"type":"till.Opened.v0","clerk":5,"drawers":[]}')
