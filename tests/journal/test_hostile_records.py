"""Records made to stop a partition, and what the machine has to bear: each found in a review."""

from journal.epoch import MAX_SOURCES
from journal.log import Entry, Place
from journal.processor import Ending
from journal.records import SEQUENCE, SOURCE, TYPE
from journal.topics import DEAD_LETTERS
from messages.wire import encode
from tests.journal.toy import (
    INPUT,
    JOURNAL,
    Add,
    Added,
    Rang,
    Remind,
    SetClock,
    ended,
    events,
    numbered,
    openings,
    owner,
    request,
    total,
    toy,
    toy_log,
    until,
)

DEAD = Place(DEAD_LETTERS, 0)


async def test_a_record_as_large_as_may_be_does_not_stop_the_partition():
    log = await toy_log()
    kind = (TYPE, b"toy.Add.v1")
    huge = b"\0" * 720_000
    log.land(
        INPUT,
        [
            Entry(b"k", encode(Add(key="k")), ((SOURCE, huge), (SEQUENCE, b"1"), kind)),
            Entry(b"k", b"garbage", tuple(("\x01", b"") for _ in range(310_000))),
            Entry(b"k" * 1_000_000, b"", ()),
            request(Add(key="k")),
        ],
    )
    async with owner(log, toy()):
        await until(lambda: total(log) == 1 and len(log.records[DEAD]) == 3)
    assert openings(log) == 1


async def test_strangers_cannot_fill_the_memory_with_links():
    log = await toy_log()
    known = numbered(1, Add(key="k"), source="away.journal/0")
    log.land(INPUT, [known])
    log.land(
        INPUT,
        [numbered(1, Add(key="k"), source=f"stranger/{n % 999}{n}"[:90]) for n in range(20)],
    )
    async with owner(log, toy()) as task:
        await until(lambda: total(log) == 21)
        assert not task.done()
    assert MAX_SOURCES < 100_000


async def test_a_timer_comes_up_although_inputs_never_end():
    log = await toy_log()
    log.land(INPUT, [request(Remind(key="bell", at_ms=500))])
    log.land(INPUT, [request(Add(key="k"))] * 5_000)
    async with owner(log, toy(), clock=SetClock(1_000)):
        await until(lambda: total(log) == 5_000)
    order = [isinstance(event, Rang) for event in events(log)]
    assert order.index(True) < 1_000, "the bell rang long before the backlog was done"


async def test_a_stranger_that_claims_epoch_minus_one_counts_for_nobody():
    log = await toy_log()
    forged = encode(Added(key="k", amount=1_000))
    log.land(JOURNAL, [Entry(b"k", forged, (("ce_epoch", b"-1"), (TYPE, b"toy.Added.v1")))])
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k"))])
        await until(lambda: total(log) == 1)


async def test_an_output_that_no_topic_takes_halts_the_partition_and_does_not_spin():
    log = await toy_log()
    log.max_batch_bytes = 3_000
    async with owner(log, toy()) as task:
        log.land(INPUT, [request(Add(key="k", padding="x" * 5_000))])
        assert await ended(task) is Ending.HALTED
    assert openings(log) == 1
