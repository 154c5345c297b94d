"""The log port: partitioned, append-only topics. Kafka is the real one (`kafka_log`), `memory_log`
the deterministic one; `tests/journal/test_log_conformance.py` holds both to what is said here.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec


class Place(NamedTuple):
    """One partition of one topic, by its logical name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"

    @classmethod
    def named(cls, name: str) -> "Place":
        """The place whose `str` is `name`."""
        topic, _, partition = name.rpartition("/")
        return cls(topic, int(partition))


@lru_cache(maxsize=65_536)
def place_of(topic: str, partition: int) -> Place:
    """The one `Place` that stands for all of its kind: every record needs one."""
    return Place(topic, partition)


Headers = Sequence[tuple[str, bytes]]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record to append. `timestamp_ms`: what the log is told about its time; None: now."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


class Record(Protocol):
    """A record as read. `timestamp` is ms since 1970."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class TopicSpec(NamedTuple):
    """`config`: Kafka's topic settings, e.g. {"cleanup.policy": "compact"}."""

    name: str
    partitions: int
    config: Mapping[str, str] = {}


class LogError(Exception):
    """Anything that went wrong between us and the log."""


class LogUnreachable(LogError):
    """No broker answered within the bound. Nothing was written; try again later."""

    def __init__(self, address: str, waited_s: float, cause: str) -> None:
        super().__init__(
            f"Kafka at {address} did not answer within {waited_s:.0f} s ({cause}). "
            "Check that it runs and that MAKEGOOD_KAFKA_BOOTSTRAP names it."
        )
        self.address = address
        self.waited_s = waited_s


class AppendInDoubt(LogError):
    """The append may or may not have happened, now or later. The writer must be discarded."""

    def __init__(self, place: Place, cause: str) -> None:
        super().__init__(f"append to {place} is in doubt: {cause}")
        self.place = place


class BatchTooLarge(LogError):
    """The entries do not fit into one batch. Nothing was written."""

    def __init__(self, place: Place, entries: int, limit_bytes: int) -> None:
        super().__init__(
            f"{entries} records for {place} do not fit into one batch of {limit_bytes} bytes"
        )
        self.place = place


class PositionLost(LogError):
    """The log no longer holds the position asked for: records were deleted before being read."""

    def __init__(self, place: Place, position: int, first: int, end: int) -> None:
        super().__init__(
            f"{place} holds offsets {first}..{end - 1}, but offset {position} is needed next. "
            "Records were deleted (retention) or the topic was made anew; see docs/operations.md."
        )
        self.place = place
        self.position = position


class RecordUnreadable(LogError):
    """The client can't even take the record apart, e.g. a header's name that is not UTF-8."""

    def __init__(self, place: str, position: int, cause: str) -> None:
        super().__init__(
            f"{place} holds a record at or soon after offset {position} that can't be taken apart "
            f"({cause}). See 'A record that can't be read' in docs/operations.md."
        )
        self.position = position


class Writer(Protocol):
    """Appends batches. After any `AppendInDoubt` it is spent: close it and take a new one."""

    @property
    def max_batch_bytes(self) -> int: ...

    async def append(self, place: Place, entries: Sequence[Entry]) -> int:
        """Append all entries as ONE batch, whole or not at all, replicated as the topic demands.

        Returns the first entry's offset; the others follow without gaps. Two appends to one
        place, one awaited after the other, land in that order.
        Raises AppendInDoubt, BatchTooLarge.
        """
        ...

    async def close(self) -> None: ...


class Reader(Protocol):
    """Reads some partitions in order, from given offsets."""

    async def read(self, max_records: int, wait_ms: int) -> Mapping[Place, Sequence[Record]]:
        """What has come since the last call: at once when there is something, else waits up to
        `wait_ms`; empty after that. Raises PositionLost, RecordUnreadable; reconnects by itself.
        """
        ...

    async def close(self) -> None: ...


class Log(Protocol):
    """Topics are named logically; the adapter may add a prefix."""

    async def partitions(self, topic: str) -> int:
        """How many partitions; 0 when the topic does not exist."""
        ...

    async def create(self, topics: Sequence[TopicSpec]) -> None:
        """Create those that do not exist yet; the others stay as they are."""
        ...

    async def bounds(self, place: Place) -> tuple[int, int]:
        """The first offset held, and the next one to be written. A leader that `is_alone` may give
        an end that is too low, until another replica is in sync."""
        ...

    async def is_alone(self, place: Place) -> bool:
        """Whether the leader is in sync with none of its other replicas."""
        ...

    def writer(self) -> Writer: ...

    def reader(self, starts: Mapping[Place, int]) -> Reader: ...
