"""The follower: begins at the end, outlives a broken tail, tells when it does not follow."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from account_service.service import ANSWERS, TOPICS
from api.follower import Follower, NotFollowing
from journal.log import Entry, Place, PositionLost, Reader, Record
from journal.memory_log import MemoryLog
from journal.records import answer_entry
from journal.tail import Watch
from messages.account import Unfrozen
from messages.wire import encode, type_name

PLACE = Place(TOPICS.answers, 0)
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
async def following(log: MemoryLog) -> AsyncGenerator[Follower]:
    await log.create(TOPICS.specs(1))
    follower = Follower(log, {TOPICS.answers: ANSWERS}, {TOPICS.answers: 1})
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


def answer(version: int) -> Entry:
    event = Unfrozen(account_id="alice", version=version, at_ms=0, effect_id="e", fingerprint=1)
    return answer_entry("alice", encode(event), type_name(event), b"account.journal/0", 1, 0)


async def heard(watch: Watch) -> int:
    """The version of the event that is heard next."""
    async with asyncio.timeout(LONG_S):
        version: int = (await watch.next()).event.version
        return version


async def test_before_it_follows_nobody_can_wait() -> None:
    follower = Follower(MemoryLog(), {}, {})
    assert follower.status == "the answers are not followed"
    with pytest.raises(NotFollowing):
        follower.watch("alice")


async def test_a_tail_that_breaks_is_replaced() -> None:
    log = BreakingLog()
    async with following(log) as follower:
        await until_ok(follower)
        assert log.readers == 2
        with follower.watch("alice") as watch:
            log.land(PLACE, [answer(1)])
            assert await heard(watch) == 1


async def test_it_begins_at_the_end() -> None:
    log = MemoryLog()
    await log.create(TOPICS.specs(1))
    log.land(PLACE, [answer(1)])
    async with following(log) as follower:
        with pytest.raises(NotFollowing):
            follower.watch("alice")
        while True:
            try:
                with follower.watch("alice") as watch:
                    await until_ok(follower)
                    log.land(PLACE, [answer(2)])
                    assert await heard(watch) == 2
                    return
            except NotFollowing:
                await asyncio.sleep(0)
