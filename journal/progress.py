"""How far one partition has come: input position and links, folded like everything else.

A link is the stream from one journal partition to one input partition. Its sender numbers what it
sends, its receiver remembers the last number, so each message counts once: memory is
O(partitions), not O(messages).
"""

from collections import deque
from enum import Enum, auto

import msgspec

from journal.log import Entry, Place
from journal.records import Advanced


class Verdict(Enum):
    """What a receiver makes of a numbered message."""

    NEXT = auto()
    DUPLICATE = auto()
    GAP = auto()


class SentMismatch(Exception):
    """Reading the journal again, this code derives other outputs than the code that wrote it."""

    def __init__(self, place: Place, destination: str, recorded: int, derived: int) -> None:
        super().__init__(
            f"{place}: the journal records {recorded} messages sent to {destination}, but the "
            f"present code derives {derived} from the same events. Outputs of recorded events "
            "must not change: restore the old derivation or give the event a new type."
        )
        self.place = place


class ProgressState(msgspec.Struct, frozen=True):
    """The wire form of `Progress` in a snapshot; `waiting` are outputs not confirmed yet."""

    input_next: int
    at_ms: int
    received: dict[str, int]
    sent: dict[str, int]
    confirmed: dict[str, int]
    waiting: list[tuple[str, int, str | None, bytes | None, list[tuple[str, bytes]]]]


class Progress:
    """The kernel's folded state of one partition. `at_ms` is the time of the last batch."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.input_next = 0
        self.at_ms = 0
        self.received: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.confirmed: dict[str, int] = {}
        self.waiting: dict[Place, deque[tuple[int, Entry]]] = {}
        self._names: dict[Place, str] = {}
        self._received_news: dict[str, int] = {}
        self._sent_news: dict[str, int] = {}
        self._confirmed_news: dict[str, int] = {}
        self._input_recorded = 0

    # Receiving

    def judge(self, source: str, sequence: int) -> Verdict:
        last = self.received.get(source, 0)
        if sequence <= last:
            return Verdict.DUPLICATE
        return Verdict.NEXT if sequence == last + 1 else Verdict.GAP

    def knows(self, source: str) -> bool:
        return source in self.received

    def accept(self, source: str, sequence: int) -> None:
        self.received[source] = sequence
        self._received_news[source] = sequence

    # Sending

    def next_sequence(self, destination: Place) -> int:
        name = self._names.get(destination)
        if name is None:
            name = self._names[destination] = str(destination)
        sequence = self.sent.get(name, 0) + 1
        self.sent[name] = sequence
        self._sent_news[name] = sequence
        return sequence

    def enqueue(self, destination: Place, sequence: int, entry: Entry) -> None:
        queue = self.waiting.get(destination)
        if queue is None:
            queue = self.waiting[destination] = deque()
        queue.append((sequence, entry))

    def confirm(self, destination: Place, sequence: int) -> None:
        """The destination's topic holds everything up to `sequence`."""
        name = str(destination)
        if sequence > self.confirmed.get(name, 0):
            self.confirmed[name] = sequence
            self._confirmed_news[name] = sequence
        queue = self.waiting.get(destination)
        while queue and queue[0][0] <= sequence:
            queue.popleft()

    # The record that closes a batch

    @property
    def changed(self) -> bool:
        """Whether something happened that a reader after a crash has to know. Inputs that gave
        nothing count too: else retention could delete what an idle partition would read again."""
        return self.input_next != self._input_recorded or bool(
            self._received_news or self._sent_news
        )

    def close_batch(self, at_ms: int) -> Advanced:
        self.at_ms = at_ms
        advanced = Advanced(
            input_next=self.input_next,
            at_ms=at_ms,
            received=self._received_news,
            sent=self._sent_news,
            released=self._confirmed_news,
        )
        self._received_news, self._sent_news, self._confirmed_news = {}, {}, {}
        self._input_recorded = self.input_next
        return advanced

    def replay(self, advanced: Advanced) -> None:
        """Fold the closing record of a batch whose events have been folded before it.

        Raises SentMismatch when the outputs derived from the events are not those recorded.
        """
        if advanced.sent != self._sent_news:
            for name in sorted({*advanced.sent, *self._sent_news}):
                recorded, derived = advanced.sent.get(name, 0), self._sent_news.get(name, 0)
                if recorded != derived:
                    raise SentMismatch(self._place, name, recorded, derived)
        self._sent_news = {}
        self.input_next = self._input_recorded = advanced.input_next
        self.at_ms = max(self.at_ms, advanced.at_ms)
        self.received.update(advanced.received)
        for name, sequence in advanced.released.items():
            self.confirm(Place.named(name), sequence)
        self._confirmed_news = {}

    # Snapshots

    def state(self) -> ProgressState:
        return ProgressState(
            self.input_next,
            self.at_ms,
            dict(self.received),
            dict(self.sent),
            dict(self.confirmed),
            [
                (
                    str(place),
                    sequence,
                    None if entry.key is None else entry.key.decode(),
                    entry.value,
                    [*entry.headers],
                )
                for place, queue in self.waiting.items()
                for sequence, entry in queue
            ],
        )

    @classmethod
    def of(cls, place: Place, state: ProgressState) -> "Progress":
        progress = cls(place)
        progress.input_next = progress._input_recorded = state.input_next
        progress.at_ms = state.at_ms
        progress.received = dict(state.received)
        progress.sent = dict(state.sent)
        progress.confirmed = dict(state.confirmed)
        for name, sequence, key, value, headers in state.waiting:
            entry = Entry(None if key is None else key.encode(), value, tuple(headers))
            progress.enqueue(Place.named(name), sequence, entry)
        return progress
