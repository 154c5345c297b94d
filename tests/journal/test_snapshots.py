"""Snapshots: a cache that may be missing, stale, torn or of another format, and never lies."""

import asyncio
from typing import Any

import msgspec
import pytest

from journal import snapshots
from journal.log import Entry
from journal.processor import Ending
from journal.progress import Progress
from tests.journal.toy import (
    FAR_INPUT,
    FAR_JOURNAL,
    INPUT,
    JOURNAL,
    PONG,
    QUICK,
    SNAPSHOTS,
    Add,
    Counter,
    ToyLog,
    ended,
    nothing_more,
    opened_by,
    openings,
    owner,
    request,
    total,
    toy,
    toy_log,
    until,
)

OFTEN = msgspec.structs.replace(QUICK, snapshot_every=5)


class Watched(Counter):
    """Counts what it folds, so that a restore can be told from a full replay."""

    folded = 0
    restored = 0

    def evolve(self, event: Any) -> None:
        Watched.folded += 1
        super().evolve(event)

    def restore(self, chunk: bytes) -> None:
        Watched.restored += 1
        super().restore(chunk)


@pytest.fixture(autouse=True)
def fresh_counts() -> None:
    Watched.folded = Watched.restored = 0


async def worked(log: ToyLog, count: int = 30) -> None:
    """An owner that handled `count` inputs and wrote snapshots on the way."""
    before = len(log.records[SNAPSHOTS])
    async with owner(log, toy(tuning=OFTEN)), owner(log, toy(PONG)):
        done = total(log)
        for _ in range(count):
            log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))])
            await asyncio.sleep(0)
        await until(lambda: total(log) == done + count)
        await until(lambda: len(log.records[SNAPSHOTS]) > before)
        await nothing_more(log)


async def reopened(log: ToyLog) -> None:
    """Another owner takes over and handles one more input: its state must be whole."""
    done = total(log)
    Watched.folded = Watched.restored = 0
    async with owner(log, toy(machine=Watched), "next"), owner(log, toy(PONG), "far"):
        log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))])
        await until(lambda: total(log) == done + 1)
        await nothing_more(log)
    assert total(log, place=FAR_JOURNAL) == total(log), "every output counted once"


async def test_a_restart_reads_the_snapshot_and_the_tail_only():
    log = await toy_log()
    await worked(log)
    await reopened(log)
    assert Watched.restored > 0
    assert Watched.folded < 20


async def test_deleting_the_topic_loses_nothing():
    log = await toy_log()
    await worked(log)
    log.records[SNAPSHOTS].clear()
    await reopened(log)
    assert (Watched.restored, Watched.folded) == (0, 31)


@pytest.mark.parametrize("kept", [1, 2])
async def test_a_torn_snapshot_is_passed_over(kept: int):
    log = await toy_log()
    await worked(log)
    del log.records[SNAPSHOTS][:-kept]
    for at, record in enumerate(log.records[SNAPSHOTS]):
        log.records[SNAPSHOTS][at] = record._replace(offset=at)
    await reopened(log)


async def test_a_snapshot_whose_content_changed_is_passed_over():
    log = await toy_log()
    await worked(log)
    for at, record in enumerate(log.records[SNAPSHOTS]):
        if record.key and not record.key.endswith(b"manifest") and record.value:
            changed = record.value.replace(b'"total":', b'"total":9')
            log.records[SNAPSHOTS][at] = record._replace(value=changed)
    await reopened(log)
    assert Watched.restored == 0


async def test_a_snapshot_of_another_format_is_dropped_and_the_journal_read():
    log = await toy_log()
    await worked(log)
    log.records[SNAPSHOTS].clear()
    end = len(log.records[JOURNAL])
    await snapshots.save(
        log,
        SNAPSHOTS,
        epoch=0,
        number=1,
        journal_next=end,
        mark=snapshots.mark(log.records[JOURNAL][-1].value, log.records[JOURNAL][-1].headers),
        progress=Progress(JOURNAL).state(),
        chunks=[b'{"type":"toy.Part.v2","from":"the future"}'],
    )
    await reopened(log)
    assert Watched.folded == 31


async def test_a_snapshot_that_is_ahead_of_the_journal_halts_the_partition():
    # The journal lost its end while nobody was there: what it had released is out.
    log = await toy_log()
    await worked(log)
    del log.records[JOURNAL][10:]
    async with owner(log, toy(), "next") as task:
        assert await ended(task) is Ending.HALTED


async def test_junk_in_the_topic_is_passed_over():
    log = await toy_log()
    log.land(SNAPSHOTS, [Entry(b"\xff", b"\xff"), Entry(None, None), Entry(b"1.1/manifest", b"{")])
    await worked(log)
    await reopened(log)
    assert openings(log) == 2


async def test_a_journal_that_lost_its_end_and_grew_on_is_not_taken_for_the_snapshots():
    log = await toy_log()
    await worked(log)
    end = max(record.offset for record in log.records[JOURNAL])
    del log.records[JOURNAL][10:]
    log.land(JOURNAL, [opened_by("somebody")] * (end + 5))
    async with owner(log, toy(), "next") as task:
        assert await ended(task) is Ending.HALTED


async def test_what_crashes_leave_behind_is_removed_by_the_next_snapshot():
    log = await toy_log()
    log.land(SNAPSHOTS, [Entry(f"7.{n}/{n}".encode(), b"left over") for n in range(50)])
    await worked(log)
    last = {record.key: record.value for record in log.records[SNAPSHOTS]}
    assert not [key for key, value in last.items() if value == b"left over"]


async def test_many_unconfirmed_outputs_fit_into_a_snapshot():
    log = await toy_log()
    log.max_batch_bytes = 1024 * 1024
    place = SNAPSHOTS
    progress = Progress(JOURNAL)
    for number in range(1, 10_000):
        progress.enqueue(FAR_INPUT, number, Entry(b"k", b"x" * 400, (("ce_source", b"s"),)))
    await snapshots.save(
        log,
        place,
        epoch=0,
        number=1,
        journal_next=1,
        mark=0,
        progress=progress.state(),
        chunks=[],
    )
    found = await snapshots.load(log, place)
    assert found.snapshot is not None
    restored = Progress.of(JOURNAL, found.snapshot.progress)
    assert sum(map(len, restored.waiting.values())) == 9_999


async def test_a_key_that_only_looks_like_a_number_is_passed_over():
    log = await toy_log()
    log.land(SNAPSHOTS, [Entry("0.1/²".encode(), b"x"), Entry(b"0.1/99999999999", b"x")])
    await worked(log)
    await reopened(log)
