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
