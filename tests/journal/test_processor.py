"""One owner at work in fair weather: what a step of work is, and what bounds it."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from journal.log import Place
from journal.opening import check_partitions
from journal.processor import HOLD_MS, Ending
from journal.service import Tuning
from tests.journal.toy import (
    FAR_INPUT,
    INPUT,
    JOURNAL,
    PONG,
    QUICK,
    Add,
    Added,
    Counter,
    Ignore,
    Rang,
    Remind,
    Reminded,
    SetClock,
    advances,
    ended,
    events,
    metric,
    nothing_more,
    numbered,
    openings,
    owner,
    request,
    total,
    toy,
    toy_log,
    turns,
    until,
)


def tuned(**changes: Any) -> Tuning:
    return replace(QUICK, **changes)


async def test_an_input_becomes_an_event_that_counts():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k", amount=7))])
        await until(lambda: total(log) == 7)
    assert events(log) == [Added(key="k", amount=7)]
    assert advances(log)[-1].input_next == 1


async def test_an_output_reaches_the_other_service_which_counts_it_once():
    log = await toy_log()
    async with owner(log, toy()), owner(log, toy(PONG)):
        for _ in range(50):
            log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))])
        await until(lambda: total(log, place=Place(PONG.journal, 0)) == 50)
    assert total(log) == 50


async def test_what_waits_while_an_append_is_under_way_goes_into_one_batch():
    log = await toy_log()
    async with owner(log, toy()):
        hold = log.hold(JOURNAL)
        log.land(INPUT, [request(Add(key="k"))])
        await hold.arrived.wait()
        for _ in range(100):
            log.land(INPUT, [request(Add(key="k"))])
        log.let_go(JOURNAL)
        await until(lambda: total(log) == 101)
    assert [advanced.input_next for advanced in advances(log)] == [1, 101]


async def test_others_get_their_turn_within_a_batch_whose_decisions_take_long():
    class SlowClock(SetClock):
        """Every look at it takes a millisecond, and so does each decision."""

        def now_ms(self) -> int:
            self.now += 1
            return self.now

    log = await toy_log()
    counted: list[int] = []
    decided = 0

    async def others() -> None:
        while True:
            counted.append(decided)
            await asyncio.sleep(0)

    class Slow(Counter):
        def decide(self, message: Any, now_ms: int) -> Sequence[Any]:
            nonlocal decided
            decided += 1
            return super().decide(message, now_ms)

    async with owner(log, toy(machine=Slow), clock=SlowClock()):
        watching = asyncio.create_task(others())
        log.land(INPUT, [request(Add(key="k"))] * 100)
        await until(lambda: total(log) == 100)
        watching.cancel()
    assert len(advances(log)) == 1, "it stays one batch"
    assert max(later - sooner for sooner, later in pairwise(counted)) == HOLD_MS


async def test_a_batch_takes_no_more_inputs_than_it_may():
    log = await toy_log()
    log.land(INPUT, [request(Add(key="k"))] * 25)
    async with owner(log, toy(tuning=tuned(max_batch_records=10))):
        await until(lambda: total(log) == 25)
    assert [advanced.input_next for advanced in advances(log)] == [10, 20, 25]


async def test_a_batch_is_closed_when_its_bytes_reach_the_bound():
    log = await toy_log()
    log.land(INPUT, [request(Add(key="k", padding="x" * 1000))] * 10)
    async with owner(log, toy(tuning=tuned(max_batch_bytes=3000))):
        await until(lambda: total(log) == 10)
    assert [advanced.input_next for advanced in advances(log)] == [3, 6, 9, 10]


async def test_inputs_without_events_cost_no_batch_of_their_own():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(Ignore()), request(Ignore())])
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 1)
    assert [advanced.input_next for advanced in advances(log)] == [3]


async def test_a_numbered_input_without_events_is_still_remembered():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [numbered(1, Ignore())])
        await until(lambda: len(advances(log)) == 1)
    (advanced,) = advances(log)
    assert advanced.received == {"away.journal/0": 1}
    assert events(log) == []


async def test_with_nothing_to_do_nothing_is_appended():
    log = await toy_log()
    async with owner(log, toy()):
        handled = log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == handled + 1)
        end = len(log.records[JOURNAL])
        await nothing_more(log)
        assert len(log.records[JOURNAL]) == end


async def test_no_input_is_taken_while_too_many_outputs_are_unconfirmed():
    log = await toy_log()
    service = toy(tuning=tuned(max_unconfirmed=10, max_batch_records=5))
    async with owner(log, service):
        hold = log.hold(FAR_INPUT)
        log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))] * 40)
        await hold.arrived.wait()
        await until(lambda: total(log) == 10)
        await turns()
        assert total(log) == 10, "two batches of five are out; the third has to wait"
        log.let_go(FAR_INPUT)
        await until(lambda: total(log) == 40 and len(log.records[FAR_INPUT]) == 40)


async def test_a_bell_rings_when_it_is_due_and_not_before():
    log = await toy_log()
    clock = SetClock(1_000)
    async with owner(log, toy(), clock=clock):
        log.land(INPUT, [request(Remind(key="k", at_ms=5_000))])
        await until(lambda: events(log) == [Reminded(key="k", at_ms=5_000)])
        clock.now = 4_999
        await nothing_more(log)
        assert len(events(log)) == 1
        clock.now = 5_001
        await until(lambda: events(log)[1:] == [Rang(key="k", now_ms=5_001)])
        await nothing_more(log)
        assert len(events(log)) == 2, "it rings once"


async def test_a_bell_that_came_due_while_nobody_was_there_rings_after_the_restart():
    log = await toy_log()
    clock = SetClock(1_000)
    async with owner(log, toy(), clock=clock):
        log.land(INPUT, [request(Remind(key="k", at_ms=5_000))])
        await until(lambda: len(events(log)) == 1)
    clock.now = 9_000
    async with owner(log, toy(), "second", clock=clock):
        await until(lambda: events(log)[1:] == [Rang(key="k", now_ms=9_000)])


async def test_many_bells_due_at_once_ring_in_batches_that_are_not_too_large():
    log = await toy_log()
    clock = SetClock(1_000)
    async with owner(log, toy(tuning=tuned(max_batch_records=4)), clock=clock):
        log.land(INPUT, [request(Remind(key=f"k{i}", at_ms=5_000)) for i in range(10)])
        await until(lambda: len(events(log)) == 10)
        before = len(advances(log))
        clock.now = 6_000
        await until(lambda: len(events(log)) == 20)
        assert len(advances(log)) - before == 3


async def test_time_does_not_run_backwards_when_the_clock_does():
    log = await toy_log()
    clock = SetClock(5_000)
    async with owner(log, toy(), clock=clock):
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 1)
        clock.now = 2_000
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 2)
    clock.now = 1_000
    async with owner(log, toy(), "second", clock=clock):
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 3)
    assert [advanced.at_ms for advanced in advances(log)] == [5_000, 5_000, 5_000]


async def test_time_is_that_of_the_last_batch_for_an_owner_whose_clock_is_behind():
    log = await toy_log()
    async with owner(log, toy(), clock=SetClock(8_000)):
        log.land(INPUT, [request(Remind(key="k", at_ms=7_500))])
        await until(lambda: len(events(log)) == 2)
        log.land(INPUT, [request(Remind(key="l", at_ms=8_500))])
        await until(lambda: len(events(log)) == 3)
    async with owner(log, toy(), "second", clock=SetClock(3_000)):
        log.land(INPUT, [request(Remind(key="m", at_ms=7_900))])
        await until(lambda: events(log)[-1] == Rang(key="m", now_ms=8_000))


async def test_a_stopped_owner_leaves_nothing_open_behind():
    log = await toy_log()
    tasks = asyncio.all_tasks()
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))])
        await until(lambda: len(log.records[FAR_INPUT]) == 1)
        assert log.unclosed
    assert not log.unclosed
    assert asyncio.all_tasks() == tasks


async def test_an_owner_stopped_while_it_appends_and_sends_leaves_nothing_open_behind():
    log = await toy_log()
    tasks = asyncio.all_tasks()
    async with owner(log, toy()):
        sending = log.hold(FAR_INPUT)
        log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))])
        await sending.arrived.wait()
        appending = log.hold(JOURNAL)
        log.land(INPUT, [request(Add(key="k"))])
        await appending.arrived.wait()
    assert not log.unclosed
    assert asyncio.all_tasks() == tasks


async def test_an_owner_stopped_while_it_takes_over_leaves_nothing_open_behind():
    log = await toy_log()
    tasks = asyncio.all_tasks()
    hold = log.hold(JOURNAL, until_acknowledged=True)

    async def begins() -> None:
        async with owner(log, toy()):
            pass

    task = asyncio.create_task(begins())
    await hold.landed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not log.unclosed
    assert asyncio.all_tasks() == tasks


async def test_the_inputs_handled_are_counted():
    log = await toy_log()
    before = metric("makegood_inputs_total")
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k"))] * 5)
        await until(lambda: total(log) == 5)
    assert metric("makegood_inputs_total") - before == 5


async def test_an_owner_that_is_alone_opens_its_partition_once():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k"))] * 5)
        await until(lambda: total(log) == 5)
    assert openings(log) == 1


async def test_a_lost_input_position_halts_the_partition():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 1)
    log.land(INPUT, [request(Add(key="k"))] * 3)
    log.truncate(INPUT, 3)
    async with owner(log, toy(), "second") as task:
        assert await ended(task) is Ending.HALTED
    assert total(log) == 1


async def test_the_log_is_told_the_time_that_was_decided_with():
    # The broker's limit on times ahead would else look at the client's own clock.
    log = await toy_log()
    seen: list[int | None] = []
    land = log.land

    def noting(place: Place, entries: Any) -> int:
        if place == JOURNAL:
            seen.extend(entry.timestamp_ms for entry in entries)
        return land(place, entries)

    log.land = noting  # type: ignore[method-assign]
    async with owner(log, toy(), clock=SetClock(123_456)):
        land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 1)
    assert seen == [None, 123_456, 123_456]


async def test_a_topic_that_a_broker_has_not_heard_of_yet_is_waited_for():
    log = await toy_log()
    known = log.partitions
    asked = 0

    async def late(topic: str) -> int:
        nonlocal asked
        asked += 1
        return 0 if asked < 3 else await known(topic)

    log.partitions = late
    await check_partitions(log, toy())
    assert asked > 3
