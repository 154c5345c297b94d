"""The log port in memory, deterministic: for the simulator and for fast tests.

Faults come from outside through `Weather`; without any, it behaves like a healthy Kafka. It never
reads a clock and draws no random number itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple, Protocol

from journal.log import (
    AppendInDoubt,
    BatchTooLarge,
    Entry,
    Headers,
    LogError,
    Place,
    PositionLost,
    Reader,
    Record,
    TopicSpec,
    Writer,
)


class MemoryRecord(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Fate(Enum):
    """What becomes of one append."""

    ACKNOWLEDGED = auto()
    ACK_LOST = auto()
    """It lands; the writer hears nothing."""
    NEVER = auto()
    """It does not land; the writer hears nothing."""
    LATE = auto()
    """The writer gives up first; it lands after `Weather.late_s`."""


class Weather(Protocol):
    """Decides delays (seconds) and fates; called in a deterministic order."""

    def append_s(self, place: Place) -> float: ...
    def fate(self, place: Place) -> Fate: ...
    def late_s(self, place: Place) -> float: ...
    def read_s(self, place: Place) -> float: ...
    def now_ms(self) -> int: ...


class FairWeather:
    """Everything succeeds at once; time stands still."""

    def append_s(self, place: Place) -> float:
        return 0.0

    def fate(self, place: Place) -> Fate:
        return Fate.ACKNOWLEDGED

    def late_s(self, place: Place) -> float:
        return 0.0

    def read_s(self, place: Place) -> float:
        return 0.0

    def now_ms(self) -> int:
        return 0


class MemoryLog:
    max_batch_bytes = 4 * 1024 * 1024

    def __init__(self, weather: Weather | None = None) -> None:
        self.weather: Weather = weather or FairWeather()
        self.records: dict[Place, list[MemoryRecord]] = {}
        self._partitions: dict[str, int] = {}
        self._first: dict[Place, int] = {}
        self._waiting: dict[Place, list[_MemoryReader]] = {}

    async def partitions(self, topic: str) -> int:
        return self._partitions.get(topic, 0)

    async def create(self, topics: Sequence[TopicSpec]) -> None:
        for spec in topics:
            if self._partitions.setdefault(spec.name, spec.partitions) == spec.partitions:
                for partition in range(spec.partitions):
                    self.records.setdefault(Place(spec.name, partition), [])

    async def bounds(self, place: Place) -> tuple[int, int]:
        first = self._first.get(place, 0)
        return first, first + len(self.records[place])

    async def is_alone(self, place: Place) -> bool:
        return False

    def truncate(self, place: Place, first: int) -> None:
        """Delete the records before offset `first`, as retention would."""
        gone = first - self._first.get(place, 0)
        del self.records[place][:gone]
        self._first[place] = first

    def writer(self) -> Writer:
        return _MemoryWriter(self)

    def reader(self, starts: Mapping[Place, int]) -> Reader:
        return _MemoryReader(self, starts)

    def land(self, place: Place, entries: Sequence[Entry]) -> int:
        """Write a batch, now. Returns its first offset."""
        if place not in self.records:
            raise LogError(f"there is no {place}")
        held = self.records[place]
        first = self._first.get(place, 0) + len(held)
        now_ms = self.weather.now_ms()
        held.extend(
            MemoryRecord(first + i, now_ms, entry.key, entry.value, entry.headers)
            for i, entry in enumerate(entries)
        )
        for reader in self._waiting.get(place, ()):
            reader.wake(place)
        return first

    def slice(self, place: Place, position: int, count: int) -> list[MemoryRecord]:
        first = self._first.get(place, 0)
        held = self.records[place]
        if position < first or position > first + len(held):
            raise PositionLost(place, position, first, first + len(held))
        return held[position - first : position - first + count]

    def end(self, place: Place) -> int:
        return self._first.get(place, 0) + len(self.records[place])

    def watch(self, place: Place, reader: "_MemoryReader") -> None:
        """`reader` is woken whenever something lands."""
        self._waiting.setdefault(place, []).append(reader)

    def unwatch(self, place: Place, reader: "_MemoryReader") -> None:
        watching = self._waiting.get(place, [])
        if reader in watching:
            watching.remove(reader)


class _MemoryWriter:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._spent = False
        self._turn: dict[Place, asyncio.Lock] = {}

    @property
    def max_batch_bytes(self) -> int:
        return self._log.max_batch_bytes

    async def append(self, place: Place, entries: Sequence[Entry]) -> int:
        size = sum(len(e.value or b"") + len(e.key or b"") + 60 for e in entries)
        if size > self.max_batch_bytes:
            raise BatchTooLarge(place, len(entries), self.max_batch_bytes)
        async with self._turn.setdefault(place, asyncio.Lock()):
            weather = self._log.weather
            if self._spent:
                raise AppendInDoubt(place, "this writer was given up")
            fate = weather.fate(place)
            await asyncio.sleep(weather.append_s(place))
            match fate:
                case Fate.ACKNOWLEDGED:
                    return self._log.land(place, entries)
                case Fate.ACK_LOST:
                    self._log.land(place, entries)
                case Fate.LATE:
                    loop = asyncio.get_running_loop()
                    loop.call_later(weather.late_s(place), self._log.land, place, list(entries))
                case Fate.NEVER:
                    pass
            self._spent = True
            raise AppendInDoubt(place, fate.name.lower())

    async def close(self) -> None:
        self._spent = True


class _MemoryReader:
    def __init__(self, log: MemoryLog, starts: Mapping[Place, int]) -> None:
        self._log = log
        self._positions = dict(starts)
        self._waiter: asyncio.Future[None] | None = None
        self._news: asyncio.TimerHandle | None = None
        for place in starts:
            log.watch(place, self)

    async def read(self, max_records: int, wait_ms: int) -> Mapping[Place, Sequence[Record]]:
        if found := self._take(max_records):
            weather = self._log.weather
            await asyncio.sleep(sum(weather.read_s(place) for place in found))
            return found
        if wait_ms > 0:
            await self._wait(wait_ms / 1000)
            found = self._take(max_records)
        return found

    def wake(self, place: Place) -> None:
        """Something has landed in `place`: whoever waits hears of it after the read's delay."""
        if self._waiter is not None and self._news is None:
            delay_s = self._log.weather.read_s(place)
            self._news = self._waiter.get_loop().call_later(delay_s, _end, self._waiter)

    async def _wait(self, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(within_s, _end, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            if self._news is not None:
                self._news.cancel()
            self._waiter = self._news = None

    def _take(self, max_records: int) -> dict[Place, Sequence[Record]]:
        found: dict[Place, Sequence[Record]] = {}
        left = max_records
        for place, position in self._positions.items():
            if left <= 0:
                break
            if position == self._log.end(place):
                continue
            if records := self._log.slice(place, position, left):
                found[place] = records
                self._positions[place] = records[-1].offset + 1
                left -= len(records)
        return found

    async def close(self) -> None:
        for place in self._positions:
            self._log.unwatch(place, self)


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
