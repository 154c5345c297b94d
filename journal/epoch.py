"""One ownership of one partition: state, journal tail and outbox that live and end together.

An epoch is used once. Whoever gives it up gives up everything in it: an append or a send that
comes back later finds nobody, because the next epoch is another object with another state.
"""

import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import structlog

from journal import snapshots
from journal.log import (
    AppendInDoubt,
    Entry,
    Headers,
    Log,
    LogError,
    Place,
    Reader,
    Record,
    Writer,
)
from journal.machine import Machine, Output
from journal.metrics import PartitionMetrics
from journal.outbox import Outbox
from journal.progress import Progress, ProgressState, Verdict
from journal.records import (
    EPOCH,
    SEQUENCE,
    SOURCE,
    EventEntries,
    RecordRejected,
    answer_entry,
    header,
    is_opened,
    journal_named,
    link_entry,
)
from journal.service import Service
from journal.snapshots import Found
from journal.topics import ANSWERS, DEAD_LETTERS
from messages.routing import partition_of
from messages.wire import Undecodable, encode, type_name

M = TypeVar("M")
E = TypeVar("E")

log_event = structlog.get_logger("journal.epoch")

_RECORD_OVERHEAD_BYTES = 200

MAX_SOURCES: Final = 10_000
"""Links into one partition; what a stranger calls itself must not fill our memory."""

MAX_REASON: Final = 500
MAX_KEPT_HEADERS_BYTES: Final = 256 * 1024
_SNAPSHOT_BYTES_PER_RECORD = 100
_REJECTED_TYPE = type_name(RecordRejected)


class Deposed(Exception):
    """Another owner has opened the partition: this one stops and releases nothing more."""

    def __init__(self, place: Place, epoch: int, by_offset: int) -> None:
        super().__init__(f"the owner of {place} since {epoch} was deposed at offset {by_offset}")
        self.place = place
        self.by_offset = by_offset


class RecordsLost(Exception):
    """The journal no longer holds records that it had acknowledged."""

    def __init__(self, place: Place, expected: int, found: int) -> None:
        super().__init__(
            f"{place} had acknowledged everything before offset {expected}, yet wrote the next "
            f"batch at {found}: acknowledged records are gone, and what was sent because of them "
            "is out. Look for an unclean leader election, or for a topic that was made anew beside "
            "its old snapshots; see 'A journal that lost records' in docs/operations.md."
        )
        self.place = place
        self.expected = expected
        self.found = found


class Epoch(Generic[M, E]):
    """Made by `journal.opening.open_epoch`. `take` and `fire` decide, `commit` makes it count."""

    def __init__(
        self,
        *,
        log: Log,
        service: Service[M, E],
        place: Place,
        offset: int,
        machine: Machine[M, E],
        progress: Progress,
        writer: Writer,
        outbox: Outbox,
        metrics: PartitionMetrics,
        last: Entry,
        found: Found,
        folded: int,
    ) -> None:
        self.offset = offset
        self.machine = machine
        self.progress = progress
        self.outbox = outbox
        self._log = log
        self._service = service
        self._place = place
        self._source = str(place).encode()
        self._next = offset + 1
        self._writer = writer
        self._metrics = metrics
        self._entries = EventEntries(offset, str(place))
        self._batch: list[Entry] = []
        self._batch_bytes = 0
        self._outputs: list[tuple[int, Place, int, Output]] = []
        self._last_entry = last
        self._last_snapshot = found.snapshot.manifest if found.snapshot else None
        self._stale = found.stale
        self._snapshot_number = 0
        self._since_snapshot = folded

    @property
    def next_offset(self) -> int:
        """One after the last record that the journal has acknowledged to this epoch."""
        return self._next

    @property
    def batch_bytes(self) -> int:
        return self._batch_bytes

    # Deciding

    def take(self, record: Record, topic: str, now_ms: int) -> None:
        """Handle one input record: count it once, decide, fold, note what has to be sent."""
        self._entries.at_ms = now_ms
        self.progress.input_next = record.offset + 1
        source = sequence = None
        for name, value in record.headers:
            if name == SOURCE:
                source = value
            elif name == SEQUENCE:
                sequence = value
        if sequence is not None and not self._counts(record, topic, source, sequence):
            return
        try:
            message = self._service.inputs.decode(record.value)
        except Undecodable as error:
            self._reject(record, topic, error.reason)
            return
        events = self.machine.decide(message, now_ms)
        if events and (astray := self._astray(self.machine.key_of(events[0]))):
            self._reject(record, topic, astray)
            return
        for event in events:
            self._fold(event)

    def _astray(self, key: str) -> str:
        """Why `key` is none of this partition's; empty if it is. A client with another
        partitioner must not make a second account of the same name."""
        home = partition_of(key, self._service.partitions)
        if home == self._place.partition:
            return ""
        return f"{key} belongs to partition {home} (murmur2 of the key, as Kafka's Java client)"

    def _counts(self, record: Record, topic: str, source: bytes | None, sequence: bytes) -> bool:
        """Whether a link's record is its next one; that is then noted, and what is malformed is
        rejected."""
        progress = self.progress
        number = int(sequence) if sequence.isdigit() and len(sequence) < 19 else -1
        sender = None if source is None else journal_named(source)
        if sender is None or number < 1:
            self._reject(record, topic, "the link's source or sequence is malformed")
            return False
        if not progress.knows(sender) and len(progress.received) >= MAX_SOURCES:
            self._reject(record, topic, f"more than {MAX_SOURCES} sources send to us")
            return False
        verdict = progress.judge(sender, number)
        if verdict is Verdict.NEXT:
            progress.accept(sender, number)
            return True
        if verdict is Verdict.DUPLICATE:
            self._metrics.duplicates.inc()
        else:
            self._metrics.gaps.inc()
            log_event.warning("link_gap", place=str(self._place), source=sender, sequence=number)
        return False

    def fire(self, now_ms: int) -> int:
        """Decide for one aggregate whose timer is due; how many events that gave."""
        self._entries.at_ms = now_ms
        events = self.machine.fire(now_ms)
        for event in events:
            self._fold(event)
        return len(events)

    def _fold(self, event: E) -> None:
        machine, index = self.machine, len(self._batch)
        self._add(event, machine.key_of(event))
        machine.evolve(event)
        for output in machine.outputs(event):
            place = self._service.route(output)
            self._outputs.append((index, place, self.progress.next_sequence(place), output))

    def _reject(self, record: Record, topic: str, reason: str) -> None:
        rejected = RecordRejected(
            topic=topic,
            partition=self._place.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            reason=reason[:MAX_REASON],
            key=record.key,
            value=record.value,
            headers=_kept(record.headers),
        )
        self._metrics.dead_letters.inc()
        log_event.warning("record_rejected", topic=topic, offset=record.offset, reason=reason[:200])
        self._add(rejected, dead_letter_key(rejected))
        enqueue_dead_letter(self.progress, self._source, rejected)

    def _add(self, event: Any, key: str) -> None:
        entry = self._entries.entry(event, key, self._next + len(self._batch))
        self._batch.append(entry)
        self._batch_bytes += len(entry.value or b"") + _RECORD_OVERHEAD_BYTES

    # Making it count

    async def commit(self, now_ms: int) -> None:
        """Append the batch and release its outputs. Nothing to do when nothing happened.

        Raises AppendInDoubt, Deposed or RecordsLost: the epoch is over, nothing of the batch was
        released.
        """
        if not self._batch and not self.progress.changed:
            return
        self._entries.at_ms = now_ms
        self._add(self.progress.close_batch(now_ms), "")
        batch = self._batch
        self._batch, self._batch_bytes = [], 0
        began = time.perf_counter()
        first = await self._writer.append(self._place, batch)
        if first != self._next:
            await self._look_between(self._next, first)
        self._next = first + len(batch)
        # Not before: an answer tells where its event stands.
        for index, place, sequence, output in self._outputs:
            enqueue_output(self.progress, place, sequence, output, self._source, first + index)
        self._outputs.clear()
        self._last_entry = batch[-1]
        self._since_snapshot += len(batch)
        self._metrics.commit_s.observe(time.perf_counter() - began)
        self._metrics.events.inc(len(batch))
        self.outbox.release()

    async def _look_between(self, expected: int, first: int) -> None:
        """Somebody else wrote before our batch: harmless, unless it was an `Opened`."""
        if first < expected:
            raise RecordsLost(self._place, expected, first)
        reader = self._log.reader({self._place: expected})
        try:
            position = expected
            while position < first:
                for record in await _read(reader, self._place, position):
                    # Offsets that are never handed out (a stranger's transaction) end it too.
                    position = record.offset + 1
                    if record.offset >= first:
                        break
                    if is_opened(record.headers):
                        raise Deposed(self._place, self.offset, record.offset)
                    if header(record.headers, EPOCH) == b"%d" % self.offset:
                        # Every other reader counts it: nothing of ours may be there unseen.
                        raise AppendInDoubt(self._place, "a record of our own came between")
                    self._metrics.void.inc()
        finally:
            await reader.close()

    # Snapshots

    def snapshot_due(self) -> bool:
        """Whether enough was folded since the last snapshot. The larger the last one was, the
        longer the wait, so that snapshots cost a bounded share of the work."""
        size = self._last_snapshot.bytes if self._last_snapshot is not None else 0
        return self._since_snapshot >= max(
            self._service.tuning.snapshot_every, size // _SNAPSHOT_BYTES_PER_RECORD
        )

    def begin_snapshot(self) -> Coroutine[Any, Any, None]:
        """Take hold of the state as of this call (right after a commit); awaiting the result
        writes it while the epoch works on."""
        self._snapshot_number += 1
        self._since_snapshot = 0
        last = self._last_entry
        return self._write_snapshot(
            self._snapshot_number,
            self._next,
            snapshots.mark(last.value, last.headers),
            self.progress.state(),
            self.machine.snapshot(),
        )

    async def _write_snapshot(
        self,
        number: int,
        journal_next: int,
        mark: int,
        progress: ProgressState,
        chunks: Iterable[bytes],
    ) -> None:
        place = Place(self._service.topics.snapshots, self._place.partition)
        try:
            manifest = await snapshots.save(
                self._log,
                place,
                epoch=self.offset,
                number=number,
                journal_next=journal_next,
                mark=mark,
                progress=progress,
                chunks=chunks,
            )
            # With it goes what crashes and deposed owners have left half done.
            if self._last_snapshot is not None:
                self._stale += snapshots.keys_of(self._last_snapshot)
            await snapshots.forget(self._log, place, self._stale)
            self._stale = []
        except LogError as error:
            # Only a cache: the next one is tried when it is due again.
            log_event.warning("snapshot_failed", place=str(place), cause=str(error))
            return
        self._last_snapshot = manifest
        log_event.info("snapshot_saved", place=str(place), journal_next=journal_next)

    async def close(self) -> None:
        await self._writer.close()


def _kept(headers: Headers) -> list[tuple[str, bytes]]:
    """The headers of a rejected record, cut off where they would not fit into a journal record:
    JSON writes up to six bytes for one of a name's."""
    kept: list[tuple[str, bytes]] = []
    left = MAX_KEPT_HEADERS_BYTES
    for name, value in headers:
        left -= 6 * len(name) + 2 * len(value or b"") + 10
        if left < 0:
            kept.append(("makegood_headers_left_out", b"%d" % (len(headers) - len(kept))))
            break
        kept.append((name, bytes(value or b"")))
    return kept


def enqueue_output(
    progress: Progress, place: Place, sequence: int, output: Output, source: bytes, offset: int
) -> None:
    """`offset`: where the event that it follows from stands in the journal `source`."""
    key, kind, value = output.key, output.type, output.value
    if output.topic == ANSWERS:
        entry = answer_entry(key, value, kind, source, sequence, offset)
    else:
        entry = link_entry(key, value, kind, source, sequence)
    progress.enqueue(place, sequence, entry)


def dead_letter_key(rejected: RecordRejected) -> str:
    return f"{rejected.topic}/{rejected.partition}/{rejected.offset}"


def enqueue_dead_letter(progress: Progress, source: bytes, rejected: RecordRejected) -> None:
    """The copy for the dead-letter topic: an output like any other, so it is never lost."""
    place = Place(DEAD_LETTERS, 0)
    sequence = progress.next_sequence(place)
    entry = link_entry(
        dead_letter_key(rejected), encode(rejected), _REJECTED_TYPE, source, sequence
    )
    progress.enqueue(place, sequence, entry)


async def _read(reader: Reader, place: Place, position: int) -> Sequence[Record]:
    while True:
        records = (await reader.read(500, 1000)).get(place)
        if records:
            return records
        log_event.info("waiting_for_journal", place=str(place), position=position)
