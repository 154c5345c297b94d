"""A snapshot stands for the journal up to it."""

import random

import msgspec
import pytest

from account_service.ledger import Ledger
from journal.packing import CHUNK_BYTES
from tests.account_service.statement import (
    DAY,
    HOUR,
    NOW,
    Statement,
    credit,
    debit,
    deposit,
    freeze,
    given,
    hold,
    open_account,
    opened,
)


def restored(chunks, **settings):
    ledger = Ledger(**settings)
    for chunk in chunks:
        ledger.restore(chunk)
    return ledger


def busy(count=2_000):
    """A thousand accounts, some with holds, debits given back, refusals."""
    statement = given()
    for number in range(count // 2):
        name = f"account-{number}"
        at = NOW + number
        asked = {"account_id": name, "issued_at_ms": at}
        statement.when(open_account(effect_id=f"o{number}", **asked), at)
        statement.when(deposit(100, effect_id=f"m{number}", **asked), at)
        statement.when(hold(number % 120 + 1, effect_id=f"h{number}", **asked), at)
        statement.when(debit(1, effect_id=f"d{number}", **asked), at)
        statement.when(credit(1, effect_id=f"u{number}", undoes=f"d{number}", **asked), at)
        if number % 7 == 0:
            statement.when(freeze(effect_id=f"f{number}", **asked), at)
    return statement


def test_a_restored_ledger_equals_the_one_it_was_taken_from():
    ledger = busy().ledger
    assert restored(ledger.snapshot()) == ledger


def test_chunks_may_come_in_any_order():
    ledger = busy().ledger
    chunks = list(ledger.snapshot())
    assert len(chunks) > 5
    random.Random(1).shuffle(chunks)
    assert restored(chunks) == ledger


def test_chunks_are_about_64_kib():
    sizes = [len(chunk) for chunk in busy().ledger.snapshot()]
    assert max(sizes) <= CHUNK_BYTES + 200
    # The head, the last accounts, the last effects.
    assert sum(size < CHUNK_BYTES / 2 for size in sizes) <= 3


def test_an_empty_ledger_is_one_chunk():
    assert len(list(Ledger().snapshot())) == 1


def test_a_snapshot_is_of_the_moment_it_was_asked_for():
    statement = busy(200)
    before = restored(list(statement.ledger.snapshot()))
    lazy = iter(statement.ledger.snapshot())
    first = next(lazy)
    statement.when(debit(5, account_id="account-1"), NOW + HOUR)
    statement.when(open_account(account_id="new", effect_id="e9"), NOW + HOUR)
    assert restored([first, *lazy]) == before
    assert before != statement.ledger


def test_a_restored_ledger_forgets_in_the_order_of_time():
    horizon = {"effect_horizon_ms": DAY}
    statement = given(opened(), **horizon)
    for hour in range(20):
        at = NOW + hour * HOUR
        statement.when(deposit(1, effect_id=f"d{hour}", issued_at_ms=at), at)
    head, accounts, effects = (msgspec.json.decode(one) for one in statement.ledger.snapshot())
    apart = [{**head, "effects": [effect]} for effect in reversed(effects["effects"])]
    chunks = [msgspec.json.encode(chunk) for chunk in (head, accounts, *apart)]
    again = Statement(restored(chunks, **horizon))
    for hour in range(20, 31):
        at = NOW + hour * HOUR
        for one in (statement, again):
            one.when(deposit(1, effect_id=f"d{hour}", issued_at_ms=at), at)
    assert again.ledger == statement.ledger
    assert b'"d5"' not in b"".join(again.ledger.snapshot())


def test_a_chunk_of_another_format_is_an_error_for_the_caller():
    with pytest.raises(msgspec.ValidationError):
        Ledger().restore(b'{"accounts": 1}')
    with pytest.raises(msgspec.ValidationError):
        Ledger().restore(b'{"clock_ms": 5, "accounts_v2": [], "memory": []}')
    with pytest.raises(msgspec.DecodeError):
        Ledger().restore(b"\x00")
