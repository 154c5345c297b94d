"""Crashes and lost, late and missing appends: nothing is lost and nothing counts twice.

The far service stands for the world: what it counts is what the sender has really done.
"""

import asyncio

import pytest

from journal.log import Entry, Place
from journal.memory_log import Fate
from journal.processor import Ending, Processor
from journal.topics import ANSWERS
from tests.journal.toy import (
    FAR_INPUT,
    FAR_JOURNAL,
    INPUT,
    JOURNAL,
    PING,
    PONG,
    Add,
    Ignore,
    Script,
    SetClock,
    ToyLog,
    advances,
    ended,
    metric,
    nothing_more,
    numbered,
    opened_by,
    openings,
    owner,
    request,
    topics,
    total,
    toy,
    toy_log,
    turns,
    until,
    valid,
)

PASS_ON = Add(key="k", pass_on=PONG.input)


def far(log: ToyLog) -> int:
    return total(log, place=FAR_JOURNAL)


async def stormy() -> tuple[ToyLog, Script]:
    weather = Script()
    return await toy_log(weather), weather


async def test_a_crash_between_append_and_release_loses_no_output():
    log = await toy_log()
    async with owner(log, toy()):
        hold = log.hold(JOURNAL, until_acknowledged=True)
        log.land(INPUT, [request(PASS_ON)])
        await hold.landed.wait()
    log.let_go(JOURNAL)
    assert not log.records[FAR_INPUT], "what was not acknowledged was not released"
    async with owner(log, toy(), "second"), owner(log, toy(PONG)):
        await until(lambda: far(log) == 1)
        await nothing_more(log)
    assert (total(log), far(log)) == (1, 1)


async def test_a_crash_before_the_append_leaves_the_input_to_the_next_owner():
    log = await toy_log()
    async with owner(log, toy()):
        hold = log.hold(JOURNAL)
        log.land(INPUT, [request(PASS_ON)])
        await hold.arrived.wait()
    log.let_go(JOURNAL)
    async with owner(log, toy(), "second"), owner(log, toy(PONG)):
        await until(lambda: far(log) == 1)
        await nothing_more(log)
    assert (total(log), far(log)) == (1, 1)


async def test_a_crash_between_a_send_and_its_confirmation_sends_again_and_counts_once():
    log = await toy_log()
    before = metric("makegood_link_duplicates_total", "pong")
    async with owner(log, toy(PONG)):
        async with owner(log, toy()):
            hold = log.hold(FAR_INPUT, until_acknowledged=True)
            log.land(INPUT, [request(PASS_ON)])
            await hold.landed.wait()
        log.let_go(FAR_INPUT)
        async with owner(log, toy(), "second"):
            await until(lambda: len(log.records[FAR_INPUT]) == 2)
            await until(lambda: metric("makegood_link_duplicates_total", "pong") > before)
    assert far(log) == 1


async def test_a_batch_whose_acknowledgement_was_lost_counts_once():
    log, weather = await stormy()
    async with owner(log, toy()), owner(log, toy(PONG)):
        weather.foretell(JOURNAL, Fate.ACK_LOST)
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: far(log) == 1)
        await nothing_more(log)
    assert (total(log), far(log), openings(log)) == (1, 1, 2)


async def test_a_batch_that_never_lands_is_decided_again():
    log, weather = await stormy()
    async with owner(log, toy()), owner(log, toy(PONG)):
        weather.foretell(JOURNAL, Fate.NEVER)
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: far(log) == 1)
        await nothing_more(log)
    assert (total(log), far(log), openings(log)) == (1, 1, 2)


async def test_a_batch_that_lands_behind_the_next_opening_is_void():
    # Lands after the owner has opened the partition again, and decided the input again.
    weather = Script(late_s=0.1)
    log = await toy_log(weather)
    async with owner(log, toy()), owner(log, toy(PONG)):
        weather.foretell(JOURNAL, Fate.LATE)
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: far(log) == 1)
        end = len(log.records[JOURNAL])
        await until(lambda: len(log.records[JOURNAL]) == end + 2)
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: far(log) == 2)
    assert (total(log), far(log)) == (2, 2)
    async with owner(log, toy(), "second"), owner(log, toy(PONG)):
        await nothing_more(log)
    assert (total(log), far(log)) == (2, 2)


async def test_a_void_batch_between_two_of_ours_does_not_stop_us():
    weather = Script(late_s=0.05)
    log = await toy_log(weather)
    before = metric("makegood_void_records_total")
    async with owner(log, toy()):
        weather.foretell(JOURNAL, Fate.LATE)
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 1 and len(log.records[JOURNAL]) == 6)
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 2)
    assert openings(log) == 2
    assert metric("makegood_void_records_total") - before == 2


async def test_an_opening_in_doubt_that_lands_late_ends_the_epoch_it_voids():
    weather = Script(late_s=0.05)
    log = await toy_log(weather)
    weather.foretell(JOURNAL, Fate.LATE)
    async with owner(log, toy()) as task:
        await until(lambda: openings(log) == 2)
        log.land(INPUT, [request(PASS_ON)])
        assert await ended(task) is Ending.DEPOSED
    assert (total(log), len(log.records[FAR_INPUT])) == (0, 0)
    async with owner(log, toy(), "second"):
        await until(lambda: len(log.records[FAR_INPUT]) == 1)
    assert total(log) == 1


async def test_an_opening_whose_acknowledgement_was_lost_is_simply_repeated():
    log, weather = await stormy()
    weather.foretell(JOURNAL, Fate.ACK_LOST, Fate.NEVER, Fate.ACK_LOST)
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 1)
    assert openings(log) == 3


async def test_sends_that_fail_in_the_middle_are_repeated_from_the_last_confirmed():
    log, weather = await stormy()
    async with owner(log, toy()), owner(log, toy(PONG)):
        fates = [Fate.NEVER, Fate.ACK_LOST, Fate.ACKNOWLEDGED, Fate.NEVER, Fate.ACK_LOST]
        weather.foretell(FAR_INPUT, *fates * 4)
        for _ in range(30):
            log.land(INPUT, [request(PASS_ON)])
            await turns(20)
        await until(lambda: far(log) == 30)
        await nothing_more(log)
    assert (total(log), far(log)) == (30, 30)


async def test_a_send_that_lands_late_is_dropped_as_a_duplicate():
    weather = Script(late_s=0.05)
    log = await toy_log(weather)
    async with owner(log, toy()), owner(log, toy(PONG)):
        weather.foretell(FAR_INPUT, Fate.LATE)
        log.land(INPUT, [request(PASS_ON)] * 3)
        await until(lambda: len(log.records[FAR_INPUT]) == 6)
        await nothing_more(log)
    assert far(log) == 3


async def test_outputs_of_a_later_batch_do_not_overtake_those_that_failed():
    log, weather = await stormy()
    async with owner(log, toy()):
        weather.foretell(FAR_INPUT, Fate.NEVER, Fate.NEVER)
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: not weather.foretold[FAR_INPUT])
        log.land(INPUT, [request(PASS_ON)] * 2)
        await until(lambda: len(log.records[FAR_INPUT]) == 3)
    numbers = [dict(record.headers)["ce_sequence"] for record in log.records[FAR_INPUT]]
    assert numbers == [b"1", b"2", b"3"]


async def test_a_storm_of_every_kind_loses_and_doubles_nothing():
    weather = Script(late_s=0.003)
    log = await toy_log(weather)
    fates = [Fate.ACKNOWLEDGED, Fate.ACK_LOST, Fate.NEVER, Fate.LATE]
    for place, step in ((JOURNAL, 3), (FAR_INPUT, 5), (FAR_JOURNAL, 7)):
        weather.foretell(place, *(fates[i * step // 2 % 4] for i in range(60)))
    for i in range(12):
        async with owner(log, toy(), f"near {i}"), owner(log, toy(PONG), f"far {i}"):
            log.land(INPUT, [request(PASS_ON)] * 5)
            await turns(100 + 30 * i)
    weather.foretold.clear()
    async with owner(log, toy(), "near"), owner(log, toy(PONG), "far"):
        await until(lambda: far(log) == 60)
        await nothing_more(log)
    assert (total(log), far(log)) == (60, 60)


async def test_a_rival_that_opens_deposes_us_at_our_next_append():
    log = await toy_log()
    async with owner(log, toy()) as task:
        log.land(JOURNAL, [opened_by("rival")])
        log.land(INPUT, [request(PASS_ON)])
        assert await ended(task) is Ending.DEPOSED
    assert (total(log), len(log.records[FAR_INPUT])) == (0, 0)


async def test_a_rival_that_opens_while_we_append_deposes_us_before_anything_is_released():
    log = await toy_log()
    async with owner(log, toy()) as task:
        hold = log.hold(JOURNAL)
        log.land(INPUT, [request(PASS_ON)])
        await hold.arrived.wait()
        log.land(JOURNAL, [opened_by("rival")])
        log.let_go(JOURNAL)
        assert await ended(task) is Ending.DEPOSED
    assert (total(log), len(log.records[FAR_INPUT])) == (0, 0)


async def test_a_rival_that_opens_behind_our_batch_does_not_undo_it():
    log = await toy_log()
    async with owner(log, toy()):
        hold = log.hold(JOURNAL, until_acknowledged=True)
        log.land(INPUT, [request(PASS_ON)])
        await hold.landed.wait()
        log.land(JOURNAL, [opened_by("rival")])
        log.let_go(JOURNAL)
        await until(lambda: len(log.records[FAR_INPUT]) == 1)
    assert total(log) == 1


async def test_a_rival_that_opens_while_we_read_the_journal_deposes_us():
    log = await toy_log()
    hold = log.hold(JOURNAL, until_acknowledged=True)
    task = asyncio.create_task(Processor(log, toy(), 0, "first", SetClock()).run())
    await hold.landed.wait()
    log.land(JOURNAL, [opened_by("rival")])
    log.let_go(JOURNAL)
    assert await ended(task) is Ending.DEPOSED
    assert not log.unclosed


async def test_both_owners_may_send_what_was_committed_before_and_it_counts_once():
    log = await toy_log()
    async with owner(log, toy(PONG)), owner(log, toy()):
        hold = log.hold(FAR_INPUT)
        log.land(INPUT, [request(PASS_ON)] * 5)
        await hold.arrived.wait()
        async with owner(log, toy(), "second"):
            log.let_go(FAR_INPUT)
            await until(lambda: len(log.records[FAR_INPUT]) == 10)
            await nothing_more(log)
    assert far(log) == 5


async def test_a_journal_that_lost_acknowledged_records_halts_the_partition():
    # An unclean leader election can do that. What was released because of them is out.
    log = await toy_log()
    async with owner(log, toy()) as task:
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: len(log.records[FAR_INPUT]) == 1)
        del log.records[JOURNAL][-2:]
        log.land(INPUT, [request(PASS_ON)])
        assert await ended(task) is Ending.HALTED
    assert len(log.records[FAR_INPUT]) == 1
    assert metric("makegood_partition_halted") == 1


async def test_records_lost_while_an_append_is_in_doubt_halt_the_partition_too():
    log, weather = await stormy()
    async with owner(log, toy()) as task:
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: len(log.records[FAR_INPUT]) == 1)
        del log.records[JOURNAL][-2:]
        end = len(log.records[JOURNAL])
        weather.foretell(JOURNAL, Fate.NEVER)
        log.land(INPUT, [request(PASS_ON)])
        assert await ended(task) is Ending.HALTED
    assert len(log.records[JOURNAL]) == end, "another try does not hide the loss"


class LoneLog(ToyLog):
    """While its leader is `alone` it does not know the last record of the journal."""

    alone = False
    asked = 0

    async def is_alone(self, place: Place) -> bool:
        return self.alone

    async def bounds(self, place: Place) -> tuple[int, int]:
        first, end = await super().bounds(place)
        if not self.alone or place != JOURNAL:
            return first, end
        self.asked += 1
        return first, end - 1


async def test_a_leader_that_is_alone_and_does_not_know_the_end_yet_is_waited_for():
    log = LoneLog(weather := Script())
    await topics(log)
    async with owner(log, toy()):
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: len(log.records[FAR_INPUT]) == 1)
        log.alone = True
        weather.foretell(JOURNAL, Fate.NEVER)
        log.land(INPUT, [request(PASS_ON)])
        await until(lambda: log.asked > 50)
        log.alone = False
        await until(lambda: total(log) == 2)


async def test_duplicates_alone_move_the_input_position_for_good():
    # Else an idle partition would ask, after a restart, for inputs that retention has deleted.
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [numbered(1, Add(key="k"))])
        await until(lambda: total(log) == 1)
        log.land(INPUT, [numbered(1, Add(key="k"))] * 3)
        await until(lambda: advances(log)[-1].input_next == 4)
    log.truncate(INPUT, 4)
    async with owner(log, toy(), "second"):
        log.land(INPUT, [numbered(2, Add(key="k"))])
        await until(lambda: total(log) == 2)


async def test_inputs_that_give_nothing_move_the_input_position_for_good():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(Ignore())] * 3)
        await until(lambda: bool(advances(log)))
    assert [advanced.input_next for advanced in advances(log)] == [3]


@pytest.mark.parametrize("crash_after", range(0, 60, 4))
async def test_a_crash_at_any_turn_loses_and_doubles_nothing(crash_after: int):
    log = await toy_log()
    async with owner(log, toy(PONG)):
        async with owner(log, toy()):
            log.land(INPUT, [request(PASS_ON)] * 2)
            await turns(crash_after)
        async with owner(log, toy(), "second"):
            await until(lambda: far(log) == 2)
            await nothing_more(log)
    assert (total(log), far(log)) == (2, 2)


# Answers


TELL = Add(key="k", pass_on=ANSWERS)


def told(log: ToyLog) -> list[tuple[str, int]]:
    """What is told of: the journal and the offset of each event."""
    tail = [dict(record.headers) for record in log.records[Place(PING.answers, 0)]]
    return [(headers["ce_source"].decode(), int(headers["ce_id"])) for headers in tail]


def asked(log: ToyLog) -> list[tuple[str, int]]:
    """The events that count and are to be told of."""
    counting = valid(log.records[JOURNAL])
    return [(str(JOURNAL), at) for at, event in counting if getattr(event, "pass_on", "")]


async def test_an_answer_tells_where_its_event_stands():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(TELL), request(Add(key="k")), request(TELL)])
        await until(lambda: len(told(log)) == 2)
    assert told(log) == asked(log)


async def test_an_answer_tells_the_true_place_when_a_stranger_wrote_before_its_event():
    log = await toy_log()
    async with owner(log, toy()):
        hold = log.hold(JOURNAL)
        log.land(INPUT, [request(TELL)])
        await hold.arrived.wait()
        log.land(JOURNAL, [Entry(b"k", b"noise")] * 3)
        log.let_go(JOURNAL)
        await until(lambda: len(told(log)) == 1)
    assert told(log) == asked(log)


async def test_an_answer_that_a_crash_held_back_is_given_by_the_next_owner():
    log = await toy_log()
    async with owner(log, toy()):
        hold = log.hold(JOURNAL, until_acknowledged=True)
        log.land(INPUT, [request(TELL)])
        await hold.landed.wait()
    log.let_go(JOURNAL)
    assert told(log) == []
    async with owner(log, toy(), "second"):
        await until(lambda: len(told(log)) == 1)
    assert told(log) == [(str(JOURNAL), 1)]
