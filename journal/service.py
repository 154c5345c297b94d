"""What makes a service out of a machine: its topics, its codecs and its numbers."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from journal.log import Place
from journal.machine import Machine
from journal.topics import ANSWERS, DEAD_LETTERS, ServiceTopics
from messages.routing import partition_of
from messages.wire import Codec

M = TypeVar("M")
E = TypeVar("E")


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a processor. Every queue and every batch has one."""

    max_batch_records: int = 200
    """Inputs and timers decided before the next append; bounds the time the loop is held."""
    max_batch_bytes: int = 1024 * 1024
    """A batch is closed when its entries reach this; one input may add up to 2 MiB more."""
    max_unconfirmed: int = 20_000
    """Outputs waiting for their topic before the processor stops taking inputs."""
    snapshot_every: int = 20_000
    """Journal records between two snapshots, at least."""
    idle_wait_ms: int = 1000
    first_pause_s: float = 0.05
    max_pause_s: float = 2.0


class Service(msgspec.Struct, Generic[M, E], frozen=True):
    """`inputs` decodes the input topic, `events` the journal (the service's events and the
    kernel's own records). `routes`: topic -> partition count, for everything it sends to."""

    topics: ServiceTopics
    partitions: int
    machine: Callable[[int], Machine[M, E]]
    inputs: Codec[M]
    events: Codec[Any]
    routes: Mapping[str, int]
    tuning: Tuning = Tuning()

    def route(self, topic: str, key: str) -> Place:
        if topic == DEAD_LETTERS:
            return Place(topic, 0)
        if topic == ANSWERS:
            return Place(self.topics.answers, partition_of(key, self.partitions))
        return Place(topic, partition_of(key, self.routes[topic]))
