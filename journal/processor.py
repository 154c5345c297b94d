"""The owner of one partition at work: read inputs, decide, append, release; again and again.

While an append is under way, inputs gather; all of them go into the next batch (group commit).
Any doubt about an append ends the epoch and opens a new one.
"""

import asyncio
from collections import deque
from enum import Enum, auto
from typing import Final, Generic, TypeVar

import structlog

from journal.clock import Clock
from journal.epoch import Deposed, Epoch, RecordsLost
from journal.log import (
    BatchTooLarge,
    Log,
    LogError,
    Place,
    PositionLost,
    Record,
    RecordUnreadable,
)
from journal.metrics import PartitionMetrics
from journal.opening import HistoryRejected, JournalCorrupt, open_epoch
from journal.progress import SentMismatch
from journal.service import Service

M = TypeVar("M")
E = TypeVar("E")

log_event = structlog.get_logger("journal.processor")


_HALTS: Final = (
    JournalCorrupt,
    HistoryRejected,
    SentMismatch,
    PositionLost,
    RecordsLost,
    RecordUnreadable,
    BatchTooLarge,
)
"""What trying again can't cure: a person decides."""


HOLD_MS: Final = 8
"""How long one batch's decisions hold the loop before others are let on. The longest decision
known, the start of a payroll of 10,000 legs, takes 10 ms: together less than 20."""


class Ending(Enum):
    """Why a processor stopped by itself."""

    DEPOSED = auto()
    """Another owner took the partition."""
    HALTED = auto()
    """The partition needs a person; the reason was logged and `makegood_partition_halted` is 1."""


class Processor(Generic[M, E]):
    """`run` owns `partition` until it is cancelled, deposed or halted."""

    def __init__(
        self, log: Log, service: Service[M, E], partition: int, owner: str, clock: Clock
    ) -> None:
        self._log = log
        self._service = service
        self._partition = partition
        self._owner = owner
        self._clock = clock
        self._place = service.topics.journal_at(partition)
        self._input = Place(service.topics.input, partition)
        self._metrics = PartitionMetrics(service.topics.name, partition)
        self._acknowledged = 0
        self.working = asyncio.Event()
        """Set while an epoch is open and handles inputs."""

    async def run(self) -> Ending:
        failures = 0
        while True:
            try:
                epoch = await open_epoch(
                    self._log,
                    self._service,
                    self._partition,
                    self._owner,
                    self._clock,
                    self._metrics,
                    self._pause,
                    self._acknowledged,
                )
                failures = 0
                try:
                    await self._work(epoch)
                finally:
                    self._acknowledged = epoch.next_offset
            except Deposed as deposed:
                log_event.warning("owner_deposed", place=str(self._place), why=str(deposed))
                return Ending.DEPOSED
            except _HALTS as error:
                self._metrics.halted.set(1)
                log_event.critical("partition_halted", place=str(self._place), why=str(error))
                return Ending.HALTED
            except LogError as error:
                failures += 1
                log_event.warning("epoch_given_up", place=str(self._place), cause=str(error))
                await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        tuning = self._service.tuning
        await asyncio.sleep(min(tuning.max_pause_s, tuning.first_pause_s * 2 ** min(failures, 16)))

    async def _work(self, epoch: Epoch[M, E]) -> None:
        outbox = asyncio.create_task(epoch.outbox.run())
        snapshot: asyncio.Task[None] | None = None
        reader = self._log.reader({self._input: epoch.progress.input_next})
        backlog: deque[Record] = deque()
        tuning = self._service.tuning
        try:
            epoch.outbox.release()
            self._committed(epoch)
            self.working.set()
            while True:
                await _room(outbox, epoch, tuning.max_unconfirmed)
                if not backlog:
                    found = await reader.read(tuning.max_batch_records, self._wait_ms(epoch))
                    backlog.extend(found.get(self._input, ()))
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        # A client library has swallowed the cancellation of its wait.
                        raise asyncio.CancelledError
                now_ms = max(self._clock.now_ms(), epoch.progress.at_ms)
                await self._decide(epoch, backlog, now_ms)
                await epoch.commit(now_ms)
                self._committed(epoch)
                if epoch.snapshot_due() and (snapshot is None or snapshot.done()):
                    snapshot = asyncio.create_task(epoch.begin_snapshot())
        finally:
            self.working.clear()
            if self._service.watcher is not None:
                self._service.watcher.ended(self._partition)
            tasks = [task for task in (outbox, snapshot) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await reader.close()
            await epoch.close()

    def _committed(self, epoch: Epoch[M, E]) -> None:
        if self._service.watcher is not None:
            self._service.watcher.committed(self._partition, epoch.machine)

    def _wait_ms(self, epoch: Epoch[M, E]) -> int:
        due_ms = epoch.machine.next_due_ms()
        idle_ms = self._service.tuning.idle_wait_ms
        if due_ms is None:
            return idle_ms
        return max(0, min(idle_ms, due_ms - self._clock.now_ms()))

    async def _decide(self, epoch: Epoch[M, E], backlog: deque[Record], now_ms: int) -> None:
        tuning = self._service.tuning
        turn = _Turn(self._clock)
        # Timers first, up to half the batch: under a backlog of inputs they would never come up.
        handled = await self._fire(epoch, now_ms, tuning.max_batch_records // 2 or 1, turn)
        taken = 0
        while (
            backlog
            and handled < tuning.max_batch_records
            and epoch.batch_bytes < tuning.max_batch_bytes
        ):
            epoch.take(backlog.popleft(), self._input.topic, now_ms)
            handled += 1
            taken += 1
            await turn.taken()
        self._metrics.inputs.inc(taken)
        await self._fire(epoch, now_ms, tuning.max_batch_records - handled, turn)

    async def _fire(self, epoch: Epoch[M, E], now_ms: int, most: int, turn: "_Turn") -> int:
        """Let timers that are due fire, at most `most`; how many did."""
        fired = 0
        while (
            fired < most
            and epoch.batch_bytes < self._service.tuning.max_batch_bytes
            and (due_ms := epoch.machine.next_due_ms()) is not None
            and due_ms <= now_ms
        ):
            epoch.fire(now_ms)
            fired += 1
            await turn.taken()
        return fired


class _Turn:
    """How long the loop has been held. A clock that jumps only lets others on too soon."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_ms = clock.now_ms()

    async def taken(self) -> None:
        """A decision was taken: the batch goes on when others have had their turn, if it is due."""
        if abs(self._clock.now_ms() - self._began_ms) >= HOLD_MS:
            await asyncio.sleep(0)
            self._began_ms = self._clock.now_ms()


async def _room(outbox: asyncio.Task[None], epoch: Epoch[M, E], limit: int) -> None:
    """Wait for the outbox to have room; an outbox that broke breaks the epoch."""
    if outbox.done():
        outbox.result()
    if epoch.outbox.unconfirmed() < limit:
        return
    room = asyncio.create_task(epoch.outbox.room(limit))
    try:
        await asyncio.wait({outbox, room}, return_when=asyncio.FIRST_COMPLETED)
        if outbox.done():
            outbox.result()
    finally:
        room.cancel()
