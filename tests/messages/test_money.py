"""What counts as an amount and as a currency."""

from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgspec
import pytest

from messages.money import MAX_MINOR, MINOR_DIGITS, Amount, Currency, Limit, is_amount, is_currency


class Coin(IntEnum):
    CENT = 1


def converts(value: object, kind: Any) -> bool:
    """Whether a message may carry `value` where `kind` stands."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("value", [1, 2, 10**6, 2**53 + 1, 2**63 - 1])
def test_an_integer_from_1_to_2_to_the_63rd_less_1_is_an_amount(value: int):
    assert is_amount(value)
    assert converts(value, Amount)


@pytest.mark.parametrize("value", [0, -1, -(2**63), 2**63, 2**64, 10**30])
def test_an_integer_outside_of_the_range_is_no_amount(value: int):
    assert not is_amount(value)
    assert not converts(value, Amount)


@pytest.mark.parametrize("value", [True, False])
def test_a_bool_is_no_amount(value: bool):
    assert not is_amount(value)
    assert not converts(value, Amount)


@pytest.mark.parametrize("value", [1.0, 0.5, 1e300, float("nan"), float("inf")])
def test_a_float_is_no_amount(value: float):
    assert not is_amount(value)


@pytest.mark.parametrize("text", [b"1.0", b"1e3", b"1.5", b'"1"', b"true", b"null"])
def test_what_is_no_integer_on_the_wire_is_no_amount(text: bytes):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Amount)


@pytest.mark.parametrize("value", ["1", b"1", None, Decimal(1), Coin.CENT, [1], {}])
def test_what_is_no_integer_is_no_amount(value: object):
    assert not is_amount(value)


def test_a_limit_may_be_zero_and_as_large_as_an_amount_but_not_negative():
    assert converts(0, Limit)
    assert converts(MAX_MINOR, Limit)
    assert not converts(-1, Limit)
    assert not converts(MAX_MINOR + 1, Limit)


@pytest.mark.parametrize("code", ["EUR", "USD", "JPY", "KWD"])
def test_an_active_code_is_a_currency(code: str):
    assert is_currency(code)


@pytest.mark.parametrize("code", ["DEM", "XAU", "XXX", "BTC", "eur", "EU", "EURO", "", "EUR\n"])
def test_another_code_is_no_currency(code: str):
    assert not is_currency(code)


@pytest.mark.parametrize("value", [None, 978, b"EUR", ("EUR",), True])
def test_what_is_no_text_is_no_currency(value: object):
    assert not is_currency(value)


def test_a_message_may_carry_every_active_currency():
    assert all(converts(code, Currency) for code in MINOR_DIGITS)


@pytest.mark.parametrize("code", ["eur", "EU", "EURO", "", "EUR\n", "\nEUR", "EÜR"])
def test_a_message_may_not_carry_what_does_not_look_like_a_currency(code: str):
    assert not converts(code, Currency)


@pytest.mark.parametrize(("code", "digits"), [("JPY", 0), ("EUR", 2), ("KWD", 3)])
def test_a_currency_has_its_digits_after_the_point(code: str, digits: int):
    assert MINOR_DIGITS[code] == digits


@pytest.mark.parametrize("value", [[], {}, ["EUR"]])
def test_what_is_no_text_at_all_is_no_currency(value: object):
    assert not is_currency(value)
