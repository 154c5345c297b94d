"""A process of the bank that can be killed, frozen and started again.

Its memory is a `Host` and what hangs on it; its only way to the world is a log that holds every
operation back while the process is frozen. What was on its way when it died may still arrive.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from journal.host import Host
from journal.log import Entry, Log, Place, Reader, Record, TopicSpec, Writer
from journal.machine import Machine
from journal.memory_log import MemoryLog
from journal.service import Service
from participant.machine import EffectMachine
from participant.work import Work
from simulation.weather import SeededWeather, SkewedClock


class Gate:
    """Open while the process runs."""

    def __init__(self) -> None:
        self.frozen = False
        self.appending = 0
        """How many appends are under way."""
        self._thawed = asyncio.Event()

    def freeze(self) -> None:
        self.frozen = True
        self._thawed.clear()

    def thaw(self) -> None:
        self.frozen = False
        self._thawed.set()

    async def passed(self) -> None:
        while self.frozen:
            await self._thawed.wait()


class GatedLog(Log):
    """The bank's log as one process sees it. Readers come back from a wait for records after
    `idle_s` at the earliest, for whoever has nothing else to do; and with something to read they
    gather `linger_s` more of it. Either saves steps that nothing depends on."""

    def __init__(
        self,
        log: MemoryLog,
        weather: SeededWeather,
        gate: Gate,
        *,
        idle_s: float = 0.0,
        linger_s: float = 0.0,
    ) -> None:
        self._log = log
        self._weather = weather
        self._gate = gate
        self._idle_ms = round(idle_s * 1000)
        self._linger_s = linger_s
        self._readers: dict[Place, Any] = {}

    def nudge(self, place: Place) -> None:
        """Whoever waits for records of `place` comes back to look at something else."""
        if place in self._readers:
            self._readers[place].wake(place)

    async def partitions(self, topic: str) -> int:
        return await self._log.partitions(topic)

    async def create(self, topics: Sequence[TopicSpec]) -> None:
        await self._log.create(topics)

    async def bounds(self, place: Place) -> tuple[int, int]:
        await self._gate.passed()
        return await self._log.bounds(place)

    async def is_alone(self, place: Place) -> bool:
        return await self._log.is_alone(place)

    def writer(self) -> Writer:
        return _GatedWriter(self._log, self._weather, self._gate)

    def reader(self, starts: Mapping[Place, int]) -> Reader:
        inner = self._log.reader(starts)
        self._readers.update(dict.fromkeys(starts, inner))
        return _GatedReader(inner, self._gate, self._idle_ms, self._linger_s)


class _GatedWriter:
    def __init__(self, log: MemoryLog, weather: SeededWeather, gate: Gate) -> None:
        self._log = log
        self._inner = log.writer()
        self._weather = weather
        self._gate = gate

    @property
    def max_batch_bytes(self) -> int:
        return self._inner.max_batch_bytes

    async def append(self, place: Place, entries: Sequence[Entry]) -> int:
        self._gate.appending += 1
        try:
            return await self._append(place, entries)
        finally:
            self._gate.appending -= 1

    async def _append(self, place: Place, entries: Sequence[Entry]) -> int:
        if self._gate.frozen:
            await self._gate.passed()
        try:
            offset = await self._inner.append(place, entries)
        except asyncio.CancelledError:
            # The writer is gone, the batch may be on the wire.
            if self._weather.lands_after_crash():
                loop = asyncio.get_running_loop()
                delay_s = self._weather.append_s(place)
                loop.call_later(delay_s, self._log.land, place, list(entries))
            raise
        if self._gate.frozen:
            await self._gate.passed()
        return offset

    async def close(self) -> None:
        await self._inner.close()


class _GatedReader:
    def __init__(self, inner: Reader, gate: Gate, idle_ms: int, linger_s: float) -> None:
        self._inner = inner
        self._gate = gate
        self._idle_ms = idle_ms
        self._linger_s = linger_s

    async def read(self, max_records: int, wait_ms: int) -> Mapping[Place, Sequence[Record]]:
        if self._gate.frozen:
            await self._gate.passed()
        if self._linger_s:
            await asyncio.sleep(self._linger_s)
        found = await self._inner.read(max_records, max(wait_ms, self._idle_ms))
        if self._gate.frozen:
            await self._gate.passed()
        return found

    async def close(self) -> None:
        await self._inner.close()


class Process:
    """One process of one service. `assigned` is what the group membership told it last; `employ`
    gives an outside participant's handlers for one life."""

    def __init__(
        self,
        name: str,
        log: MemoryLog,
        weather: SeededWeather,
        service: Service[Any, Any],
        clock: SkewedClock,
        employ: Callable[[Gate], Work] | None = None,
    ) -> None:
        self.name = name
        self.service = service.topics.name
        self.clock = clock
        self.assigned: frozenset[int] = frozenset()
        self.machines: dict[int, Machine[Any, Any]] = {}
        """The last machine made for each partition: the state that its owner works on."""
        self.running = False
        self.restores = 0
        self.halted: list[str] = []
        self._log = log
        self._weather = weather
        self._service = msgspec.structs.replace(service, machine=self._machine)
        self._make = service.machine
        self._lives = 0
        self._gate = Gate()
        self._employ = employ
        self._work: Work | None = None
        self._endings: list[asyncio.Task[None]] = []
        self._seen = GatedLog(log, weather, self._gate)
        self._host: Host[Any, Any] | None = None
        self._watched: list[asyncio.Task[None]] = []

    @property
    def frozen(self) -> bool:
        return self._gate.frozen

    @property
    def appending(self) -> int:
        """How many of its appends are under way: its state may be ahead of its journals by them."""
        return self._gate.appending

    @property
    def working(self) -> set[int]:
        return self._host.working if self._host is not None else set()

    def start(self) -> None:
        assert not self.running
        self.running = True
        self._lives += 1
        self._gate = Gate()
        owner = f"{self.name}.{self._lives}"
        self._seen = GatedLog(self._log, self._weather, self._gate)
        service = self._service
        if self._employ is not None:
            self._work = self._employ(self._gate)
            service = msgspec.structs.replace(service, watcher=self._work)
        host = self._host = Host(self._seen, service, owner, self.clock)
        self._watched.append(asyncio.create_task(host.broken(), name=f"broken-{owner}"))
        host.own(self.assigned)

    def assign(self, partitions: frozenset[int]) -> None:
        """Told at once if it can listen; a frozen process learns of it when it thaws."""
        self.assigned = partitions
        if self._host is not None and not self.frozen:
            self._host.own(partitions)

    def freeze(self) -> None:
        self._gate.freeze()

    def thaw(self, *, tell: bool) -> None:
        """Go on as if nothing had been; `tell`: the membership reaches it at once."""
        self._gate.thaw()
        if tell:
            self.assign(self.assigned)

    def crash(self) -> None:
        """Every task ends at the await it stands at; its memory is gone."""
        self._note_halts()
        if self._host is not None:
            self._host.own(frozenset())
        if self._work is not None:
            self._endings.append(asyncio.create_task(self._work.drain(0.0)))
        self._host = self._work = None
        self.running = False

    def troubles(self) -> list[str]:
        """Processors that halted or broke, in any life of this process."""
        self._note_halts()
        return self.halted + [
            f"{task.get_name()}: {task.exception()!r}"
            for task in self._watched
            if task.done() and not task.cancelled()
        ]

    def _note_halts(self) -> None:
        if self._host is not None:
            self.halted += [f"{self.name} halted on {p}" for p in sorted(self._host.halted)]
            self._host.halted.clear()

    def _machine(self, partition: int) -> Machine[Any, Any]:
        machine = self._make(partition)
        restore = machine.restore

        def counted(chunk: bytes) -> None:
            self.restores += 1
            restore(chunk)

        # Seen from outside the same machine; only that it was restored is remembered.
        setattr(machine, "restore", counted)  # noqa: B010
        if isinstance(machine, EffectMachine):
            self._listen(machine, Place(self._service.topics.input, partition))
        self.machines[partition] = machine
        return machine

    def _listen(self, machine: EffectMachine, place: Place) -> None:
        """Let the owner look when a handler has said something, and not every 20 ms."""
        hear, seen = machine.hear, self._seen

        def heard(*said: Any) -> None:
            hear(*said)
            seen.nudge(place)

        setattr(machine, "hear", heard)  # noqa: B010
