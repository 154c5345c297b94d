"""`makegood deadletter` with a bank at work on the real Kafka: what is asked again counts once."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import Entry, Place
from journal.topics import DEAD_LETTERS
from makegood.bank import Bank, Corner, own_database
from makegood.client import Client
from messages.account import Debit, Deposit
from messages.wire import encode, type_name
from tests.conftest import Addresses
from tests.makegood.test_bank import audited, command

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

INPUT, DEAD = Place("account.input", 0), Place(DEAD_LETTERS, 0)


@pytest.fixture(scope="module")
async def bank(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    corner = f"dead_{uuid.uuid4().hex[:8]}"
    url = await own_database(stack.database_url, corner)
    where = Corner(stack.bootstrap, url, f"{corner}-")
    logs = tmp_path_factory.mktemp("logs")
    async with Bank(where, logs, settings={"partitions": "1"}) as running:
        async with Client(running.url) as client:
            await client.order("/accounts", "open", {"id": "alice", "currency": "EUR"})
        yield running


@pytest.fixture(scope="module")
async def log(bank: Bank) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(KafkaAddress(bootstrap=bank.corner.bootstrap, prefix=bank.corner.prefix))
    await log.connect(30)
    yield log
    await log.close()


async def rejected(log: KafkaLog, entry: Entry) -> str:
    """Send what will be rejected; its position, once it is a dead letter."""
    _, before = await log.bounds(DEAD)
    writer = log.writer()
    offset = await writer.append(INPUT, [entry])
    await writer.close()
    async with asyncio.timeout(20):
        while (await log.bounds(DEAD))[1] == before:
            await asyncio.sleep(0.05)
    return f"{INPUT}@{offset}"


def broken(kind: Any, **fields: Any) -> Entry:
    """A good message that somebody has given a broken number of a link."""
    message = kind(
        account_id="alice",
        issued_at_ms=time.time_ns() // 1_000_000,
        amount_minor=500,
        currency="EUR",
        **fields,
    )
    headers = (
        ("ce_source", b"somebody/0"),
        ("ce_sequence", b"x"),
        ("ce_type", type_name(message).encode()),
    )
    return Entry(b"alice", encode(message), headers)


async def balance_after(bank: Bank, key: str) -> int:
    """The balance once everything that was asked of the account before has been handled."""
    async with Client(bank.url) as client:
        money = {"amount_minor": 1, "currency": "EUR"}
        return (await client.order("/accounts/alice/deposits", key, money))["balance_minor"]


async def written(log: KafkaLog, offset: int) -> Any:
    reader = log.reader({INPUT: offset})
    try:
        return (await reader.read(1, 10_000))[INPUT][0]
    finally:
        await reader.close()


async def test_a_dead_letter_is_listed_shown_and_asked_again_and_counts_once(
    bank: Bank, log: KafkaLog
):
    entry = broken(Deposit, effect_id="requeued")
    position = await rejected(log, entry)
    before = await balance_after(bank, "before")

    looks = (
        ("list",),
        ("list", "--json"),
        ("list", "--json", "--topic", "orchestrator.input"),
        ("show", position),
        # Nobody is there to say yes.
        ("requeue", position),
    )
    answers = await asyncio.gather(
        *(command("deadletter", *look, **bank.environment) for look in looks)
    )
    assert [status for status, _ in answers] == [0, 0, 0, 0, 1], answers
    table, everything, elsewhere, whole, unanswered = (said for _, said in answers)
    assert position in table
    assert "malformed" in table
    assert position in [row["position"] for row in json.loads(everything)]
    assert json.loads(elsewhere) == []
    assert "ce_sequence: x" in whole
    assert entry.value.decode() in whole
    assert "nothing was written" in unanswered

    # Two operators at once.
    requeue = ("deadletter", "requeue", position, "--yes", "--who", "eve", "--why", "mended")
    answers = await asyncio.gather(*(command(*requeue, **bank.environment) for _ in range(2)))
    for status, said in answers:
        assert (status, "requeued as account.input/0@" in said) == (0, True), said
    assert await balance_after(bank, "after") == before + 500 + 1

    record = await written(log, int(answers[0][1].split("requeued as account.input/0@")[1]))
    assert (record.key, record.value) == (entry.key, entry.value)
    assert list(record.headers) == [
        ("ce_type", b"account.Deposit.v1"),
        ("makegood_requeued_by", b"eve"),
        ("makegood_requeued_why", b"mended"),
        ("makegood_requeued_from", position.encode()),
    ]


async def test_what_cannot_be_asked_again_is_refused_and_the_rest_is_done(
    bank: Bank, log: KafkaLog
):
    junk = await rejected(log, Entry(b"\xff", b"\x00\xff not json"))
    step = await rejected(
        log,
        broken(Debit, effect_id="s/debit/do", saga_id="s", step="d", reply_to="orchestrator.input"),
    )
    before = await balance_after(bank, "before-the-rest")
    nowhere = f"{INPUT}@999999"
    requeue = ("deadletter", "requeue", "--yes")
    status, said = await command(*requeue, junk, step, nowhere, **bank.environment)
    assert (status, "nothing was written" in said) == (1, True), said
    assert f"{junk}: NOT requeued: it still can't be decoded" in said
    assert f"{step}: NOT requeued: it is a step of a saga (s, step d)" in said
    assert f"{nowhere}: NOT requeued: there is no such dead letter" in said

    good = await rejected(log, broken(Deposit, effect_id="requeued-too"))
    status, said = await command(*requeue, junk, good, **bank.environment)
    assert (status, f"{good} requeued as" in said) == (1, True), said
    assert await balance_after(bank, "after-the-rest") == before + 500 + 1
    status, said = await command("deadletter", "show", nowhere, **bank.environment)
    assert status == 1, said
    assert (await audited(bank)).violations == []


async def test_without_the_topic_it_says_where_it_has_looked(bank: Bank):
    elsewhere = {**bank.environment, "MAKEGOOD_TOPIC_PREFIX": "nobody-"}
    status, said = await command("deadletter", "list", **elsewhere)
    assert (status, "there is no topic nobody-deadletter" in said) == (2, True), said
