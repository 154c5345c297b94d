"""The follower: begins where the projection is, outlives a broken tail, tells when it is behind."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from account_service.service import EVENTS, TOPICS
from api.follower import Follower, NotFollowing
from journal.log import Entry, Place, PositionLost, Reader, Record
from journal.memory_log import MemoryLog
from journal.records import EventEntries, Opened, opened_entry
from journal.tail import Start, Watch
from messages.account import Unfrozen

PLACE = Place(TOPICS.journal, 0)
LONG_S = 5


class Breaking:
    """A reader whose position is lost."""

    async def read(self, max_records: int, wait_ms: int) -> Mapping[Place, Sequence[Record]]:
        raise PositionLost(PLACE, 0, 1, 1)

    async def close(self) -> None:
        pass


class BreakingLog(MemoryLog):
    """Its first reader breaks."""

    readers = 0

    def reader(self, starts: Mapping[Place, int]) -> Reader:
        self.readers += 1
        return Breaking() if self.readers == 1 else super().reader(starts)


@asynccontextmanager
async def following(log: MemoryLog, *starts: Start) -> AsyncGenerator[Follower]:
    """`starts`: where the projection is, attempt by attempt; the last one stays."""
    await log.create(TOPICS.specs(1))
    left = list(starts)

    async def positions() -> Mapping[Place, Start]:
        start = left.pop(0) if len(left) > 1 else left[0]
        return {} if start.epoch < 0 else {PLACE: start}

    follower = Follower(log, {TOPICS.journal: EVENTS}, {TOPICS.journal: 1}, positions)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_ok(follower: Follower) -> None:
    async with asyncio.timeout(LONG_S):
        while follower.status != "ok":
            await asyncio.sleep(0.01)


def opened() -> Entry:
    return opened_entry(Opened(owner="x", partitions=1, at_ms=0), str(PLACE))


def event(epoch: int, offset: int) -> Entry:
    happened = Unfrozen(account_id="alice", version=offset, at_ms=0, effect_id="e", fingerprint=1)
    return EventEntries(epoch, str(PLACE)).entry(happened, "alice", offset)


async def heard(watch: Watch) -> int:
    """The version of the event that is heard next."""
    async with asyncio.timeout(LONG_S):
        version: int = (await watch.next()).event.version
        return version


async def test_before_it_follows_nobody_can_wait() -> None:
    follower = Follower(MemoryLog(), {}, {}, lambda: asyncio.sleep(0, {}))
    assert follower.status == "the journals are not followed"
    with pytest.raises(NotFollowing):
        follower.watch("alice")


async def test_a_tail_that_breaks_is_replaced() -> None:
    log = BreakingLog()
    async with following(log, Start(0, -1)) as follower:
        await until_ok(follower)
        assert log.readers == 2
        with follower.watch("alice") as watch:
            log.land(PLACE, [opened(), event(0, 1)])
            assert await heard(watch) == 1


async def test_it_begins_with_the_epoch_of_the_projection() -> None:
    log = MemoryLog()
    await log.create(TOPICS.specs(1))
    log.land(PLACE, [opened(), event(0, 1), opened()])
    async with following(log, Start(3, 2)) as follower:
        await until_ok(follower)
        with follower.watch("alice") as watch:
            # The deposed writer's late record is void; only the owner's counts.
            log.land(PLACE, [event(0, 3), event(2, 4)])
            assert await heard(watch) == 4


async def test_a_place_that_is_not_projected_is_followed_from_its_beginning() -> None:
    log = MemoryLog()
    await log.create(TOPICS.specs(1))
    log.land(PLACE, [opened()])
    async with following(log, Start(0, -1)) as follower:
        await until_ok(follower)
        with follower.watch("alice") as watch:
            log.land(PLACE, [event(0, 1)])
            assert await heard(watch) == 1
