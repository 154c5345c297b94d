"""The sagas of one partition: the live ones whole, the finished ones as what is asked of them.

A finished saga is remembered for `memory_horizon_ms` of the events' own time, so that every reader
of the journal forgets the same sagas at the same event. Forgetting is bounded per event.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from journal.long_dict import LongDict
from journal.packing import groups
from messages.child import ChildRefused
from messages.plan import Plan
from messages.saga import FINISHED, SagaEvent, SagaStarted, StepWaiting
from messages.wire import encode
from orchestrator.asleep import NO_PLAN, Asleep, Block, sleeps
from orchestrator.children import refused_child
from orchestrator.graph import graph_of
from orchestrator.saga import MEMORY_HORIZON_MS, Finished, Saga, evolve

FORGOTTEN_PER_EVENT: Final = 4


class _LivePart(msgspec.Struct, frozen=True, tag="live"):
    """Sagas of one plan, live or revocable; each holds `NO_PLAN` instead of it."""

    plan: Plan
    sagas: list[Saga]


class _AsleepPart(msgspec.Struct, frozen=True, tag="asleep"):
    """The same of sleeping sagas."""

    plan: Plan
    sagas: list[Saga]


class _FinishedPart(msgspec.Struct, frozen=True, tag="finished"):
    """Finished sagas in the order of finishing; `first` numbers the first of them."""

    first: int
    sagas: list[Finished]


_decoder = msgspec.json.Decoder(_LivePart | _AsleepPart | _FinishedPart)


class Sagas:
    """The folded state of a partition: a function of the events alone."""

    def __init__(self, memory_horizon_ms: int = MEMORY_HORIZON_MS) -> None:
        self.memory_horizon_ms = memory_horizon_ms
        self.live: dict[str, Saga] = {}
        self.asleep = Asleep()
        self.finished = LongDict[Finished]()
        """In the order of finishing."""
        self.revocable: dict[str, Saga] = {}
        """Completed sagas that another one, whose step they are, may still take back."""
        self._unanswered: dict[str, set[str]] = {}
        self._restored: dict[int, list[Finished]] = {}

    def get(self, saga_id: str) -> Saga | Finished | None:
        if self._restored:
            self._settle()
        known = self.live.get(saga_id) or self.revocable.get(saga_id)
        return known or self.finished.get(saga_id) or self.asleep.get(saga_id)

    def unanswered(self, topic: str) -> int:
        """How many sagas have asked at `topic`, which is not the accounts', and know no outcome
        yet. What may still be sent there is bounded by it."""
        return len(self._unanswered.get(topic, ()))

    def evolve(self, event: SagaEvent) -> None:
        """Fold one event. Raises `progress.EventOutOfPlace`."""
        if self._restored:
            self._settle()
        saga_id = event.saga_id
        before = self.live.get(saga_id) or self.revocable.get(saga_id)
        # One that begins anew was forgotten when that was decided, whatever the horizon is now.
        if before is not None or saga_id not in self.finished or type(event) is SagaStarted:
            sleeping = self.asleep.pop(saga_id) if before is None else None
            before = before or sleeping
            after = evolve(before, event)
            if after is not None:
                self._count(after)
                may_sleep = sleeping is not None or type(event) is StepWaiting or bool(after.legs)
                if after.state in FINISHED:
                    self._finish(after)
                elif may_sleep and sleeps(after, event.at_ms):
                    self.live.pop(saga_id, None)
                    self.asleep.add(after, event.at_ms)
                elif after is not before or sleeping is not None:
                    self.live[saga_id] = after
                    self.revocable.pop(saga_id, None)
            elif type(event) is ChildRefused:
                self._remember(refused_child(event))
        self._forget(event.at_ms)

    def _count(self, saga: Saga) -> None:
        outside = graph_of(saga.plan).outside
        if not outside:
            return
        asked: set[str] = set()
        for node in outside:
            step = saga.steps[node.index]
            asks = node.do if step.direction == "do" else node.undo_for(step.result)
            if step.open and asks is not None and asks.partitions:
                asked.add(asks.topic)
        for topic in {asks.topic for node in outside for asks in node.templates}:
            waiting = self._unanswered.setdefault(topic, set())
            if topic in asked:
                waiting.add(saga.id)
            else:
                waiting.discard(saga.id)

    def _finish(self, saga: Saga) -> None:
        self.live.pop(saga.id, None)
        is_child = saga.parent is not None and saga.state == "completed"
        if is_child and graph_of(saga.plan).revocable:
            self.revocable[saga.id] = saga
        self._remember(
            Finished(
                saga.id,
                saga.fingerprint,
                saga.state,
                saga.reason,
                saga.finished_at_ms,
                saga.signals,
                saga.parent,
                saga.recoveries,
            )
        )

    def _remember(self, finished: Finished) -> None:
        # One that was taken back after its end keeps its first place: it is forgotten no sooner.
        self.finished[finished.id] = finished

    def _forget(self, now_ms: int) -> None:
        for _ in range(FORGOTTEN_PER_EVENT):
            saga_id = self.finished.first()
            if saga_id is None:
                return
            if self.finished[saga_id].finished_at_ms + self.memory_horizon_ms > now_ms:
                return
            del self.finished[saga_id]
            self.revocable.pop(saga_id, None)

    def snapshot(self) -> Iterator[bytes]:
        """Chunks of about 64 KiB, each of them decodable alone, as of the moment of this call."""
        self._settle()
        # Sagas are frozen: copies of the lists are all that has to be taken now.
        by_plan: dict[int, list[Saga]] = {}
        for saga in chain(self.live.values(), self.revocable.values()):
            by_plan.setdefault(id(saga.plan), []).append(saga)
        return chain(
            chain.from_iterable(_live_parts(sagas) for sagas in by_plan.values()),
            map(_asleep_part, self.asleep.blocks()),
            _finished_parts(saga for _, saga in self.finished.frozen()),
        )

    def restore(self, chunk: bytes) -> Sequence[str]:
        """Take in a chunk of `snapshot`; chunks come in any order, before any event.

        Gives the ids of the sagas in it that may have timers.
        """
        part = _decoder.decode(chunk)
        if isinstance(part, _FinishedPart):
            # They come as they were written, as a rule; what comes too soon waits for the others.
            if part.first == len(self.finished):
                self._remember_all(part.sagas)
            else:
                self._restored[part.first] = part.sagas
            return ()
        plan = graph_of(part.plan).plan
        if isinstance(part, _AsleepPart):
            for saga in part.sagas:
                self.asleep.add(msgspec.structs.replace(saga, plan=plan), 0)
            return ()
        for saga in part.sagas:
            saga = msgspec.structs.replace(saga, plan=plan)
            (self.revocable if saga.state in FINISHED else self.live)[saga.id] = saga
            self._count(saga)
        return [saga.id for saga in part.sagas]

    def _settle(self) -> None:
        for first in sorted(self._restored):
            self._remember_all(self._restored[first])
        self._restored.clear()

    def _remember_all(self, finished: Iterable[Finished]) -> None:
        for saga in finished:
            self.finished[saga.id] = saga


def _live_parts(sagas: Sequence[Saga]) -> Iterator[bytes]:
    plan = sagas[0].plan
    rows = (msgspec.structs.replace(saga, plan=NO_PLAN) for saga in sagas)
    for _, group in groups(rows):
        yield encode({"type": "live", "plan": plan, "sagas": group})


def _asleep_part(block: Block) -> bytes:
    return b'{"type":"asleep","plan":%b,"sagas":%b}' % (encode(block.plan), block.rows)


def _finished_parts(sagas: Iterable[Finished]) -> Iterator[bytes]:
    for first, group in groups(sagas):
        yield encode({"type": "finished", "first": first, "sagas": group})
