"""The kernel on a real broker: two owners at once, a topic that changed, a broker that goes away.

What `test_faults.py` does on the log in memory is done here where it is to hold.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NotEnoughReplicasError
from aiokafka.protocol.produce import ProduceRequest

import journal.kafka_log as kafka_log_module
from devstack.stack import DATABASE_VARIABLE, KAFKA_VARIABLE, Stack
from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import AppendInDoubt, Entry, LogUnreachable, Place, Record, TopicSpec, Writer
from journal.opening import PartitionsChanged, check_partitions
from journal.processor import Ending, Processor
from journal.records import Advanced, EventEntries
from journal.topics import dead_letter_spec
from tests.journal.toy import (
    FAR_INPUT,
    INPUT,
    JOURNAL,
    PING,
    PONG,
    Add,
    Added,
    SetClock,
    request,
    topics,
    toy,
    until,
    valid,
)

pytestmark = pytest.mark.stack

PASS_ON = Add(key="k", pass_on=PONG.input)


class PausableLog(KafkaLog):
    """Its writers stop before an append to the journal for as long as `paused` is set: what a
    process does that the machine has frozen just then."""

    def __init__(self, address: KafkaAddress) -> None:
        super().__init__(address)
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.waits = asyncio.Event()

    def writer(self) -> Writer:
        return _Pausable(self, super().writer())


class _Pausable:
    def __init__(self, log: PausableLog, inner: Writer) -> None:
        self._log = log
        self._inner = inner

    @property
    def max_batch_bytes(self) -> int:
        return self._inner.max_batch_bytes

    async def append(self, place: Place, entries: Sequence[Entry]) -> int:
        if place == JOURNAL and not self._log.goes_on.is_set():
            self._log.waits.set()
            await self._log.goes_on.wait()
        return await self._inner.append(place, entries)

    async def close(self) -> None:
        await self._inner.close()


@pytest.fixture
async def log(kafka_address: KafkaAddress) -> AsyncIterator[PausableLog]:
    log = PausableLog(kafka_address)
    await log.connect(30)
    await topics(log)
    yield log
    await log.close()


async def records(log: KafkaLog, place: Place) -> list[Record]:
    first, end = await log.bounds(place)
    found: list[Record] = []
    reader = log.reader({place: first})
    try:
        while len(found) < end - first:
            found += (await reader.read(1000, 1000)).get(place, ())
    finally:
        await reader.close()
    return found


async def added(log: KafkaLog, place: Place = JOURNAL) -> int:
    return sum(isinstance(event, Added) for _, event in valid(await records(log, place)))


async def put(log: KafkaLog, *messages: Add) -> None:
    writer = log.writer()
    await writer.append(INPUT, [request(message) for message in messages])
    await writer.close()


def owner(log: KafkaLog, name: str) -> tuple[Processor, asyncio.Task[Ending]]:
    processor = Processor(log, toy(), 0, name, SetClock())
    return processor, asyncio.create_task(processor.run())


async def end(task: asyncio.Task[Ending]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def sent(log: KafkaLog) -> set[bytes]:
    """The link numbers that have come; a new owner may send some again."""
    return {dict(r.headers)["ce_sequence"] for r in await records(log, FAR_INPUT)}


async def eventually(log: KafkaLog, number: int) -> None:
    async with asyncio.timeout(20):
        while b"%d" % number not in await sent(log):
            await asyncio.sleep(0.02)


async def test_a_deposed_owner_that_goes_on_appending_changes_and_releases_nothing(
    log: PausableLog, kafka_address: KafkaAddress
):
    rival = KafkaLog(kafka_address)
    await rival.connect(30)
    first, first_task = owner(log, "first")
    await asyncio.wait_for(first.working.wait(), 20)
    await put(log, PASS_ON)
    await eventually(log, 1)

    log.goes_on.clear()
    await put(log, PASS_ON)
    await asyncio.wait_for(log.waits.wait(), 20)
    # The first owner has decided, and stands still right before its append.
    second, second_task = owner(rival, "second")
    await asyncio.wait_for(second.working.wait(), 20)
    await eventually(rival, 2)
    log.goes_on.set()
    assert await asyncio.wait_for(first_task, 20) is Ending.DEPOSED

    # And a deposed writer that doesn't even look at the answers.
    epoch = (await records(rival, JOURNAL))[0].offset
    late = EventEntries(epoch, str(JOURNAL))
    writer = log.writer()
    for _ in range(5):
        event = Added(key="k", amount=1_000, pass_on=PONG.input)
        closing = Advanced(input_next=9, at_ms=1, sent={str(FAR_INPUT): 9})
        await writer.append(JOURNAL, [late.entry(event, "k", 0), late.entry(closing, "", 1)])
    await writer.close()

    await put(rival, PASS_ON)
    await eventually(rival, 3)
    await end(second_task)
    third, third_task = owner(rival, "third")
    await asyncio.wait_for(third.working.wait(), 20)
    await put(rival, PASS_ON)
    await eventually(rival, 4)
    await end(third_task)
    assert await added(rival) == 4, "each input counts once, late appends never"
    assert await sent(rival) == {b"1", b"2", b"3", b"4"}
    assert [dict(r.headers).get("ce_epoch") for r in await records(rival, JOURNAL)].count(
        str(epoch).encode()
    ) >= 10
    await rival.close()


async def test_a_partition_count_that_changed_refuses_the_start(
    kafka_address: KafkaAddress, kafka_log: KafkaLog
):
    service = toy(partitions=2)
    await kafka_log.create([*PING.specs(2), *PONG.specs(2), dead_letter_spec(1)])
    await check_partitions(kafka_log, service)
    processor = Processor(kafka_log, service, 0, "first", SetClock())
    task = asyncio.create_task(processor.run())
    await asyncio.wait_for(processor.working.wait(), 20)
    await end(task)
    with pytest.raises(PartitionsChanged, match="has 2 partitions instead of the 3"):
        await check_partitions(kafka_log, toy(partitions=3))
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address.bootstrap)
    await admin.start()
    for topic in (PING.journal, PING.input):
        await admin.create_partitions({kafka_log.physical(topic): NewPartitions(3)})
    await admin.close()
    async with asyncio.timeout(20):
        while await kafka_log.partitions(PING.input) != 3:
            await asyncio.sleep(0.05)
    with pytest.raises(PartitionsChanged, match="has 3 partitions instead of the 2"):
        await check_partitions(kafka_log, toy(partitions=3))


async def test_a_broker_that_is_not_there_is_waited_for_with_a_bound():
    log = KafkaLog(KafkaAddress(bootstrap="127.0.0.1:1"))
    with pytest.raises(LogUnreachable, match=r"127\.0\.0\.1:1 did not answer"):
        await log.connect(1)
    await log.close()


async def test_a_broker_that_goes_away_in_the_middle_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(KAFKA_VARIABLE, raising=False)
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://nobody@127.0.0.1:1/none")
    async with Stack(tmp_path / "stack") as stack:
        log = KafkaLog(KafkaAddress(bootstrap=stack.bootstrap))
        await log.connect(30)
        await topics(log)
        processor, task = owner(log, "first")
        await asyncio.wait_for(processor.working.wait(), 20)
        await put(log, PASS_ON)
        await eventually(log, 1)
        broker = stack.kafka.brokers[0]
        await broker.kill()
        await broker.start()
        await put(log, PASS_ON, PASS_ON)
        async with asyncio.timeout(60):
            while await added(log) < 3:
                await asyncio.sleep(0.1)
        assert not task.done()
        await end(task)
        assert await added(log) == 3
        await log.close()


async def test_topics_get_the_settings_that_the_journal_needs(kafka_log: KafkaLog):
    await kafka_log.create([*PING.specs(1), TopicSpec("other", 1)])
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_log._address.bootstrap)
    await admin.start()
    resource = ConfigResource(ConfigResourceType.TOPIC, kafka_log.physical(PING.journal))
    (answer,) = await admin.describe_configs([resource])
    await admin.close()
    (found,) = answer.resources
    settings = {entry[0]: entry[1] for entry in found[4]}
    assert settings["retention.ms"] == "-1"
    assert settings["retention.bytes"] == "-1"
    assert settings["cleanup.policy"] == "delete"


async def test_a_producer_that_is_given_up_sends_no_more(
    kafka_log: KafkaLog, monkeypatch: pytest.MonkeyPatch
):
    """Else what it holds would land when the replicas are back, and depose an owner."""
    monkeypatch.setattr(kafka_log_module, "_APPEND_S", 0.5)
    monkeypatch.setattr(kafka_log_module, "_STOP_S", 0.5)
    await kafka_log.create([TopicSpec("few", 1)])
    send = AIOKafkaClient.send

    async def refused(client: AIOKafkaClient, node: int, request: object, **options: Any) -> Any:
        if isinstance(request, ProduceRequest):
            raise NotEnoughReplicasError
        return await send(client, node, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", refused)
    writer = kafka_log.writer()
    with pytest.raises(AppendInDoubt):
        await writer.append(Place("few", 0), [Entry(b"k", b"v")])
    await writer.close()
    await until(lambda: not any("_sender_routine" in repr(task) for task in asyncio.all_tasks()))
