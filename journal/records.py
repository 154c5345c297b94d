"""How the kernel's own facts and everybody's events stand in a journal.

Headers are CloudEvents attributes in Kafka's binary mode. Two extensions carry the protocol:
`ce_epoch` (a journal record's writer) and `ce_sequence` (a link's number, with `ce_source`).
"""

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from journal.log import Entry, Headers
from messages.wire import encode, type_name

EPOCH: Final = "ce_epoch"
TYPE: Final = "ce_type"
SOURCE: Final = "ce_source"
SEQUENCE: Final = "ce_sequence"
ID: Final = "ce_id"
"""Unique in its journal partition, void records included."""
_SPEC: Final = ("ce_specversion", b"1.0")
_SOURCE: Final = re.compile(rb"[A-Za-z0-9._-]{1,100}/[0-9]{1,6}")


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="journal.Opened.v1"):
    """`owner` took the partition over; this record's offset is the epoch of what it appends.

    `partitions` is the service's partition count: it must never change, for keys would move.
    """

    owner: str
    partitions: int
    at_ms: int


class Advanced(msgspec.Struct, frozen=True, kw_only=True, tag="journal.Advanced.v1"):
    """Closes every batch: how far the partition has come with it. Only what changed is listed.

    `input_next`: the next input offset to handle. `received`: source -> last sequence accepted.
    `sent`: destination -> last sequence given out. `released`: destination -> last sequence that
    its topic has confirmed.
    """

    input_next: int
    at_ms: int
    received: dict[str, int] = {}
    sent: dict[str, int] = {}
    released: dict[str, int] = {}


class RecordRejected(msgspec.Struct, frozen=True, kw_only=True, tag="journal.RecordRejected.v1"):
    """An input that nobody can decode, kept whole; a copy goes to the dead-letter topic."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    reason: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


KernelRecord = Opened | Advanced | RecordRejected

_OPENED: Final = type_name(Opened).encode()


def header(headers: Headers, name: str) -> bytes | None:
    """The first value of the header `name`."""
    for key, value in headers:
        if key == name:
            return value
    return None


@lru_cache(maxsize=16_384)
def journal_named(source: bytes) -> str | None:
    """The journal partition that a link's source names; None: it names none."""
    return source.decode() if _SOURCE.fullmatch(source) else None


def opened_entry(opened: Opened, source: str) -> Entry:
    return Entry(
        None,
        encode(opened),
        ((TYPE, _OPENED), (SOURCE, source.encode()), (ID, opened.owner.encode()), _SPEC),
    )


def is_opened(headers: Headers) -> bool:
    """An `Opened` carries no epoch header at all, not even one without a value."""
    return header(headers, TYPE) == _OPENED and all(name != EPOCH for name, _ in headers)


class EventEntries:
    """Makes the entries of one epoch; what does not change from entry to entry is made once."""

    def __init__(self, epoch: int, source: str) -> None:
        self._epoch_header = (EPOCH, b"%d" % epoch)
        # Unique even against a void batch that expected the same offset.
        self._id = b"%d-%%d" % epoch
        self._source_header = (SOURCE, source.encode())
        self._types: dict[type[Any], tuple[str, bytes]] = {}
        self.at_ms: int | None = None
        """The time of what is decided: the broker's limit on times ahead must see this one, not
        the wall clock of the client."""

    def entry(self, event: object, key: str, offset: int) -> Entry:
        kind = type(event)
        type_header = self._types.get(kind)
        if type_header is None:
            type_header = self._types[kind] = (TYPE, type_name(kind).encode())
        return Entry(
            key.encode(),
            encode(event),
            (
                self._epoch_header,
                type_header,
                (ID, self._id % offset),
                self._source_header,
                _SPEC,
            ),
            self.at_ms,
        )


def link_entry(key: str, value: bytes, kind: str, source: bytes, sequence: int) -> Entry:
    """An output on its way: `source` and `sequence` let the receiver count it once."""
    return _numbered(key, value, kind, source, sequence, sequence)


def answer_entry(
    key: str, value: bytes, kind: str, source: bytes, sequence: int, offset: int
) -> Entry:
    """What is told because of the journal record at `offset` of `source`, which is its id."""
    return _numbered(key, value, kind, source, sequence, offset)


def _numbered(
    key: str, value: bytes, kind: str, source: bytes, sequence: int, identity: int
) -> Entry:
    number = b"%d" % sequence
    return Entry(
        key.encode(),
        value,
        (
            (SOURCE, source),
            (SEQUENCE, number),
            (TYPE, kind.encode()),
            (ID, number if identity == sequence else b"%d" % identity),
            _SPEC,
        ),
    )


def request_entry(key: str, value: bytes, kind: str, source: str, request_id: str) -> Entry:
    """A command from outside: no sequence; its effect id or saga id makes it safe to repeat."""
    return Entry(
        key.encode(),
        value,
        (
            (SOURCE, source.encode()),
            (TYPE, kind.encode()),
            (ID, request_id.encode()),
            _SPEC,
        ),
    )
