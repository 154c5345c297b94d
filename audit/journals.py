"""One journal partition as it is read: which records count, whether they decode and stand where
they belong, whether batches are closed, and whether the numbers of the links grow as they must.

The reader rule is written out here again, without `journal.epochs`: two readings of one sentence
of the design that have to agree.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

from audit.report import Findings
from journal.log import Place, Record
from journal.records import Advanced, KernelRecord, Opened, RecordRejected
from messages.account import AccountEvent
from messages.child import ParentAnswered
from messages.routing import partition_of
from messages.saga import SagaAccepted, SagaAnswer, SagaEvent, SagaStarted, StepRequested
from messages.wire import Codec, Undecodable, type_name
from participant.effects import EffectEvent, EffectSettled, EffectTold

ACCOUNTS: Final = "account.journal"
SAGAS: Final = "orchestrator.journal"
CLAIMS: Final = "claims.journal"
ACCOUNT_INPUT: Final = "account.input"
SAGA_INPUT: Final = "orchestrator.input"
CLAIM_INPUT: Final = "claims.input"
JOURNAL_OF: Final = {ACCOUNT_INPUT: ACCOUNTS, SAGA_INPUT: SAGAS, CLAIM_INPUT: CLAIMS}

_CODECS: Final[dict[str, Codec[Any]]] = {
    ACCOUNTS: Codec(AccountEvent | KernelRecord),
    SAGAS: Codec(SagaEvent | KernelRecord),
    CLAIMS: Codec(EffectEvent | KernelRecord),
}
_INPUT_OF: Final = {journal: topic for topic, journal in JOURNAL_OF.items()}
_KEY: Final = {ACCOUNTS: "account_id", SAGAS: "saga_id", CLAIMS: "key"}
"""The field of every event that is the key of its record."""
_SETTLED: Final = (EffectSettled, EffectTold)
_OPENED: Final = type_name(Opened).encode()
_DEAD_LETTERS: Final = "deadletter/0"
_TOLD: Final[frozenset[type]] = frozenset((SagaStarted, *get_args(SagaAnswer))) - {SagaAccepted}
"""Saga events that whoever asked is told of; of accounts' events, all that no saga is told of."""

Handler = Callable[[Any, Place, int], None]
"""Takes an event that counts, its place and its offset."""
Keeper = Callable[[Any, int, bytes], None]
"""Takes an event that counts, its offset and the value of its record."""


class Journal:
    """Fed every record of `place`, in order, from offset 0 up to `end`.

    `cut`: an earlier end of the journal (see `auditor.py`). `partitions`: input topic -> how many
    it has. `handle` gets the service's events, `keep` also what they were decoded from.
    """

    def __init__(
        self,
        place: Place,
        *,
        cut: int,
        end: int,
        partitions: Mapping[str, int],
        findings: Findings,
        handle: Handler,
        keep: Keeper | None = None,
    ) -> None:
        self.place = place
        self._answers = f"{place.topic.removesuffix('.journal')}.answers/{place.partition}"
        self.cut = cut
        self.end = end
        self.next_offset = 0
        self.epoch = -1
        self.records = 0
        self.void = 0
        self.last_timestamp = -1
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.received_at_cut: dict[str, int] = {}
        self._partitions = partitions
        self._count = partitions[_INPUT_OF[place.topic]]
        self._findings = findings
        self._handle = handle
        self._keep = keep
        self._codec = _CODECS[place.topic]
        self._epoch_header = b""
        self._input_next = 0
        self._released: dict[str, int] = {}
        self._given: dict[str, int] = {}
        self._open_since: int | None = None
        self._tags: dict[type[Any], bytes] = {}

    def read(self, records: Sequence[Record], until: int) -> None:
        """Fold the next records; those from offset `until` on are left out."""
        for record in records:
            offset = record.offset
            if offset >= until:
                self.next_offset = max(self.next_offset, until)
                break
            if offset != self.next_offset:
                self._violation(
                    "offset_missing", offset, "", f"offset {self.next_offset}", f"offset {offset}"
                )
            self.next_offset = offset + 1
            self.records += 1
            self.last_timestamp = record.timestamp
            self._fold(record, offset)

    def finish(self) -> None:
        """After the last record."""
        self._check_closed(self.end, "the end of the journal")

    def _fold(self, record: Record, offset: int) -> None:
        # The first value of a header counts.
        headers = dict(reversed(record.headers))
        epoch = headers.get("ce_epoch")
        kind = headers.get("ce_type")
        opens = "ce_epoch" not in headers and kind == _OPENED
        if opens:
            self._check_closed(offset, "another owner's Opened")
            self.epoch = offset
            self._epoch_header = b"%d" % offset
        elif self.epoch < 0 or epoch != self._epoch_header:
            self.void += 1
            return
        try:
            event = self._codec.decode(record.value)
        except Undecodable as error:
            self._violation("undecodable", offset, "", "an event of this journal", error.reason)
            return
        event_type = type(event)
        tag = self._tags.get(event_type)
        if tag is None:
            tag = self._tags[event_type] = type_name(event_type).encode()
        if kind != tag or (event_type is Opened) != opens:
            self._violation(
                "envelope",
                offset,
                "",
                f"the header ce_type {tag.decode()}, as the content says",
                f"{(kind or b'no ce_type').decode(errors='replace')}",
            )
        if event_type is Advanced:
            self._advance(event, offset)
        elif event_type is Opened:
            if event.partitions != self._count:
                self._violation(
                    "partitions_changed",
                    offset,
                    "",
                    f"{self._count} partitions, as the topic has",
                    f"opened as one of {event.partitions}",
                )
        else:
            self._event(event, event_type, record, offset)

    def _event(self, event: Any, event_type: type[Any], record: Record, offset: int) -> None:
        if self._open_since is None:
            self._open_since = offset
        if event_type is RecordRejected:
            self._give(_DEAD_LETTERS)
            return
        name: str = getattr(event, _KEY[self.place.topic])
        home = partition_of(name, self._count)
        if record.key != name.encode() or home != self.place.partition:
            self._violation(
                "envelope",
                offset,
                name,
                f"the key {name} in partition {home}",
                f"the key {(record.key or b'').decode(errors='replace')} "
                f"in partition {self.place.partition}",
            )
        self._send(event, event_type)
        self._handle(event, self.place, offset)
        if self._keep is not None:
            self._keep(event, offset, record.value or b"")

    # Links

    def _send(self, event: Any, event_type: type[Any]) -> None:
        """Count what goes out because of the event."""
        if self.place.topic == SAGAS:
            if event_type is StepRequested:
                self._route(event.topic, event.key)
            elif event_type is ParentAnswered:
                self._route(SAGA_INPUT, event.parent.saga_id)
            elif event_type in _TOLD:
                self._give(self._answers)
        elif self.place.topic == CLAIMS and event_type not in _SETTLED:
            return
        elif event.reply_to and event.saga_id:
            self._route(event.reply_to, event.saga_id)
        elif self.place.topic == ACCOUNTS:
            self._give(self._answers)

    def _route(self, topic: str, key: str) -> None:
        count = self._partitions.get(topic)
        if count:
            self._give(f"{topic}/{partition_of(key, count)}")

    def _give(self, destination: str) -> None:
        self._given[destination] = self._given.get(destination, 0) + 1

    def _advance(self, event: Advanced, offset: int) -> None:
        self._open_since = None
        if event.input_next < self._input_next:
            self._violation(
                "input_position",
                offset,
                "",
                f"input_next {self._input_next} or more",
                f"{event.input_next}",
            )
        self._input_next = event.input_next
        for source, number in event.received.items():
            last = self.received.get(source, 0)
            if number <= last:
                self._violation(
                    "link_received", offset, source, f"a number above {last}", f"{number}"
                )
            self.received[source] = number
            if offset < self.cut:
                self.received_at_cut[source] = number
        self._advance_sent(event, offset)
        for destination, number in event.released.items():
            last = self._released.get(destination, 0)
            sent = self.sent.get(destination, 0)
            if not last < number <= sent:
                self._violation(
                    "link_released",
                    offset,
                    destination,
                    f"a number above {last}, up to {sent}, the last one given out",
                    f"{number}",
                )
            self._released[destination] = number

    def _advance_sent(self, event: Advanced, offset: int) -> None:
        given, self._given = self._given, {}
        for destination in sorted(given.keys() | event.sent.keys()):
            before = self.sent.get(destination, 0)
            number = event.sent.get(destination, before)
            derived = before + given.get(destination, 0)
            known = destination in given or destination.rpartition("/")[0] in self._partitions
            if number != derived if known else number <= before:
                self._violation(
                    "link_sent",
                    offset,
                    destination,
                    f"number {derived}, as the batch's events give out",
                    f"{number}",
                )
            self.sent[destination] = number

    def _check_closed(self, offset: int, what: str) -> None:
        if self._open_since is not None:
            self._violation(
                "batch_open",
                self._open_since,
                "",
                "an Advanced at the end of the batch that begins here",
                f"{what} at offset {offset}",
            )
        self._open_since = None
        self._given = {}

    def _violation(self, check: str, offset: int, subject: str, expected: str, found: str) -> None:
        self._findings.add(check, self.place, offset, subject, expected, found)
