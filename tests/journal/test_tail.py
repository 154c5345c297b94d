"""A tail hands out what happens to the aggregates that somebody waits for, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from journal.log import Entry, Place, PositionLost
from journal.memory_log import MemoryLog
from journal.records import Advanced, EventEntries, RecordRejected
from journal.tail import Seen, Start, Tail, Watch
from messages.wire import Codec
from tests.journal.toy import (
    EVENTS,
    FAR_JOURNAL,
    JOURNAL,
    Added,
    Rang,
    Reminded,
    ToyLog,
    opened_by,
    toy_log,
    until,
)

BEGINNING = Start(0, -1)
ONE, TWO, THREE = (Added(key="k", amount=amount) for amount in (1, 2, 3))


def written(event: Any, *, key: str = "k", epoch: int = 0, place: Place = JOURNAL) -> Entry:
    """An event as the owner since `epoch` writes it."""
    return EventEntries(epoch, str(place)).entry(event, key, 0)


def by_a_stranger(entry: Entry) -> Entry:
    """The same record with its headers the other way round."""
    return Entry(entry.key, entry.value, tuple(reversed(entry.headers)))


async def opened_log() -> ToyLog:
    """With a first owner, whose epoch is 0, in both journals."""
    log = await toy_log()
    for place in (JOURNAL, FAR_JOURNAL):
        log.land(place, [opened_by("first", place=place)])
    return log


def a_tail(log: MemoryLog, *, codec: Codec[Any] = EVENTS, start: Start = BEGINNING) -> Tail:
    return Tail(log, {JOURNAL.topic: codec}, {JOURNAL: start})


@asynccontextmanager
async def following(tail: Tail) -> AsyncGenerator[None]:
    """The tail at work; it is stopped at the end of the block."""
    task = asyncio.create_task(tail.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def heard(watch: Watch, count: int = 1) -> list[Any]:
    """The next events that the watch hears."""
    async with asyncio.timeout(10):
        return [(await watch.next()).event for _ in range(count)]


async def silent(watch: Watch) -> bool:
    """Whether the watch has heard nothing that is still to be taken."""
    try:
        async with asyncio.timeout(0):
            await watch.next()
    except TimeoutError:
        return True
    return False


# What a watch hears


async def test_a_watch_hears_the_events_of_its_aggregate_in_order_and_where_they_stand():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            log.land(JOURNAL, [written(ONE), written(TWO)])
            async with asyncio.timeout(10):
                assert await watch.next() == Seen(JOURNAL, 1, ONE)
                assert await watch.next() == Seen(JOURNAL, 2, TWO)


async def test_a_watch_does_not_hear_of_other_aggregates():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            others = [written(Added(key=key, amount=9), key=key) for key in ("j", "kk", "", "K")]
            log.land(JOURNAL, [*others, written(ONE)])
            assert await heard(watch) == [ONE]


async def test_every_watch_of_an_aggregate_hears_its_events():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as one, tail.watch("k") as another:
            log.land(JOURNAL, [written(ONE)])
            assert await heard(one) == await heard(another) == [ONE]


async def test_a_watch_hears_of_its_aggregate_in_every_journal():
    log = await opened_log()
    places = (JOURNAL, FAR_JOURNAL)
    codecs = {place.topic: EVENTS for place in places}
    tail = Tail(log, codecs, dict.fromkeys(places, BEGINNING))
    async with following(tail):
        with tail.watch("k") as watch:
            log.land(FAR_JOURNAL, [written(ONE, place=FAR_JOURNAL)])
            assert await heard(watch) == [ONE]
            log.land(JOURNAL, [written(TWO)])
            assert await heard(watch) == [TWO]


async def test_a_watch_hears_what_a_stranger_wrote_with_the_headers_in_another_order():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            log.land(JOURNAL, [by_a_stranger(written(ONE))])
            assert await heard(watch) == [ONE]


async def test_a_key_that_is_no_text_disturbs_nobody():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            keyless = [written(TWO)._replace(key=key) for key in (None, b"", b"\xff")]
            log.land(JOURNAL, [*keyless, written(ONE)])
            assert await heard(watch) == [ONE]


# Records that do not count


async def test_records_of_a_deposed_owner_are_not_handed_out():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            log.land(JOURNAL, [written(ONE), opened_by("second")])
            log.land(JOURNAL, [written(TWO, epoch=0), written(THREE, epoch=2)])
            assert await heard(watch, 2) == [ONE, THREE]


async def test_records_without_an_epoch_are_not_handed_out():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            bare = written(TWO)._replace(headers=(("ce_type", b"toy.Added.v1"),))
            log.land(JOURNAL, [bare, written(ONE)])
            assert await heard(watch) == [ONE]


async def test_a_tail_that_begins_in_the_middle_goes_by_the_epoch_it_was_given():
    log = await opened_log()
    log.land(JOURNAL, [opened_by("second"), written(TWO, epoch=0), written(ONE, epoch=1)])
    tail = a_tail(log, start=Start(next_offset=2, epoch=1))
    with tail.watch("k") as watch:
        async with following(tail):
            assert await heard(watch) == [ONE]


async def test_what_stands_before_the_start_is_not_handed_out():
    log = await opened_log()
    log.land(JOURNAL, [written(ONE), written(TWO)])
    tail = a_tail(log, start=Start(next_offset=2, epoch=0))
    with tail.watch("k") as watch:
        async with following(tail):
            assert await heard(watch) == [TWO]


# Records that nobody waits for


async def test_types_that_the_codec_does_not_know_are_passed_over():
    log = await opened_log()
    tail = a_tail(log, codec=Codec(Reminded))
    bell = Reminded(key="k", at_ms=5)
    with capture_logs() as logs:
        async with following(tail):
            with tail.watch("k") as watch:
                log.land(JOURNAL, [written(ONE), by_a_stranger(written(ONE)), written(bell)])
                assert await heard(watch) == [bell]
    assert logs == [], "they are not taken for something torn"


async def test_a_record_without_a_type_is_passed_over():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            untyped = written(TWO)._replace(headers=(("ce_epoch", b"0"),))
            log.land(JOURNAL, [untyped, written(ONE)])
            assert await heard(watch) == [ONE]


async def test_the_kernels_own_records_are_not_handed_out():
    log = await opened_log()
    tail = a_tail(log)
    rejected = RecordRejected(
        topic="t",
        partition=0,
        offset=0,
        timestamp=0,
        reason="",
        key=None,
        value=None,
        headers=[],
    )
    async with following(tail):
        with tail.watch("k") as watch:
            kernel = [written(Advanced(input_next=1, at_ms=0)), written(rejected)]
            log.land(JOURNAL, [*kernel, written(ONE)])
            assert await heard(watch) == [ONE]


async def test_an_undecodable_record_does_not_stop_the_tail_and_is_reported():
    log = await opened_log()
    tail = a_tail(log)
    with capture_logs() as logs:
        async with following(tail):
            with tail.watch("k") as watch:
                torn = [written(ONE)._replace(value=value) for value in (b"\xff", b"{}", None)]
                log.land(JOURNAL, [*torn, written(TWO)])
                assert await heard(watch) == [TWO]
    assert [(line["event"], line["place"], line["offset"]) for line in logs] == [
        ("journal_record_undecodable", "ping.journal/0", offset) for offset in (1, 2, 3)
    ]
    assert {line["log_level"] for line in logs} == {"critical"}


async def test_an_undecodable_record_of_an_aggregate_that_nobody_waits_for_is_not_looked_at():
    log = await opened_log()
    tail = a_tail(log)
    with capture_logs() as logs:
        async with following(tail):
            with tail.watch("k") as watch:
                log.land(JOURNAL, [written(ONE, key="j")._replace(value=b"\xff"), written(TWO)])
                assert await heard(watch) == [TWO]
    assert logs == []


# The life of a watch and of a tail


async def test_a_watch_ends_with_its_block():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as ended:
            pass
        with tail.watch("k") as watch:
            log.land(JOURNAL, [written(ONE)])
            assert await heard(watch) == [ONE]
        assert await silent(ended)


async def test_a_watch_ends_with_its_block_also_when_that_fails():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with pytest.raises(ZeroDivisionError), tail.watch("k") as ended:
            raise ZeroDivisionError
        with tail.watch("k") as watch:
            log.land(JOURNAL, [written(ONE)])
            assert await heard(watch) == [ONE]
        assert await silent(ended)


async def test_a_watch_that_ends_does_not_end_another_of_the_same_aggregate():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            with tail.watch("k"):
                pass
            log.land(JOURNAL, [written(ONE)])
            assert await heard(watch) == [ONE]


async def test_a_watch_does_not_hear_what_was_read_before_it_began():
    log = await opened_log()
    tail = a_tail(log)
    async with following(tail):
        log.land(JOURNAL, [written(ONE)])
        await until(lambda: tail.positions[JOURNAL] == 2)
        with tail.watch("k") as watch:
            log.land(JOURNAL, [written(TWO)])
            assert await heard(watch) == [TWO]


async def test_the_positions_move_over_everything_that_was_read():
    log = await opened_log()
    tail = a_tail(log)
    assert tail.positions == {JOURNAL: 0}
    async with following(tail):
        log.land(JOURNAL, [written(Rang(key="k", now_ms=1)), written(ONE, epoch=99)])
        await until(lambda: tail.positions == {JOURNAL: 3})


async def test_a_start_that_was_deleted_is_lost():
    log = await opened_log()
    log.land(JOURNAL, [written(ONE), written(TWO)])
    log.truncate(JOURNAL, 2)
    with pytest.raises(PositionLost) as raised:
        async with asyncio.timeout(10):
            await a_tail(log, start=Start(next_offset=1, epoch=0)).run()
    assert (raised.value.place, raised.value.position) == (JOURNAL, 1)


async def test_a_tail_whose_next_record_is_deleted_ends_and_leaves_nothing_open_behind():
    log = await opened_log()
    tail = a_tail(log)
    task = asyncio.create_task(tail.run())
    await until(lambda: tail.running)
    log.land(JOURNAL, [written(ONE), written(TWO)])
    log.truncate(JOURNAL, 2)
    with pytest.raises(PositionLost):
        async with asyncio.timeout(10):
            await task
    assert not tail.running
    assert not log.unclosed


async def test_a_stopped_tail_does_not_run_and_leaves_nothing_open_behind():
    log = await opened_log()
    tail = a_tail(log)
    tasks = asyncio.all_tasks()
    async with following(tail):
        await until(lambda: tail.running)
        assert log.unclosed
    assert not tail.running
    assert not log.unclosed
    assert asyncio.all_tasks() == tasks


class Effect(msgspec.Struct, frozen=True, tag="toy.Effect.v1"):
    effect_id: str


async def test_a_waiter_for_one_effect_is_not_told_of_the_others_of_a_busy_account():
    log = await opened_log()
    tail = a_tail(log, codec=Codec(Effect))
    async with following(tail):
        with tail.watch("k", "mine") as mine, tail.watch("k") as every:
            for effect in ("theirs", "mine", "theirs"):
                log.land(JOURNAL, [written(Effect(effect))])
            heard = [(await every.next()).event.effect_id for _ in range(3)]
            assert heard == ["theirs", "mine", "theirs"]
            assert (await mine.next()).event.effect_id == "mine"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await mine.next()
