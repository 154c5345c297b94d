"""Which commands count as the same request."""

import subprocess
import sys
from typing import Any, get_args

import msgspec
import pytest

from messages.account import AccountCommand
from messages.fingerprint import fingerprint
from messages.wire import Codec, encode
from tests.account_service.statement import ASKED, debit, freeze, hold

KINDS = get_args(AccountCommand)
OWN: dict[str, Any] = {"currency": "EUR", "amount_minor": 5, "hold_id": "h"}
OTHER: dict[str, Any] = {"direction": "undo", "currency": "USD", "credits": "accept"}


def build(kind, **fields):
    names = kind.__struct_fields__
    known = {name: value for name, value in {**ASKED, **OWN}.items() if name in names}
    return kind(**{**known, **fields})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_the_content_makes_another_request(kind):
    original = build(kind)
    for name in kind.__struct_fields__:
        value = getattr(original, name)
        other = OTHER.get(name, f"{value}x" if isinstance(value, str) else (value or 0) + 1)
        changed = fingerprint(build(kind, **{name: other})) != fingerprint(original)
        assert changed == (name not in ("issued_at_ms", "attempt", "reply_to")), name


def test_the_type_of_the_command_is_part_of_the_request():
    assert len({fingerprint(build(kind)) for kind in KINDS}) == len(KINDS)


def test_a_value_does_not_pass_from_one_field_to_another():
    assert fingerprint(debit(1, saga_id="x", step="")) != fingerprint(
        debit(1, saga_id="", step="x")
    )


def test_a_command_read_from_the_wire_is_the_same_request():
    codec: Codec[AccountCommand] = Codec(AccountCommand)
    for command in (debit(5), hold(5), freeze()):
        assert fingerprint(codec.decode(encode(command))) == fingerprint(command)


def test_the_number_is_the_same_in_every_process_and_release():
    # A golden number: it is in journals. If this fails, requests under way would be refused.
    assert fingerprint(debit(5)) == GOLDEN
    program = (
        "from messages.fingerprint import fingerprint;"
        "from tests.account_service.statement import debit;"
        "print(fingerprint(debit(5)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert int(printed) == GOLDEN


def test_a_field_added_with_a_default_does_not_change_the_number():
    kind = type(debit(5))
    grown = msgspec.defstruct(
        "Debit",
        [("memo", str, "")],
        bases=(kind,),
        frozen=True,
        kw_only=True,
        tag="account.Debit.v1",
    )
    same = grown(**msgspec.structs.asdict(debit(5)))
    assert fingerprint(same) == GOLDEN
    assert fingerprint(msgspec.structs.replace(same, memo="rent")) != GOLDEN


def test_the_number_fits_in_63_bits():
    numbers = [fingerprint(debit(amount)) for amount in range(1, 200)]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 2**63 for number in numbers)
    assert max(numbers) >= 2**60


GOLDEN = 5332211247937781909
