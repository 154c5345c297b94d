"""What a service brings to the kernel: the folded state of one partition, as plain functions.

A machine never awaits, reads no clock and draws no random number: time is passed in, and its
state is a function of the events it has evolved. The kernel throws a machine away together with
its epoch, so it may change in place.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec


class Output(msgspec.Struct, frozen=True, gc=False):
    """A message that has to be sent because of an event: `value` is its wire form.

    `topic` is a participant's input, or `journal.topics.ANSWERS` for what whoever asked from
    outside waits to hear: `key` is then the event's own key, and an event has one answer at most.
    `partitions`: how many the topic has; 0: as the service's routes say. An event that names a
    topic of somebody else's has to record it: read again, it must go to the same place.
    """

    topic: str
    key: str
    type: str
    value: bytes
    partitions: int = 0


M = TypeVar("M", contravariant=True)
E = TypeVar("E")


class Machine(Protocol[M, E]):
    """The state of one partition of a service."""

    def decide(self, message: M, now_ms: int) -> Sequence[E]:
        """The events that follow from an input, in order. Changes nothing; never raises for
        bad content: a refusal is an event. At least one event for every input."""
        ...

    def evolve(self, event: E) -> None:
        """Fold one event. Must not look at anything but the state and the event."""
        ...

    def outputs(self, event: E) -> Sequence[Output]:
        """What has to be sent because of `event`: a function of the event alone, whatever the
        state, for it is asked again when the journal is read after a crash."""
        ...

    def key_of(self, event: E) -> str:
        """The aggregate id of `event`: the record's key."""
        ...

    def next_due_ms(self) -> int | None:
        """When the earliest timer may be due (ms since 1970); None without timers. It may be
        too early: `fire` decides."""
        ...

    def fire(self, now_ms: int) -> Sequence[E]:
        """The events of ONE aggregate whose timer is due at `now_ms`, not yet evolved; empty
        when none is due. May tidy its timer queue, which is not part of the folded state."""
        ...

    def snapshot(self) -> Iterable[bytes]:
        """The folded state in chunks of about 64 KiB, as of the moment of this call: chunks may
        be produced lazily while the machine evolves on."""
        ...

    def restore(self, chunk: bytes) -> None:
        """Take in one chunk of `snapshot`; chunks come in any order, before any event."""
        ...
