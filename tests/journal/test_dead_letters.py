"""Inputs that nobody can use: kept whole, copied to the dead-letter topic, counted."""

from journal.log import Entry, Place
from journal.records import RecordRejected
from journal.topics import DEAD_LETTERS
from messages.routing import partition_of
from messages.wire import Codec
from tests.journal.toy import (
    INPUT,
    JOURNAL,
    Add,
    ToyLog,
    metric,
    nothing_more,
    numbered,
    owner,
    request,
    topics,
    total,
    toy,
    toy_log,
    until,
    valid,
)

DEAD = Place(DEAD_LETTERS, 0)
REJECTED: Codec[RecordRejected] = Codec(RecordRejected)


def rejected(log: ToyLog, place: Place = JOURNAL) -> list[RecordRejected]:
    found = [event for _, event in valid(log.records[place])]
    return [event for event in found if isinstance(event, RecordRejected)]


async def test_a_record_that_is_not_ours_is_kept_whole_and_the_next_one_is_handled():
    log = await toy_log()
    before = metric("makegood_dead_letters_total")
    junk = Entry(b"\xff key", b"\x00\xfe not json", (("ce_type", b"\xff"), ("empty", b"")))
    async with owner(log, toy()):
        log.land(INPUT, [junk, request(Add(key="k"))])
        await until(lambda: total(log) == 1 and len(log.records[DEAD]) == 1)
    (kept,) = rejected(log)
    assert (kept.topic, kept.partition, kept.offset) == (*INPUT, 0)
    assert (kept.key, kept.value) == (junk.key, junk.value)
    assert kept.headers == [("ce_type", b"\xff"), ("empty", b"")]
    assert "malformed" in kept.reason or "JSON" in kept.reason
    assert REJECTED.decode(log.records[DEAD][0].value) == kept
    assert metric("makegood_dead_letters_total") == before + 1


async def test_a_record_without_a_value_is_rejected():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [Entry(b"k", None)])
        await until(lambda: len(log.records[DEAD]) == 1)
    assert rejected(log)[0].value is None


async def test_a_link_with_a_malformed_number_is_rejected():
    log = await toy_log()
    good = numbered(1, Add(key="k"))
    for broken in (b"", b"-1", b"0", b"1e3", b"9" * 30, b"\xff"):
        headers = [(n, broken if n == "ce_sequence" else v) for n, v in good.headers]
        log.land(INPUT, [Entry(good.key, good.value, headers)])
    async with owner(log, toy()):
        await until(lambda: len(log.records[DEAD]) == 6)
    assert total(log) == 0


async def test_a_record_in_a_partition_that_is_not_its_keys_is_rejected():
    # Another partitioner must not make a second account of the same name.
    log = ToyLog()
    await topics(log, 2)
    home = partition_of("k", 2)
    service = toy(partitions=2)
    places = [Place(INPUT.topic, partition) for partition in (0, 1)]
    async with (
        owner(log, service, partition=0),
        owner(log, service, partition=1),
    ):
        for place in places:
            log.land(place, [request(Add(key="k"))])
        await until(lambda: len(log.records[DEAD]) == 1)
        await until(lambda: total(log, place=Place(JOURNAL.topic, home)) == 1)
    (kept,) = rejected(log, Place(JOURNAL.topic, 1 - home))
    assert f"k belongs to partition {home}" in kept.reason


async def test_a_dead_letter_is_copied_once_also_after_a_crash():
    log = await toy_log()
    async with owner(log, toy()):
        hold = log.hold(JOURNAL, until_acknowledged=True)
        log.land(INPUT, [Entry(b"k", b"junk")])
        await hold.landed.wait()
    log.let_go(JOURNAL)
    async with owner(log, toy(), "second"):
        await until(lambda: len(log.records[DEAD]) == 1)
        await nothing_more(log)
    assert len(rejected(log)) == 1
    assert len(log.records[DEAD]) == 1
