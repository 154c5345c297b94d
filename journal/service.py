"""What makes a service out of a machine: its topics, its codecs and its numbers."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from journal.log import Place, place_of
from journal.machine import Machine, Output
from journal.topics import ANSWERS, DEAD_LETTERS, ServiceTopics
from messages.routing import partition_of
from messages.wire import Codec

M = TypeVar("M")
E = TypeVar("E")


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a processor. Every queue and every batch has one."""

    max_batch_records: int = 500
    """Inputs and timers decided before the next append; bounds the time the loop is held."""
    max_batch_bytes: int = 1024 * 1024
    """A batch is closed when its entries reach this; one input may add up to 2 MiB more."""
    max_unconfirmed: int = 20_000
    """Outputs waiting for the bank's own topics before the processor stops taking inputs."""
    snapshot_every: int = 20_000
    """Journal records between two snapshots, at least."""
    idle_wait_ms: int = 1000
    first_pause_s: float = 0.05
    max_pause_s: float = 2.0


class Watcher(Protocol):
    """Acts on a partition's state outside of the journal, on nothing that a crash could undo."""

    def committed(self, partition: int, machine: Machine[Any, Any]) -> None:
        """All that `machine` has folded is in the journal. Called when the partition is open and
        after every batch; must not wait and must not change the machine's folded state."""
        ...

    def ended(self, partition: int) -> None:
        """The partition is not owned any more; it may be opened again, with another machine."""
        ...


class Service(msgspec.Struct, Generic[M, E], frozen=True):
    """`inputs` decodes the input topic, `events` the journal (the service's events and the
    kernel's own records). `routes`: topic -> partition count, for the bank's own topics that it
    sends to; outputs for other topics say it themselves. `watcher` is told of every commit."""

    topics: ServiceTopics
    partitions: int
    machine: Callable[[int], Machine[M, E]]
    inputs: Codec[M]
    events: Codec[Any]
    routes: Mapping[str, int]
    tuning: Tuning = Tuning()
    watcher: Watcher | None = None

    def route(self, output: Output) -> Place:
        if output.topic == DEAD_LETTERS:
            return place_of(output.topic, 0)
        if output.topic == ANSWERS:
            return place_of(self.topics.answers, partition_of(output.key, self.partitions))
        count = output.partitions or self.routes[output.topic]
        return place_of(output.topic, partition_of(output.key, count))

    def owns(self, topic: str) -> bool:
        """Whether the topic is the bank's own, so that waiting for it is right when it is slow."""
        return topic in (DEAD_LETTERS, self.topics.answers) or topic in self.routes
