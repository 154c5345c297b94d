"""The saga engine as the journal's kernel sees it: one partition of sagas behind plain functions.

No rules here: `saga.py` decides, `sagas.py` folds, `timers.py` remembers when to look again.
"""

from collections.abc import Iterator, Sequence
from typing import Final, get_args

from journal.machine import Output
from journal.topics import ANSWERS
from messages.child import ParentAnswered, StartChild, UndoChild
from messages.saga import (
    SagaAccepted,
    SagaAnswer,
    SagaEvent,
    SagaInput,
    SagaStarted,
    StepRequested,
    answer_to,
)
from messages.wire import encode, type_name
from orchestrator.course import REPLY_TO
from orchestrator.saga import MEMORY_HORIZON_MS, decide, on_time
from orchestrator.sagas import Sagas
from orchestrator.timers import Timers
from saga_definitions.registry import Registry, shipped

_TO_CHILDREN: Final = (StartChild, UndoChild)
_TOLD: Final[frozenset[type]] = frozenset(get_args(SagaAnswer))


class SagaMachine:
    """Implements `journal.machine.Machine[SagaInput, SagaEvent]`."""

    def __init__(
        self,
        definitions: Registry | None = None,
        memory_horizon_ms: int = MEMORY_HORIZON_MS,
    ) -> None:
        self.sagas = Sagas(memory_horizon_ms)
        self.timers = Timers(self.sagas.live)
        self._definitions = definitions or shipped()

    def decide(self, message: SagaInput, now_ms: int) -> Sequence[SagaEvent]:
        asked = message.child_id if isinstance(message, _TO_CHILDREN) else message.saga_id
        return decide(
            self.sagas.get(asked),
            message,
            now_ms,
            self._definitions,
            self.sagas.memory_horizon_ms,
            self.sagas.unanswered,
        )

    def evolve(self, event: SagaEvent) -> None:
        self.sagas.evolve(event)
        self.timers.changed(event.saga_id)

    def outputs(self, event: SagaEvent) -> Sequence[Output]:
        if isinstance(event, StepRequested):
            command = bytes(event.command)
            return (Output(event.topic, event.key, event.command_type, command, event.partitions),)
        if isinstance(event, ParentAnswered):
            answer = answer_to(event.parent, event.reason, event.detail)
            return (Output(REPLY_TO, answer.saga_id, type_name(answer), encode(answer)),)
        told: SagaAccepted | SagaEvent = event
        if isinstance(event, SagaStarted):
            told = SagaAccepted(saga_id=event.saga_id, request_id=event.request_id)
        elif type(event) not in _TOLD:
            return ()
        return (Output(ANSWERS, event.saga_id, type_name(told), encode(told)),)

    def key_of(self, event: SagaEvent) -> str:
        return event.saga_id

    def next_due_ms(self) -> int | None:
        due = (self.timers.next_due_ms(), self.sagas.asleep.next_due_ms())
        return min((at_ms for at_ms in due if at_ms is not None), default=None)

    def fire(self, now_ms: int) -> Sequence[SagaEvent]:
        saga = self.timers.due(now_ms) or self.sagas.asleep.due(now_ms)
        return () if saga is None else on_time(saga, now_ms)

    def snapshot(self) -> Iterator[bytes]:
        return self.sagas.snapshot()

    def restore(self, chunk: bytes) -> None:
        for saga_id in self.sagas.restore(chunk):
            self.timers.changed(saga_id)
