"""What the logs say, read anew: the reader rule and the JSON, with none of the services' code.

The invariants are computed on this, so that a mistake in the kernel or in a service can't hide
behind itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from journal.log import Place, Record
from journal.memory_log import MemoryRecord
from messages.routing import partition_of

SAGA_INPUT: Final = "orchestrator.input"
SAGA_JOURNAL: Final = "orchestrator.journal"
ACCOUNT_INPUT: Final = "account.input"
ACCOUNT_JOURNAL: Final = "account.journal"
CLAIMS_INPUT: Final = "claims.input"
CLAIMS_JOURNAL: Final = "claims.journal"
ANSWERS_OF: Final = {SAGA_JOURNAL: "orchestrator.answers", ACCOUNT_JOURNAL: "account.answers"}
_OWN: Final = (SAGA_JOURNAL, ACCOUNT_JOURNAL)

_OPENED: Final = b"journal.Opened.v1"
_TOLD: Final = frozenset(
    "saga." + name
    for name in (
        "SagaStarted",
        "StartRepeated",
        "StartRefused",
        "CompensationStarted",
        "SagaCompleted",
        "SagaCompensated",
        "SagaParked",
        "SagaResumed",
        "RecoveryAccepted",
        "RecoveryRepeated",
        "RecoveryRefused",
        "StepWaiting",
        "WaitEnded",
        "SignalAccepted",
        "SignalRepeated",
        "SignalRefused",
    )
)


class Fact(NamedTuple):
    """A journal record that counts. `type` without its version, e.g. `account.Debited`."""

    place: Place
    offset: int
    type: str
    fields: dict[str, Any]


_SILENT: Final = frozenset(("participant.EffectBegun", "participant.EffectJoined"))
"""What a participant answers nothing to: it will, when it has an outcome."""


class Journal(NamedTuple):
    """One journal partition: what counts, how many records do not, and how many owners it had."""

    place: Place
    facts: list[Fact]
    void: int
    openings: int

    @property
    def epoch(self) -> int:
        """The one in force at the end; -1: none yet."""
        opened = (f.offset for f in reversed(self.facts) if f.type == "journal.Opened")
        return next(opened, -1)


class Histories(NamedTuple):
    """All that the logs hold. `records`: every place, as written."""

    records: dict[Place, list[MemoryRecord]]
    sagas: list[Journal]
    accounts: list[Journal]
    outside: list[Journal]
    partitions: int

    @property
    def claims(self) -> list[Journal]:
        return [one for one in self.outside if one.place.topic == CLAIMS_JOURNAL]

    @property
    def carried(self) -> list[Journal]:
        """Those of whoever is outside the bank."""
        return [one for one in self.outside if one.place.topic != CLAIMS_JOURNAL]

    @property
    def projected(self) -> list[Journal]:
        """Those of the bank itself: a participant's is none of the read model's."""
        return [*self.sagas, *self.accounts]

    @property
    def journals(self) -> list[Journal]:
        return [*self.projected, *self.outside]

    def until(self, ends: Mapping[Place, int]) -> "Histories":
        """The bank's own facts before these offsets."""

        def cut(journal: Journal) -> Journal:
            facts = [fact for fact in journal.facts if fact.offset < ends[journal.place]]
            return journal._replace(facts=facts)

        sagas, accounts = [*map(cut, self.sagas)], [*map(cut, self.accounts)]
        return self._replace(sagas=sagas, accounts=accounts, outside=[])


_decoder = msgspec.json.Decoder(dict[str, Any])


def read(records: dict[Place, list[MemoryRecord]], partitions: int) -> Histories:
    sagas, accounts = (
        [read_journal(Place(topic, p), records[Place(topic, p)]) for p in range(partitions)]
        for topic in _OWN
    )
    outside = [
        read_journal(place, held)
        for place, held in records.items()
        if place.topic.endswith(".journal") and place.topic not in _OWN
    ]
    return Histories(records, sagas, accounts, outside, partitions)


def input_of(journal: Place) -> Place:
    """Where the owner of a journal's partition reads."""
    return journal._replace(topic=journal.topic.removesuffix("journal") + "input")


def read_journal(place: Place, records: Sequence[Record]) -> Journal:
    facts: list[Fact] = []
    epoch, void, openings = b"none", 0, 0
    for record in records:
        headers = dict(record.headers)
        written_by = headers.get("ce_epoch")
        if written_by is None and headers.get("ce_type") == _OPENED:
            epoch = str(record.offset).encode()
            openings += 1
        elif written_by != epoch:
            void += 1
            continue
        fields = fields_of(record)
        facts.append(Fact(place, record.offset, fields["type"].rpartition(".")[0], fields))
    return Journal(place, facts, void, openings)


def fields_of(record: Record) -> dict[str, Any]:
    return _decoder.decode(record.value or b"")


def destination(fact: Fact, partitions: int) -> str:
    """Where a message goes because of `fact`, as `topic/partition`; empty: nowhere."""
    fields = fact.fields
    if fact.type == "saga.StepRequested":
        count = fields.get("partitions") or partitions
        return f"{fields['topic']}/{partition_of(fields['key'], count)}"
    if fact.type == "saga.ParentAnswered":
        return f"{SAGA_INPUT}/{partition_of(fields['parent']['saga_id'], partitions)}"
    if fact.type in _SILENT:
        return ""
    if fact.type == "journal.RecordRejected":
        return "deadletter/0"
    if fields.get("reply_to") and fields.get("saga_id"):
        return f"{fields['reply_to']}/{partition_of(fields['saga_id'], partitions)}"
    if fact.type.startswith("account.") or fact.type in _TOLD:
        return str(Place(ANSWERS_OF[fact.place.topic], fact.place.partition))
    return ""


def text_header(record: Record, name: str) -> str | None:
    for key, value in record.headers:
        if key == name:
            return value.decode(errors="replace")
    return None
