"""A tail hands out the answers about aggregates that somebody waits for, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from journal.log import Entry, Place, PositionLost
from journal.memory_log import MemoryLog
from journal.records import answer_entry
from journal.tail import Seen, Tail, Watch
from messages.wire import Codec, encode, type_name
from tests.journal.toy import (
    EVENTS,
    FAR_JOURNAL,
    JOURNAL,
    PING,
    PONG,
    Added,
    toy_log,
    until,
)

ANSWERS, FAR_ANSWERS = Place(PING.answers, 0), Place(PONG.answers, 0)
ONE, TWO = (Added(key="k", amount=amount) for amount in (1, 2))


def written(event: Any, *, key: str = "k", offset: int = 7, source: Place = JOURNAL) -> Entry:
    """What is told of an event at `offset` of `source`."""
    kind = type_name(event)
    return answer_entry(key, encode(event), kind, str(source).encode(), 1, offset)


def unreadable() -> float:
    labels = {"topic": ANSWERS.topic}
    return REGISTRY.get_sample_value("makegood_answers_unreadable_total", labels) or 0.0


def a_tail(log: MemoryLog, *, codec: Codec[Any] = EVENTS, start: int = 0) -> Tail:
    return Tail(log, {ANSWERS.topic: codec}, {ANSWERS: start})


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


async def test_a_watch_hears_of_its_aggregate_in_order_and_where_the_events_stand():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            told = [written(ONE, offset=41), written(TWO, offset=5, source=FAR_JOURNAL)]
            log.land(ANSWERS, told)
            async with asyncio.timeout(10):
                assert await watch.next() == Seen(JOURNAL, 41, ONE)
                assert await watch.next() == Seen(FAR_JOURNAL, 5, TWO)


async def test_a_watch_does_not_hear_of_other_aggregates():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            others = [written(Added(key=key, amount=9), key=key) for key in ("j", "kk", "", "K")]
            log.land(ANSWERS, [*others, written(ONE)])
            assert await heard(watch) == [ONE]


async def test_every_watch_of_an_aggregate_hears_its_events():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as one, tail.watch("k") as another:
            log.land(ANSWERS, [written(ONE)])
            assert await heard(one) == await heard(another) == [ONE]


async def test_a_watch_hears_of_its_aggregate_from_every_service():
    log = await toy_log()
    places = (ANSWERS, FAR_ANSWERS)
    codecs = {place.topic: EVENTS for place in places}
    tail = Tail(log, codecs, dict.fromkeys(places, 0))
    async with following(tail):
        with tail.watch("k") as watch:
            log.land(FAR_ANSWERS, [written(ONE)])
            assert await heard(watch) == [ONE]
            log.land(ANSWERS, [written(TWO)])
            assert await heard(watch) == [TWO]


async def test_a_key_that_is_no_text_disturbs_nobody():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            keyless = [replace(written(TWO), key=key) for key in (None, b"", b"\xff")]
            log.land(ANSWERS, [*keyless, written(ONE)])
            assert await heard(watch) == [ONE]


async def test_what_stands_before_the_start_is_not_handed_out():
    log = await toy_log()
    log.land(ANSWERS, [written(ONE), written(TWO)])
    tail = a_tail(log, start=1)
    with tail.watch("k") as watch:
        async with following(tail):
            assert await heard(watch) == [TWO]


# Records that nobody waits for


async def test_what_is_no_answer_does_not_stop_the_tail_and_is_reported():
    log = await toy_log()
    tail = a_tail(log)
    good = written(ONE)
    torn = [replace(good, value=value) for value in (b"\xff", b"{}", None)]
    for name, value in (("ce_source", b"nowhere"), ("ce_id", b"-1"), ("ce_id", b"9" * 30)):
        headers = [(n, value if n == name else v) for n, v in good.headers]
        torn.append(replace(good, headers=tuple(headers)))
    torn.append(replace(good, headers=()))
    before = unreadable()
    async with following(tail):
        with tail.watch("k") as watch:
            log.land(ANSWERS, [*torn, written(TWO)])
            assert await heard(watch) == [TWO]
    assert unreadable() - before == len(torn)


async def test_what_nobody_waits_for_is_not_looked_at():
    log = await toy_log()
    tail = a_tail(log)
    before = unreadable()
    async with following(tail):
        with tail.watch("k") as watch:
            log.land(ANSWERS, [replace(written(ONE, key="j"), value=b"\xff"), written(TWO)])
            assert await heard(watch) == [TWO]
    assert unreadable() == before


# The life of a watch and of a tail


async def test_a_watch_ends_with_its_block():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as ended:
            pass
        with tail.watch("k") as watch:
            log.land(ANSWERS, [written(ONE)])
            assert await heard(watch) == [ONE]
        assert await silent(ended)


async def test_a_watch_ends_with_its_block_also_when_that_fails():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with pytest.raises(ZeroDivisionError), tail.watch("k") as ended:
            raise ZeroDivisionError
        with tail.watch("k") as watch:
            log.land(ANSWERS, [written(ONE)])
            assert await heard(watch) == [ONE]
        assert await silent(ended)


async def test_a_watch_that_ends_does_not_end_another_of_the_same_aggregate():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as watch:
            with tail.watch("k"):
                pass
            log.land(ANSWERS, [written(ONE)])
            assert await heard(watch) == [ONE]


async def test_a_watch_does_not_hear_what_was_read_before_it_began():
    log = await toy_log()
    tail = a_tail(log)
    async with following(tail):
        with tail.watch("k") as earlier:
            log.land(ANSWERS, [written(ONE)])
            await heard(earlier)
        with tail.watch("k") as watch:
            log.land(ANSWERS, [written(TWO)])
            assert await heard(watch) == [TWO]


async def test_a_start_that_was_deleted_is_lost():
    log = await toy_log()
    log.land(ANSWERS, [written(ONE), written(TWO)])
    log.truncate(ANSWERS, 2)
    with pytest.raises(PositionLost) as raised:
        async with asyncio.timeout(10):
            await a_tail(log, start=1).run()
    assert (raised.value.place, raised.value.position) == (ANSWERS, 1)


async def test_a_tail_whose_next_record_is_deleted_ends_and_leaves_nothing_open_behind():
    log = await toy_log()
    tail = a_tail(log)
    task = asyncio.create_task(tail.run())
    log.land(ANSWERS, [written(ONE)])
    await until(lambda: tail.running)
    log.land(ANSWERS, [written(ONE), written(TWO)])
    log.truncate(ANSWERS, 2)
    with pytest.raises(PositionLost):
        async with asyncio.timeout(10):
            await task
    assert not tail.running
    assert not log.unclosed


async def test_a_stopped_tail_does_not_run_and_leaves_nothing_open_behind():
    log = await toy_log()
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
    log = await toy_log()
    tail = a_tail(log, codec=Codec(Effect))
    async with following(tail):
        with tail.watch("k", "mine") as mine, tail.watch("k") as every:
            for effect in ("theirs", "mine", "theirs"):
                log.land(ANSWERS, [written(Effect(effect))])
            heard = [(await every.next()).event.effect_id for _ in range(3)]
            assert heard == ["theirs", "mine", "theirs"]
            assert (await mine.next()).event.effect_id == "mine"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await mine.next()
