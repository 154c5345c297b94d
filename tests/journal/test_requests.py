"""Requests from outside: batched while an append is under way, bounded, and honest about doubt."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count, groupby

import pytest

from journal.log import Entry, Place
from journal.memory_log import Fate
from journal.requests import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    RequestInDoubt,
    Requests,
    TooManyRequests,
)
from tests.journal.toy import FAR_INPUT, INPUT, Script, ToyLog, toy_log, turns, until


class Ticking(Script):
    """Time goes on with every batch that lands, so that a batch's records share their time."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks = count(1)

    def now_ms(self) -> int:
        return next(self._ticks)


class Sends:
    """Sends, each as a task of its own, begun in the order of the calls."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, *names: str, place: Place = INPUT, size: int = 0) -> list[asyncio.Task[None]]:
        begun = [
            asyncio.create_task(self.requests.send(place, Entry(name.encode(), bytes(size))))
            for name in names
        ]
        self.tasks += begun
        return begun


@asynccontextmanager
async def sending(log: ToyLog, max_waiting: int = 10_000) -> AsyncGenerator[Sends]:
    """Requests that are closed, and their senders cancelled, at the end of the block."""
    requests = Requests(log, max_waiting)
    sends = Sends(requests)
    try:
        yield sends
    finally:
        await requests.close()
        for task in sends.tasks:
            task.cancel()
        await asyncio.gather(*sends.tasks, return_exceptions=True)


async def stormy() -> tuple[ToyLog, Script]:
    weather = Ticking()
    return await toy_log(weather), weather


async def finished(*tasks: asyncio.Task[None]) -> None:
    """Wait for the sends. Raises what they raise."""
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)


async def in_doubt(*tasks: asyncio.Task[None]) -> list[RequestInDoubt]:
    """What the sends raise, each of them."""
    doubts: list[RequestInDoubt] = []
    for task in tasks:
        with pytest.raises(RequestInDoubt) as raised:
            await finished(task)
        doubts.append(raised.value)
    return doubts


def batches(log: ToyLog, place: Place = INPUT) -> list[list[str]]:
    """The names that landed, batch by batch."""
    return [
        [(record.key or b"").decode() for record in batch]
        for _, batch in groupby(log.records[place], key=lambda record: record.timestamp)
    ]


# Batches


async def test_a_send_returns_when_its_request_is_durable():
    log, _ = await stormy()
    async with sending(log) as sends:
        hold = log.hold(INPUT, until_acknowledged=True)
        (send,) = sends.begin("a")
        await hold.landed.wait()
        await turns()
        assert not send.done(), "it has landed, but nobody has said so"
        log.let_go(INPUT)
        await finished(send)
    assert batches(log) == [["a"]]


async def test_a_request_lands_as_it_was_sent():
    log, _ = await stormy()
    requests = Requests(log)
    entry = Entry(b"key", b"value", (("ce_type", b"toy.Add.v1"),))
    await requests.send(INPUT, entry)
    await requests.close()
    (record,) = log.records[INPUT]
    assert (record.key, record.value, record.headers) == (entry.key, entry.value, entry.headers)


async def test_what_is_sent_while_an_append_is_under_way_goes_into_one_batch_in_its_order():
    log, _ = await stormy()
    async with sending(log) as sends:
        hold = log.hold(INPUT)
        sends.begin("a")
        await hold.arrived.wait()
        sends.begin("b", "c", "d")
        await turns()
        log.let_go(INPUT)
        await finished(*sends.tasks)
    assert batches(log) == [["a"], ["b", "c", "d"]]


async def test_a_batch_takes_no_more_requests_than_it_may():
    log, _ = await stormy()
    async with sending(log) as sends:
        hold = log.hold(INPUT)
        sends.begin("first")
        await hold.arrived.wait()
        sends.begin(*map(str, range(MAX_BATCH_RECORDS + 1)))
        await turns()
        log.let_go(INPUT)
        await finished(*sends.tasks)
    assert [len(batch) for batch in batches(log)] == [1, MAX_BATCH_RECORDS, 1]


async def test_a_batch_is_closed_before_its_bytes_exceed_the_bound():
    log, _ = await stormy()
    async with sending(log) as sends:
        hold = log.hold(INPUT)
        sends.begin("first")
        await hold.arrived.wait()
        sends.begin(*"abcde", size=MAX_BATCH_BYTES * 2 // 5)
        await turns()
        log.let_go(INPUT)
        await finished(*sends.tasks)
    assert batches(log) == [["first"], ["a", "b"], ["c", "d"], ["e"]]


async def test_a_request_larger_than_a_batch_should_be_goes_alone():
    log, _ = await stormy()
    async with sending(log) as sends:
        hold = log.hold(INPUT)
        sends.begin("first")
        await hold.arrived.wait()
        sends.begin("large", size=MAX_BATCH_BYTES + 1)
        sends.begin("small")
        await turns()
        log.let_go(INPUT)
        await finished(*sends.tasks)
    assert batches(log) == [["first"], ["large"], ["small"]]


async def test_places_do_not_wait_for_each_other():
    log, _ = await stormy()
    async with sending(log) as sends:
        hold = log.hold(INPUT)
        (here,) = sends.begin("here")
        await hold.arrived.wait()
        await finished(*sends.begin("there", place=FAR_INPUT))
        assert not here.done()
        log.let_go(INPUT)
        await finished(here)
    assert (batches(log), batches(log, FAR_INPUT)) == ([["here"]], [["there"]])


async def test_places_share_one_writer():
    log, _ = await stormy()
    async with sending(log) as sends:
        await finished(*sends.begin("here"), *sends.begin("there", place=FAR_INPUT))
        assert len(log.unclosed) == 1


# The bound


async def test_a_request_too_many_is_refused_and_the_others_are_not():
    log, _ = await stormy()
    async with sending(log, max_waiting=3) as sends:
        hold = log.hold(INPUT)
        sends.begin("under way")
        await hold.arrived.wait()
        sends.begin("a", "b", "c")
        await turns()
        (refused,) = sends.begin("too many")
        with pytest.raises(
            TooManyRequests, match=r"3 requests already wait for ping\.input/0"
        ) as raised:
            await finished(refused)
        assert (raised.value.place, raised.value.waiting) == (INPUT, 3)
        log.let_go(INPUT)
        await finished(*(task for task in sends.tasks if task is not refused))
    assert batches(log) == [["under way"], ["a", "b", "c"]]


async def test_where_too_many_waited_there_is_room_again_when_they_are_through():
    log, _ = await stormy()
    async with sending(log, max_waiting=1) as sends:
        hold = log.hold(INPUT)
        sends.begin("under way")
        await hold.arrived.wait()
        sends.begin("a")
        await turns()
        log.let_go(INPUT)
        await finished(*sends.tasks)
        await finished(*sends.begin("b"))
    assert batches(log) == [["under way"], ["a"], ["b"]]


async def test_the_bound_is_for_each_place():
    log, _ = await stormy()
    async with sending(log, max_waiting=1) as sends:
        hold = log.hold(INPUT)
        sends.begin("under way")
        await hold.arrived.wait()
        sends.begin("waits")
        await turns()
        await finished(*sends.begin("there", place=FAR_INPUT))
        log.let_go(INPUT)
        await finished(*sends.tasks)


# Doubt


@pytest.mark.parametrize(
    ("fate", "landed"),
    [(Fate.ACK_LOST, [["a", "b"]]), (Fate.NEVER, [])],
    ids=["acknowledgement lost", "never landed"],
)
async def test_every_request_of_a_batch_in_doubt_is_in_doubt(fate: Fate, landed: list[list[str]]):
    log, weather = await stormy()
    async with sending(log) as sends:
        weather.foretell(INPUT, fate)
        doubts = await in_doubt(*sends.begin("a", "b"))
    assert [doubt.place for doubt in doubts] == [INPUT, INPUT]
    assert fate.name.lower() in str(doubts[0])
    assert batches(log) == landed


async def test_a_request_that_lands_late_was_in_doubt():
    log, weather = await stormy()
    async with sending(log) as sends:
        weather.foretell(INPUT, Fate.LATE)
        await in_doubt(*sends.begin("a"))
        await until(lambda: batches(log) == [["a"]])


async def test_after_a_doubt_a_fresh_writer_goes_on_with_what_waits():
    log, weather = await stormy()
    async with sending(log) as sends:
        weather.foretell(INPUT, Fate.ACK_LOST)
        hold = log.hold(INPUT)
        (lost,) = sends.begin("lost")
        await hold.arrived.wait()
        waiting = sends.begin("a", "b")
        await turns()
        log.let_go(INPUT)
        await in_doubt(lost)
        await finished(*waiting)
    assert batches(log) == [["lost"], ["a", "b"]]


async def test_a_request_may_be_repeated_after_a_doubt():
    log, weather = await stormy()
    async with sending(log) as sends:
        weather.foretell(INPUT, Fate.NEVER)
        await in_doubt(*sends.begin("a"))
        await finished(*sends.begin("a"))
    assert batches(log) == [["a"]]


async def test_the_writer_in_doubt_is_closed():
    log, weather = await stormy()
    async with sending(log) as sends:
        await finished(*sends.begin("a"))
        (spent,) = log.unclosed
        weather.foretell(INPUT, Fate.ACK_LOST)
        await in_doubt(*sends.begin("b"))
        await finished(*sends.begin("c"))
        assert len(log.unclosed) == 1
        assert spent not in log.unclosed


async def test_a_doubt_at_one_place_does_not_touch_what_has_landed_at_another():
    log, weather = await stormy()
    async with sending(log) as sends:
        hold = log.hold(FAR_INPUT, until_acknowledged=True)
        (there,) = sends.begin("there", place=FAR_INPUT)
        await hold.landed.wait()
        weather.foretell(INPUT, Fate.ACK_LOST)
        await in_doubt(*sends.begin("here"))
        log.let_go(FAR_INPUT)
        await finished(there)


async def test_a_second_doubt_about_the_old_writer_leaves_the_fresh_one_alone():
    log, weather = await stormy()
    async with sending(log) as sends:
        there = log.hold(FAR_INPUT)
        (late,) = sends.begin("late", place=FAR_INPUT)
        await there.arrived.wait()
        weather.foretell(INPUT, Fate.ACK_LOST)
        await in_doubt(*sends.begin("here"))
        here = log.hold(INPUT)
        (fresh,) = sends.begin("fresh")
        await here.arrived.wait()
        log.let_go(FAR_INPUT)
        await in_doubt(late)
        log.let_go(INPUT)
        await finished(fresh)
    assert not log.unclosed


# Senders that give up, and the end


def the_first(tasks: list[asyncio.Task[None]]) -> asyncio.Task[None]:
    return tasks[0]


def one_that_waits(tasks: list[asyncio.Task[None]]) -> asyncio.Task[None]:
    return tasks[2]


@pytest.mark.parametrize("chosen", [the_first, one_that_waits])
async def test_a_sender_that_gives_up_does_not_disturb_the_others(
    chosen: Callable[[list[asyncio.Task[None]]], asyncio.Task[None]],
):
    log, _ = await stormy()
    async with sending(log) as sends:
        hold = log.hold(INPUT)
        sends.begin("a")
        await hold.arrived.wait()
        sends.begin("b", "c", "d")
        await turns()
        gone = chosen(sends.tasks)
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        log.let_go(INPUT)
        await finished(*(task for task in sends.tasks if task is not gone))
        await finished(*sends.begin("e"))
    assert batches(log)[-1] == ["e"]


async def test_a_sender_that_gives_up_on_a_batch_in_doubt_does_not_disturb_the_others():
    log, weather = await stormy()
    async with sending(log) as sends:
        weather.foretell(INPUT, Fate.ACK_LOST)
        hold = log.hold(INPUT)
        gone, left = sends.begin("a", "b")
        await hold.arrived.wait()
        gone.cancel()
        log.let_go(INPUT)
        await in_doubt(left)
        await finished(*sends.begin("c"))
    assert gone.cancelled()
    assert batches(log) == [["a", "b"], ["c"]]


async def test_closing_leaves_nothing_open_behind():
    log, _ = await stormy()
    tasks = asyncio.all_tasks()
    async with sending(log) as sends:
        await finished(*sends.begin("a"), *sends.begin("b", place=FAR_INPUT))
    assert not log.unclosed
    assert asyncio.all_tasks() == tasks


async def test_closing_while_appends_are_under_way_leaves_nothing_open_behind():
    log, _ = await stormy()
    tasks = asyncio.all_tasks()
    async with sending(log) as sends:
        here, there = log.hold(INPUT), log.hold(FAR_INPUT, until_acknowledged=True)
        sends.begin("here")
        sends.begin("there", place=FAR_INPUT)
        await asyncio.gather(here.arrived.wait(), there.landed.wait())
        sends.begin("waits")
        await turns()
        await sends.requests.close()
        assert not log.unclosed
        assert asyncio.all_tasks() <= tasks | set(sends.tasks)


async def test_closing_what_has_sent_nothing_is_harmless():
    log, _ = await stormy()
    await Requests(log).close()
    assert not log.unclosed


async def test_closing_ends_the_wait_of_every_sender():
    log, _ = await stormy()
    requests = Requests(log)
    sends = Sends(requests)
    hold = log.hold(INPUT)
    sends.begin("under way")
    await hold.arrived.wait()
    sends.begin("a", "b")
    await turns()
    await requests.close()
    done, waiting = await asyncio.wait(sends.tasks, timeout=2)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    ended = [task for task in done if task.cancelled() or task.exception() is not None]
    assert len(ended) == 3


async def test_a_request_that_is_too_large_is_not_in_doubt():
    log, _ = await stormy()
    async with sending(log) as sends:
        (send,) = sends.begin("huge", size=log.max_batch_bytes + 1)
        with pytest.raises(Exception) as raised:
            await finished(send)
    assert not isinstance(raised.value, RequestInDoubt)
