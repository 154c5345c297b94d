"""Taking a partition over: append `Opened`, then read the journal up to it.

Whatever was in doubt before is now either ahead of our `Opened`, and counts, or behind it, and
is void. Nothing is guessed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from journal import snapshots
from journal.clock import Clock
from journal.epoch import Deposed, Epoch, RecordsLost, enqueue_dead_letter, enqueue_output
from journal.epochs import EpochRule
from journal.log import Log, LogError, Place, PositionLost, Record
from journal.machine import Machine
from journal.metrics import PartitionMetrics
from journal.outbox import Outbox
from journal.progress import Progress
from journal.records import Advanced, Opened, RecordRejected, is_opened, opened_entry
from journal.service import Service
from journal.snapshots import Found, Manifest, Snapshot
from messages.wire import Codec, Undecodable

M = TypeVar("M")
E = TypeVar("E")

log_event = structlog.get_logger("journal.opening")

_READ_RECORDS = 5000
_ASKED_TIMES = 40
"""Over a minute."""
_HEARD_OF_TIMES = 50


class JournalCorrupt(Exception):
    """A valid journal record can't be decoded. Skipping it could lose money: a person decides."""

    def __init__(self, place: Place, offset: int, reason: str) -> None:
        super().__init__(
            f"{place} offset {offset} can't be decoded: {reason}. The partition stays stopped, "
            "because skipping an event could lose money. Deploy the version that wrote it, or "
            "see 'A journal record that can't be decoded' in docs/operations.md."
        )
        self.place = place
        self.offset = offset


class HistoryRejected(Exception):
    """A valid journal record does not follow on those before it, or this code can't fold it."""

    def __init__(self, place: Place, offset: int, cause: Exception) -> None:
        super().__init__(
            f"{place} offset {offset} can't be folded: {cause}. The partition stays stopped: what "
            "it would decide from here could be wrong. Run `makegood audit`; see 'A journal that "
            "can't be folded' in docs/operations.md."
        )
        self.place = place
        self.offset = offset


class PartitionsChanged(Exception):
    """The service's partition count is not the one its journal was made with."""

    def __init__(self, topic: str, recorded: int, found: int) -> None:
        super().__init__(
            f"{topic} has {found} partitions instead of the {recorded} that its journal was made "
            "with, or that MAKEGOOD_PARTITIONS says. Keys would belong to other partitions than "
            "their history: refusing to start. Restore the topic or the setting; to change the "
            "count, copy the journal into a new one."
        )
        self.topic = topic
        self.recorded = recorded
        self.found = found


async def check_partitions(log: Log, service: Service[Any, Any]) -> None:
    """Raises PartitionsChanged when input and journal do not match, or changed since the first
    record of the journal was written."""
    journal, inputs = service.topics.journal, service.topics.input
    for topic in (journal, inputs):
        count = await partitions_of(log, topic)
        if count != service.partitions:
            raise PartitionsChanged(topic, service.partitions, count)
    for partition in range(service.partitions):
        place = service.topics.journal_at(partition)
        first, end = await log.bounds(place)
        if first >= end:
            continue
        opened = await _first_opened(log, service, place, first, end)
        if opened is not None and opened.partitions != service.partitions:
            raise PartitionsChanged(journal, opened.partitions, service.partitions)


async def partitions_of(log: Log, topic: str) -> int:
    """How many partitions the topic has, 0 if there is none for 5 s: one that was just made is not
    known to every broker at once."""
    for _ in range(_HEARD_OF_TIMES):
        if count := await log.partitions(topic):
            return count
        await asyncio.sleep(0.1)
    return 0


async def _first_opened(
    log: Log, service: Service[Any, Any], place: Place, first: int, end: int
) -> Opened | None:
    """The first `Opened` of a journal partition; strangers' records before it are void."""
    reader = log.reader({place: first})
    try:
        position = first
        while position < end:
            for record in (await reader.read(1, 1000)).get(place, ()):
                position = record.offset + 1
                if is_opened(record.headers):
                    opened: Opened = decode_event(service.events, place, record)
                    return opened
    finally:
        await reader.close()
    return None


async def open_epoch(
    log: Log,
    service: Service[M, E],
    partition: int,
    owner: str,
    clock: Clock,
    metrics: PartitionMetrics,
    pause: Callable[[int], Awaitable[None]],
    acknowledged: int = 0,
) -> Epoch[M, E]:
    """Own `partition` from here on. `acknowledged`: the journal's end as this process last knew
    it. Raises LogError (try again) or Deposed, JournalCorrupt,
    HistoryRejected, SentMismatch, PositionLost, RecordsLost."""
    began = time.perf_counter()
    place = service.topics.journal_at(partition)
    opened = Opened(owner=owner, partitions=service.partitions, at_ms=clock.now_ms())
    found = await _snapshot(log, Place(service.topics.snapshots, partition))
    if found.snapshot is not None:
        acknowledged = max(acknowledged, found.snapshot.manifest.journal_next)
    # Before the append: every try of a partition that lost records would else hide the loss more.
    await _check_end(log, place, acknowledged, pause)
    if found.snapshot is not None:
        await _check_mark(log, place, found.snapshot.manifest)
    writer = log.writer()
    entry = opened_entry(opened, str(place))
    try:
        offset = await writer.append(place, [entry])
        replay = await _restored(service, place, partition, found.snapshot)
        await replay.until(log, offset)
    except BaseException:
        await writer.close()
        raise
    metrics.openings.inc()
    metrics.restore_s.set(time.perf_counter() - began)
    log_event.info(
        "partition_opened",
        place=str(place),
        epoch=offset,
        from_snapshot=replay.from_snapshot,
        folded=replay.folded,
        took_ms=round((time.perf_counter() - began) * 1000),
    )
    return Epoch(
        log=log,
        service=service,
        place=place,
        offset=offset,
        machine=replay.machine,
        progress=replay.progress,
        writer=writer,
        outbox=Outbox(log, replay.progress, metrics, pause, service.owns),
        metrics=metrics,
        last=entry,
        found=found,
        folded=replay.folded,
    )


async def _snapshot(log: Log, place: Place) -> Found:
    try:
        return await snapshots.load(log, place)
    except LogError as error:
        # Only a cache; if Kafka is away, the append says so.
        log_event.warning("snapshot_not_loaded", place=str(place), cause=str(error))
        return Found(None, [])


async def _check_end(
    log: Log, place: Place, acknowledged: int, pause: Callable[[int], Awaitable[None]]
) -> None:
    """Raises RecordsLost when the journal is shorter than what it has acknowledged. A broker that
    is not the leader any more, or has just become it, does not know the end: it is asked several
    times. A leader that is alone can't know it, and would refuse appends: LogError."""
    for attempt in range(1, _ASKED_TIMES + 1):
        _, end = await log.bounds(place)
        if end >= acknowledged:
            return
        if await log.is_alone(place):
            raise LogError(f"{place} has but one replica in sync, which does not know its end yet")
        if attempt == _ASKED_TIMES:
            raise RecordsLost(place, acknowledged, end)
        await pause(attempt)


async def _check_mark(log: Log, place: Place, manifest: Manifest) -> None:
    """Raises RecordsLost when the snapshot is of a journal that is not this one any more."""
    at = manifest.journal_next - 1
    reader = log.reader({place: at})
    try:
        records = (await reader.read(1, 5000)).get(place, ())
    except PositionLost:
        # Records from before the snapshot are gone; what is needed is what comes after it.
        return
    finally:
        await reader.close()
    for record in records[:1]:
        if record.offset != at or snapshots.mark(record.value, record.headers) != manifest.mark:
            raise RecordsLost(place, manifest.journal_next, at)


async def _restored(
    service: Service[M, E], place: Place, partition: int, snapshot: Snapshot | None
) -> "Replay[M, E]":
    """A replay that begins with the snapshot, if that can be read by this version."""
    machine = service.machine(partition)
    if snapshot is not None:
        try:
            for chunk in snapshot.chunks:
                machine.restore(chunk)
                # A large state must not hold the loop that serves other partitions.
                await asyncio.sleep(0)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log_event.warning(
                "snapshot_of_another_format", place=str(place), cause=str(error)[:200]
            )
            machine, snapshot = service.machine(partition), None
    return Replay(service, place, machine, snapshot)


class Replay(Generic[M, E]):
    """Folds a journal partition into a machine, from the beginning or from the snapshot that the
    machine has restored."""

    def __init__(
        self,
        service: Service[M, E],
        place: Place,
        machine: Machine[M, E],
        snapshot: Snapshot | None,
    ) -> None:
        self._service = service
        self._place = place
        self.machine = machine
        self.from_snapshot = snapshot is not None
        self._source = str(place).encode()
        self.folded = 0
        if snapshot is None:
            self._position: int | None = None
            self._rule = EpochRule()
            self.progress = Progress(place)
        else:
            self._position = snapshot.manifest.journal_next
            self._rule = EpochRule(snapshot.manifest.epoch)
            self.progress = Progress.of(place, snapshot.progress)

    async def until(self, log: Log, opened_at: int) -> None:
        """Fold everything before our own `Opened` at `opened_at`."""
        position = self._position
        if position is None:
            position, _ = await log.bounds(self._place)
            if position != 0:
                raise PositionLost(self._place, 0, position, opened_at + 1)
        reader = log.reader({self._place: position})
        try:
            while position <= opened_at:
                records = (await reader.read(_READ_RECORDS, 1000)).get(self._place, ())
                for record in records:
                    position = record.offset + 1
                    if record.offset < opened_at:
                        self._fold(record)
                    elif record.offset == opened_at:
                        if not is_opened(record.headers):
                            raise Deposed(self._place, opened_at, record.offset)
                    elif is_opened(record.headers):
                        raise Deposed(self._place, opened_at, record.offset)
                # A long journal must not hold the loop that serves other partitions.
                await asyncio.sleep(0)
        finally:
            await reader.close()

    def _fold(self, record: Record) -> None:
        if not self._rule.admits(record):
            return
        self.folded += 1
        event = decode_event(self._service.events, self._place, record)
        if isinstance(event, Advanced):
            self.progress.replay(event)
        elif isinstance(event, RecordRejected):
            enqueue_dead_letter(self.progress, self._source, event)
        elif not isinstance(event, Opened):
            try:
                self.machine.evolve(event)
            except Exception as error:
                raise HistoryRejected(self._place, record.offset, error) from error
            for output in self.machine.outputs(event):
                place = self._service.route(output)
                sequence = self.progress.next_sequence(place)
                enqueue_output(self.progress, place, sequence, output, self._source, record.offset)


def decode_event(codec: Codec[Any], place: Place, record: Record) -> Any:
    """The event in a record that counts. Raises JournalCorrupt."""
    try:
        return codec.decode(record.value)
    except Undecodable as error:
        raise JournalCorrupt(place, record.offset, error.reason) from error
