"""What `journal/log.py` promises, asked of Kafka and of the log in memory alike."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import (
    AppendInDoubt,
    BatchTooLarge,
    Entry,
    Log,
    Place,
    PositionLost,
    Reader,
    Record,
    TopicSpec,
)
from journal.memory_log import Fate, MemoryLog
from tests.journal.toy import Script

HERE, THERE = Place("things", 0), Place("things", 1)
SMALL = Place("small", 0)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
def empty_log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog(Script())
    log: KafkaLog = request.getfixturevalue("kafka_log")
    return log


@pytest.fixture
async def log(empty_log: Log) -> Log:
    """With the topic `things` of 2 partitions, and `small`, whose records must be small."""
    await empty_log.create(
        [TopicSpec("things", 2), TopicSpec("small", 1, {"max.message.bytes": "1000"})]
    )
    return empty_log


def named(*names: str) -> list[Entry]:
    return [Entry(name.encode(), b"value of " + name.encode()) for name in names]


async def append(log: Log, place: Place, *names: str) -> int:
    writer = log.writer()
    try:
        return await writer.append(place, named(*names))
    finally:
        await writer.close()


async def read(reader: Reader, count: int, place: Place = HERE) -> list[Record]:
    """The next `count` records of `place`."""
    found: list[Record] = []
    async with asyncio.timeout(15):
        while len(found) < count:
            found += (await reader.read(count - len(found), 1000)).get(place, ())
    return found


async def read_from(log: Log, start: int, count: int, place: Place = HERE) -> list[Record]:
    reader = log.reader({place: start})
    try:
        return await read(reader, count, place)
    finally:
        await reader.close()


def keys(records: Sequence[Record]) -> list[str]:
    return [(record.key or b"").decode() for record in records]


async def truncate(log: Log, place: Place, first: int) -> None:
    """Delete what stands before offset `first`."""
    if isinstance(log, MemoryLog):
        log.truncate(place, first)
        return
    assert isinstance(log, KafkaLog)
    address: KafkaAddress = log._address
    admin = AIOKafkaAdminClient(bootstrap_servers=address.bootstrap)
    await admin.start()
    try:
        at = TopicPartition(log.physical(place.topic), place.partition)
        await admin.delete_records({at: RecordsToDelete(before_offset=first)})
    finally:
        await admin.close()


# Topics


async def test_a_topic_that_does_not_exist_has_no_partitions(empty_log: Log):
    assert await empty_log.partitions("nothing") == 0
    assert await empty_log.partitions("nothing") == 0, "asking must not create it"


async def test_a_created_topic_has_its_partitions_at_once(empty_log: Log):
    await empty_log.create([TopicSpec("new", 3)])
    assert await empty_log.partitions("new") == 3


async def test_creating_a_topic_again_leaves_it_as_it_is(log: Log):
    await append(log, HERE, "a")
    await log.create([TopicSpec("things", 2), TopicSpec("later", 1)])
    assert await log.partitions("things") == 2
    assert await log.partitions("later") == 1
    assert keys(await read_from(log, 0, 1)) == ["a"]


async def test_creating_a_topic_with_another_count_changes_nothing(log: Log):
    await log.create([TopicSpec("things", 5)])
    assert await log.partitions("things") == 2


async def test_bounds_are_the_first_offset_held_and_the_next_one_to_be_written(log: Log):
    assert await log.bounds(HERE) == (0, 0)
    await append(log, HERE, "a", "b", "c")
    assert await log.bounds(HERE) == (0, 3)
    assert await log.bounds(THERE) == (0, 0)


async def test_bounds_follow_a_truncation(log: Log):
    await append(log, HERE, "a", "b", "c")
    await truncate(log, HERE, 2)
    assert await log.bounds(HERE) == (2, 3)


async def test_a_leader_that_never_had_other_replicas_is_not_alone(log: Log):
    assert not await log.is_alone(HERE)


# Writing


async def test_a_batch_gets_contiguous_offsets_from_the_one_returned(log: Log):
    assert await append(log, HERE, "a", "b") == 0
    assert await append(log, HERE, "c", "d", "e") == 2
    records = await read_from(log, 0, 5)
    assert keys(records) == ["a", "b", "c", "d", "e"]
    assert [record.offset for record in records] == [0, 1, 2, 3, 4]


async def test_a_batch_stays_whole_among_other_writers(log: Log):
    async def writes(name: str) -> list[tuple[str, int]]:
        writer = log.writer()
        try:
            return [(name, await writer.append(HERE, named(*[name] * 7))) for _ in range(10)]
        finally:
            await writer.close()

    batches = await asyncio.gather(*(writes(name) for name in "abc"))
    records = await read_from(log, 0, 210)
    for name, first in [batch for written in batches for batch in written]:
        assert keys(records[first : first + 7]) == [name] * 7


async def test_appends_awaited_one_after_the_other_land_in_that_order(log: Log):
    writer = log.writer()
    try:
        firsts = [await writer.append(HERE, named(str(i))) for i in range(20)]
    finally:
        await writer.close()
    assert firsts == list(range(20))
    assert keys(await read_from(log, 0, 20)) == [str(i) for i in range(20)]


async def test_one_writer_serves_several_places_at_once(log: Log):
    writer = log.writer()
    try:
        firsts = await asyncio.gather(
            writer.append(HERE, named("a")), writer.append(THERE, named("b"))
        )
    finally:
        await writer.close()
    assert firsts == [0, 0]
    assert keys(await read_from(log, 0, 1, HERE)) == ["a"]
    assert keys(await read_from(log, 0, 1, THERE)) == ["b"]


async def test_a_record_comes_back_as_it_was_written(log: Log):
    headers = (("twice", b"1"), ("twice", b"2"), ("empty", b""), ("bytes", bytes(range(256))))
    entries = [
        Entry(b"key", b"value", headers),
        Entry(None, b"no key"),
        Entry(b"no value", None),
        Entry(b"", b""),
    ]
    writer = log.writer()
    try:
        await writer.append(HERE, entries)
    finally:
        await writer.close()
    records = await read_from(log, 0, 4)
    assert [Entry(r.key, r.value, tuple(r.headers)) for r in records] == entries


async def test_a_batch_that_is_too_large_is_refused_and_nothing_is_written(log: Log):
    writer = log.writer()
    try:
        piece = Entry(None, bytes(writer.max_batch_bytes // 4))
        with pytest.raises(BatchTooLarge, match="5 records for things/0 do not fit"):
            await writer.append(HERE, [piece] * 5)
        assert await writer.append(HERE, named("next")) == 0, "the writer is not spent by it"
    finally:
        await writer.close()


async def test_one_record_that_is_too_large_is_refused_like_a_batch(log: Log):
    writer = log.writer()
    try:
        with pytest.raises(BatchTooLarge):
            await writer.append(HERE, [Entry(None, bytes(writer.max_batch_bytes + 1))])
    finally:
        await writer.close()


async def test_a_closed_writer_refuses(log: Log):
    writer = log.writer()
    await writer.append(HERE, named("a"))
    await writer.close()
    with pytest.raises(AppendInDoubt, match="given up"):
        await writer.append(HERE, named("b"))
    assert await log.bounds(HERE) == (0, 1)


async def test_closing_a_writer_twice_is_harmless(log: Log):
    writer = log.writer()
    await writer.append(HERE, named("a"))
    await writer.close()
    await writer.close()


async def test_a_writer_in_doubt_is_spent(log: Log):
    if isinstance(log, MemoryLog) and isinstance(log.weather, Script):
        log.weather.foretell(SMALL, Fate.NEVER)
    writer = log.writer()
    try:
        with pytest.raises(AppendInDoubt):
            await writer.append(SMALL, [Entry(None, bytes(5000))])
        with pytest.raises(AppendInDoubt, match="given up"):
            await writer.append(HERE, named("a"))
    finally:
        await writer.close()
    assert await log.bounds(HERE) == (0, 0)


# Reading


async def test_a_reader_begins_at_the_offset_it_was_given(log: Log):
    await append(log, HERE, "a", "b", "c")
    assert keys(await read_from(log, 1, 2)) == ["b", "c"]


async def test_a_reader_goes_on_where_it_stopped(log: Log):
    await append(log, HERE, "a", "b", "c")
    reader = log.reader({HERE: 0})
    try:
        assert keys(await read(reader, 1)) == ["a"]
        assert keys(await read(reader, 2)) == ["b", "c"]
    finally:
        await reader.close()


async def test_a_read_gives_no_more_than_it_was_asked_for(log: Log):
    await append(log, HERE, *"abcdef")
    await append(log, THERE, *"abcdef")
    reader = log.reader({HERE: 0, THERE: 0})
    try:
        seen = 0
        while seen < 12:
            found = await reader.read(4, 1000)
            assert sum(map(len, found.values())) <= 4
            seen += sum(map(len, found.values()))
    finally:
        await reader.close()


async def test_a_reader_of_several_places_gives_each_in_its_order(log: Log):
    await append(log, HERE, "a", "b")
    await append(log, THERE, "x", "y", "z")
    reader = log.reader({HERE: 1, THERE: 0})
    found: dict[Place, list[Record]] = {HERE: [], THERE: []}
    try:
        async with asyncio.timeout(15):
            while sum(map(len, found.values())) < 4:
                for place, records in (await reader.read(10, 1000)).items():
                    found[place] += records
    finally:
        await reader.close()
    assert keys(found[HERE]) == ["b"]
    assert keys(found[THERE]) == ["x", "y", "z"]


async def test_a_read_with_nothing_new_is_empty_after_its_wait(log: Log):
    reader = log.reader({HERE: 0})
    try:
        await reader.read(10, 0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert not await reader.read(10, 150)
        assert 0.1 < loop.time() - began < 5
        assert not await reader.read(10, 0)
    finally:
        await reader.close()


async def test_a_waiting_reader_wakes_up_when_something_comes(log: Log):
    reader = log.reader({HERE: 0, THERE: 0})
    writer = log.writer()
    try:
        # The first read makes the connection, so that the second one waits for records alone.
        await reader.read(10, 0)
        await writer.append(THERE, named("first"))
        await read(reader, 1, THERE)
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = asyncio.create_task(reader.read(10, 20_000))
        await asyncio.sleep(0)
        await writer.append(HERE, named("a"))
        found = await waiting
        assert keys(found[HERE]) == ["a"]
        assert loop.time() - began < 10
    finally:
        await writer.close()
        await reader.close()


async def lost(log: Log, start: int) -> PositionLost:
    reader = log.reader({HERE: start})
    try:
        with pytest.raises(PositionLost) as raised:
            async with asyncio.timeout(15):
                while True:
                    await reader.read(10, 100)
    finally:
        await reader.close()
    return raised.value


async def test_a_position_before_the_first_record_is_lost(log: Log):
    await append(log, HERE, "a", "b", "c")
    await truncate(log, HERE, 2)
    error = await lost(log, 1)
    assert (error.place, error.position) == (HERE, 1)
    assert "things/0 holds offsets 2..2, but offset 1 is needed next" in str(error)


async def test_a_position_beyond_the_end_is_lost(log: Log):
    await append(log, HERE, "a")
    error = await lost(log, 5)
    assert (error.place, error.position) == (HERE, 5)
    assert "holds offsets 0..0, but offset 5" in str(error)


async def test_the_end_itself_is_no_lost_position(log: Log):
    await append(log, HERE, "a", "b")
    await truncate(log, HERE, 2)
    reader = log.reader({HERE: 2})
    try:
        assert not await reader.read(10, 50)
        await append(log, HERE, "c")
        assert keys(await read(reader, 1)) == ["c"]
    finally:
        await reader.close()


async def test_closing_a_reader_that_never_read_is_harmless(log: Log):
    reader: Any = log.reader({HERE: 0})
    await reader.close()
