"""From journal records to one batch of row changes: the reader rule, decoding and folding; pure.

A batch holds the changes of some records and, for each partition, from where to where they lead.
Whoever writes both in one transaction, and only if the stored positions are still those that the
batch begins with, applies every record once.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from journal.epochs import EpochRule
from journal.log import Place, Record
from journal.opening import PartitionsChanged, decode_event
from journal.records import TYPE, Advanced, KernelRecord, Opened, RecordRejected, header
from messages.account import AccountEvent
from messages.saga import SagaEvent, SagaStarted
from messages.wire import Codec, type_name
from read_model.position import Position
from read_model.projection import HISTORY_ONLY, WITHOUT_TRACE, Changes

ACCOUNT_JOURNAL: Final = "account.journal"
SAGA_JOURNAL: Final = "orchestrator.journal"

CODECS: Final[dict[str, Codec[Any]]] = {
    ACCOUNT_JOURNAL: Codec(AccountEvent | KernelRecord),
    SAGA_JOURNAL: Codec(SagaEvent | KernelRecord),
}
"""The journals that are projected, and how their records are decoded."""

# Two thirds of all records. Any other type is decoded, so one that nobody knows is noticed.
_SKIPPED: Final = frozenset(
    type_name(kind).encode() for kind in (*WITHOUT_TRACE, Advanced, RecordRejected)
)
_HISTORY_ONLY: Final = frozenset(type_name(kind).encode() for kind in HISTORY_ONLY)


class Move(msgspec.Struct, frozen=True):
    """One partition's way through a batch."""

    before: Position
    after: Position


class Batch:
    """`records` counts all that were read, `void` those of deposed writers among them; `size`: of
    all their values, in bytes."""

    __slots__ = ("changes", "moves", "records", "size", "void")

    def __init__(self) -> None:
        self.changes = Changes()
        self.moves: dict[Place, Move] = {}
        self.records = 0
        self.size = 0
        self.void = 0


class Cursor:
    """Reads on in one partition; `partitions` is how many its topic has."""

    __slots__ = ("_at", "_codec", "_partitions", "_place", "_rule")

    def __init__(self, place: Place, at: Position, partitions: int) -> None:
        self._place = place
        self._at = at
        self._partitions = partitions
        self._rule = EpochRule(at.epoch)
        self._codec = CODECS[place.topic]

    def fold(self, records: Sequence[Record], batch: Batch) -> None:
        """Add the next records of the partition to `batch`.

        Raises JournalCorrupt or PartitionsChanged; the batch then ends before the record that
        was at fault and can still be written.
        """
        rule, changes = self._rule, batch.changes
        add, remember, started = changes.add, changes.remember, changes.remember_start
        place, codec, partition = self._place, self._codec, self._place.partition
        of_sagas = place.topic == SAGA_JOURNAL
        history_only: frozenset[bytes] = _HISTORY_ONLY if of_sagas else frozenset()
        void_before, next_offset, folded = rule.void, self._at.next_offset, 0
        epoch = rule.epoch
        try:
            for record in records:
                if rule.admits(record):
                    headers = record.headers
                    # The writer puts the type second; the slow path serves foreign writers.
                    if len(headers) > 1 and headers[1][0] == TYPE:
                        kind = headers[1][1]
                    else:
                        kind = header(headers, TYPE)
                    if kind in history_only:
                        remember(record)
                    elif kind not in _SKIPPED:
                        event = decode_event(codec, place, record)
                        if type(event) is Opened:
                            self._check(event)
                        else:
                            add(event, partition)
                            if type(event) is SagaStarted:
                                started(event, record)
                            elif of_sagas:
                                remember(record)
                next_offset = record.offset + 1
                epoch = rule.epoch
                folded += 1
        finally:
            batch.records += folded
            batch.size += sum(len(record.value or b"") for record in records)
            batch.void += rule.void - void_before
            if folded:
                self._move(batch, Position(next_offset, epoch))

    def _move(self, batch: Batch, after: Position) -> None:
        earlier = batch.moves.get(self._place)
        batch.moves[self._place] = Move(earlier.before if earlier else self._at, after)
        self._at = after

    def _check(self, opened: Opened) -> None:
        if opened.partitions != self._partitions:
            raise PartitionsChanged(self._place.topic, opened.partitions, self._partitions)
