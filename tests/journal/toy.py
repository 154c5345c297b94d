"""A service small enough to be checked by eye: it adds numbers, passes some on, rings bells.

With it come a log whose appends can be held back, a weather that is told what to do, and readers
that apply the rule of docs/architecture.md by hand, so that the kernel is not its own judge.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from prometheus_client import REGISTRY

from journal.log import Entry, Log, Place, Reader, Record, Writer
from journal.machine import Output
from journal.memory_log import FairWeather, Fate, MemoryLog, Weather
from journal.processor import Ending, Processor
from journal.records import (
    Advanced,
    KernelRecord,
    Opened,
    RecordRejected,
    link_entry,
    opened_entry,
    request_entry,
)
from journal.service import Service, Tuning
from journal.topics import ServiceTopics, dead_letter_spec
from messages.wire import Codec, encode, type_name


class Add(msgspec.Struct, frozen=True, kw_only=True, tag="toy.Add.v1"):
    """Add to a total, and pass it on to the topic `pass_on`."""

    key: str
    amount: int = 1
    pass_on: str = ""
    padding: str = ""


class Remind(msgspec.Struct, frozen=True, kw_only=True, tag="toy.Remind.v1"):
    key: str
    at_ms: int


class Ignore(msgspec.Struct, frozen=True, kw_only=True, tag="toy.Ignore.v1"):
    """Gives no event."""


class Added(msgspec.Struct, frozen=True, kw_only=True, tag="toy.Added.v1"):
    key: str
    amount: int
    pass_on: str = ""
    padding: str = ""


class Reminded(msgspec.Struct, frozen=True, kw_only=True, tag="toy.Reminded.v1"):
    key: str
    at_ms: int


class Rang(msgspec.Struct, frozen=True, kw_only=True, tag="toy.Rang.v1"):
    key: str
    now_ms: int


Message = Add | Remind | Ignore
Event = Added | Reminded | Rang
INPUTS: Codec[Message] = Codec(Message)
EVENTS: Codec[Any] = Codec(Event | KernelRecord)


class Part(msgspec.Struct, frozen=True, tag="toy.Part.v1"):
    """One chunk of a snapshot: one total, or one bell."""

    key: str
    total: int = 0
    at_ms: int = 0


class Counter:
    """Totals by key, and bells still to ring."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.bells: dict[str, int] = {}

    def decide(self, message: Message, now_ms: int) -> Sequence[Event]:
        match message:
            case Add():
                return (
                    Added(
                        key=message.key,
                        amount=message.amount,
                        pass_on=message.pass_on,
                        padding=message.padding,
                    ),
                )
            case Remind():
                return (Reminded(key=message.key, at_ms=message.at_ms),)
            case Ignore():
                return ()

    def evolve(self, event: Event) -> None:
        match event:
            case Added():
                self.totals[event.key] = self.totals.get(event.key, 0) + event.amount
            case Reminded():
                self.bells[event.key] = event.at_ms
            case Rang():
                del self.bells[event.key]

    def outputs(self, event: Event) -> Sequence[Output]:
        if isinstance(event, Added) and event.pass_on:
            told = Add(key=event.key, amount=event.amount)
            # What is not the toys' own has two partitions, as its owner says.
            count = 0 if event.pass_on in (PING.input, PONG.input) else 2
            return (Output(event.pass_on, event.key, type_name(told), encode(told), count),)
        return ()

    def key_of(self, event: Event) -> str:
        return event.key

    def next_due_ms(self) -> int | None:
        return min(self.bells.values(), default=None)

    def fire(self, now_ms: int) -> Sequence[Event]:
        due = [key for key, at_ms in self.bells.items() if at_ms <= now_ms]
        return (Rang(key=due[0], now_ms=now_ms),) if due else ()

    def snapshot(self) -> Iterable[bytes]:
        parts = [Part(key, total=total) for key, total in self.totals.items()]
        parts += [Part(key, at_ms=at_ms) for key, at_ms in self.bells.items()]
        return map(encode, parts)

    def restore(self, chunk: bytes) -> None:
        part = msgspec.json.decode(chunk, type=Part)
        if part.at_ms:
            self.bells[part.key] = part.at_ms
        else:
            self.totals[part.key] = part.total


QUICK = Tuning(idle_wait_ms=20, first_pause_s=0.001, max_pause_s=0.01, snapshot_every=1_000_000)
PING, PONG = ServiceTopics("ping"), ServiceTopics("pong")
INPUT, JOURNAL = Place(PING.input, 0), Place(PING.journal, 0)
FAR_INPUT, FAR_JOURNAL = Place(PONG.input, 0), Place(PONG.journal, 0)
SNAPSHOTS = Place(PING.snapshots, 0)


def toy(
    topics: ServiceTopics = PING,
    *,
    partitions: int = 1,
    machine: Callable[[], Counter] = Counter,
    tuning: Tuning = QUICK,
) -> Service[Message, Event]:
    return Service(
        topics=topics,
        partitions=partitions,
        machine=lambda _partition: machine(),
        inputs=INPUTS,
        events=EVENTS,
        routes={PING.input: partitions, PONG.input: partitions},
        tuning=tuning,
    )


class SetClock:
    """Stands still until it is set."""

    def __init__(self, now_ms: int = 1_000) -> None:
        self.now = now_ms

    def now_ms(self) -> int:
        return self.now


class Script(FairWeather):
    """Fair, but for the fates foretold: place -> what becomes of its next appends, in order."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.foretold: dict[Place, deque[Fate]] = {}
        self._late_s = late_s

    def foretell(self, place: Place, *fates: Fate) -> None:
        self.foretold.setdefault(place, deque()).extend(fates)

    def fate(self, place: Place) -> Fate:
        waiting = self.foretold.get(place)
        return waiting.popleft() if waiting else Fate.ACKNOWLEDGED

    def late_s(self, place: Place) -> float:
        return self._late_s


class Hold:
    """Appends to one place stop twice: before they land (`land`) and before they are
    acknowledged (`acknowledge`), each until its event is set."""

    def __init__(self) -> None:
        self.arrived, self.land = asyncio.Event(), asyncio.Event()
        self.landed, self.acknowledge = asyncio.Event(), asyncio.Event()

    def let_go(self) -> None:
        self.land.set()
        self.acknowledge.set()


class ToyLog(MemoryLog):
    """A log in memory that can hold appends back and knows what was not closed."""

    def __init__(self, weather: Weather | None = None) -> None:
        super().__init__(weather)
        self.holds: dict[Place, Hold] = {}
        self.unclosed: set[Writer | Reader] = set()
        self.empty_reads = 0

    def hold(self, place: Place, *, until_acknowledged: bool = False) -> Hold:
        """`until_acknowledged`: let appends land, hold back only the acknowledgement."""
        hold = self.holds[place] = Hold()
        if until_acknowledged:
            hold.land.set()
        return hold

    def let_go(self, place: Place) -> None:
        self.holds.pop(place).let_go()

    def writer(self) -> Writer:
        return _Counted(self, _HeldWriter(self, super().writer()))

    def reader(self, starts: Mapping[Place, int]) -> Reader:
        return _CountedReader(self, super().reader(starts))


class _HeldWriter:
    def __init__(self, log: ToyLog, inner: Writer) -> None:
        self._log = log
        self._inner = inner
        self.max_batch_bytes = inner.max_batch_bytes

    async def append(self, place: Place, entries: Sequence[Entry]) -> int:
        hold = self._log.holds.get(place)
        if hold is not None:
            hold.arrived.set()
            await hold.land.wait()
        offset = await self._inner.append(place, entries)
        if hold is not None:
            hold.landed.set()
            await hold.acknowledge.wait()
        return offset

    async def close(self) -> None:
        await self._inner.close()


class _Counted:
    def __init__(self, log: ToyLog, inner: Writer) -> None:
        self._log = log
        self._inner = inner
        self.max_batch_bytes = inner.max_batch_bytes
        log.unclosed.add(self)

    async def append(self, place: Place, entries: Sequence[Entry]) -> int:
        return await self._inner.append(place, entries)

    async def close(self) -> None:
        self._log.unclosed.discard(self)
        await self._inner.close()


class _CountedReader:
    def __init__(self, log: ToyLog, inner: Reader) -> None:
        self._log = log
        self._inner = inner
        log.unclosed.add(self)

    async def read(self, max_records: int, wait_ms: int) -> Mapping[Place, Sequence[Record]]:
        found = await self._inner.read(max_records, wait_ms)
        self._log.empty_reads += not found
        return found

    async def close(self) -> None:
        self._log.unclosed.discard(self)
        await self._inner.close()


async def topics(log: Log, partitions: int = 1) -> None:
    await log.create([*PING.specs(partitions), *PONG.specs(partitions), dead_letter_spec(1)])


async def toy_log(weather: Weather | None = None) -> ToyLog:
    log = ToyLog(weather)
    await topics(log)
    return log


def request(message: Message) -> Entry:
    """A message as an outsider sends it: without a number."""
    return request_entry("k", encode(message), type_name(message), "/test", "r")


def numbered(number: int, message: Message, source: str = "away.journal/0") -> Entry:
    """A message as another partition sends it."""
    return link_entry("k", encode(message), type_name(message), source.encode(), number)


def opened_by(owner: str, partitions: int = 1, place: Place = JOURNAL) -> Entry:
    return opened_entry(Opened(owner=owner, partitions=partitions, at_ms=0), str(place))


def valid(records: Iterable[Record]) -> list[tuple[int, Any]]:
    """The events that count, with their offsets: the rule of section 2, applied by hand."""
    counting: list[tuple[int, Any]] = []
    epoch = -1
    for record in records:
        headers = dict(record.headers)
        if "ce_epoch" not in headers:
            if headers.get("ce_type") != b"journal.Opened.v1":
                continue
            epoch = record.offset
        elif epoch < 0 or headers["ce_epoch"] != str(epoch).encode():
            continue
        counting.append((record.offset, EVENTS.decode(record.value)))
    return counting


def events(log: MemoryLog, place: Place = JOURNAL) -> list[Event]:
    """The service's own events that count."""
    kernel = Opened | Advanced | RecordRejected
    return [event for _, event in valid(log.records[place]) if not isinstance(event, kernel)]


def total(log: MemoryLog, key: str = "k", place: Place = JOURNAL) -> int:
    """What a key's total is, by the events that count."""
    counter = Counter()
    for event in events(log, place):
        counter.evolve(event)
    return counter.totals.get(key, 0)


def advances(log: MemoryLog, place: Place = JOURNAL) -> list[Advanced]:
    return [event for _, event in valid(log.records[place]) if isinstance(event, Advanced)]


def openings(log: MemoryLog, place: Place = JOURNAL) -> int:
    return sum(isinstance(event, Opened) for _, event in valid(log.records[place]))


def metric(name: str, service: str = "ping", partition: int = 0) -> float:
    labels = {"service": service, "partition": str(partition)}
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for a condition. Fails when it has not come true in time."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.001)


async def nothing_more(log: ToyLog) -> None:
    """Wait until the owner has found nothing to do several times over."""
    enough = log.empty_reads + 5
    await until(lambda: log.empty_reads >= enough)


async def turns(count: int = 200) -> None:
    """Let everything that can go on go on: in memory, nothing takes longer than turns."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def owner(
    log: Log,
    service: Service[Any, Any],
    name: str = "first",
    *,
    clock: SetClock | None = None,
    partition: int = 0,
) -> AsyncGenerator[asyncio.Task[Ending]]:
    """A processor at work; crashes at the end of the block if it has not ended by itself."""
    processor = Processor(log, service, partition, name, clock or SetClock())
    task = asyncio.create_task(processor.run())
    working = asyncio.create_task(processor.working.wait())
    try:
        await asyncio.wait({task, working}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        working.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ended(task: asyncio.Task[Ending]) -> Ending:
    async with asyncio.timeout(10):
        return await task
