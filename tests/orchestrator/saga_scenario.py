"""One saga's story in plain words: `given(moves).when(move).then(lines)`.

A move is a message or time that passes. Every event is one line of text, e.g. "credit refused:
account_closed". After each move the events are folded again from their wire form, as a reader of
the journal does, and must give the same saga.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any

from messages.saga import (
    AnswerIgnored,
    CompensationStarted,
    RecoverSaga,
    RecoveryAccepted,
    RecoveryAction,
    RecoveryRefused,
    RecoveryRepeated,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaInput,
    SagaParked,
    SagaResumed,
    SagaStarted,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    SignalSaga,
    StartRefused,
    StartRepeated,
    StartSaga,
    StepApplied,
    StepDeclined,
    StepRefused,
    StepRequested,
    StepSkipped,
    StepSucceeded,
    StepTimedOut,
    StepWaiting,
    Verdict,
    WaitEnded,
)
from messages.wire import Codec, encode
from orchestrator.saga import Saga, decide, evolve, next_due_ms, on_time
from saga_definitions.dsl import Definition
from saga_definitions.registry import Registry, shipped

SAGA = "5a6a" * 8
EVENTS: Codec[SagaEvent] = Codec(SagaEvent)
PARAMS = {"source": "alice", "target": "bob", "amount_minor": 500, "currency": "EUR"}
START_MS = 1_000_000

Move = SagaInput | int

_numbers = count(1)


def start(definition: str = "transfer", **params: Any) -> StartSaga:
    return StartSaga(
        saga_id=SAGA,
        tenant="bank",
        definition=definition,
        params={**PARAMS, **params},
        fingerprint="not looked at",
        request_id="r1",
        issued_at_ms=START_MS,
    )


def applied(step: str, attempt: int = 1, **result: Any) -> StepApplied:
    return StepApplied(saga_id=SAGA, step=step, direction="do", attempt=attempt, result=result)


def declined(step: str, reason: str, attempt: int = 1) -> StepDeclined:
    return StepDeclined(saga_id=SAGA, step=step, direction="do", attempt=attempt, reason=reason)


def undo_applied(step: str, attempt: int = 1) -> StepApplied:
    return StepApplied(saga_id=SAGA, step=step, direction="undo", attempt=attempt)


def undo_declined(step: str, reason: str, attempt: int = 1) -> StepDeclined:
    return StepDeclined(saga_id=SAGA, step=step, direction="undo", attempt=attempt, reason=reason)


def operator(
    action: RecoveryAction, who: str = "ann", request_id: str = "", why: str = "ticket 7"
) -> RecoverSaga:
    """A request of its own, unless it is named."""
    request_id = request_id or f"o{next(_numbers)}"
    return RecoverSaga(saga_id=SAGA, request_id=request_id, action=action, who=who, why=why)


def signal(
    name: str = "approval",
    verdict: Verdict = "approve",
    who: str = "bea",
    request_id: str = "g1",
    **payload: Any,
) -> SignalSaga:
    return SignalSaga(
        saga_id=SAGA,
        signal=name,
        request_id=request_id,
        verdict=verdict,
        who=who,
        payload=payload,
    )


def passes(*, ms: int = 0, s: int = 0, minutes: int = 0, days: int = 0) -> int:
    return ms + 1_000 * s + 60_000 * minutes + 86_400_000 * days


def line(event: SagaEvent) -> str:
    match event:
        case SagaStarted():
            return f"started: {event.plan.definition} {event.plan.version}"
        case StartRepeated():
            return f"repeated: {event.state}" + (f", {event.reason}" if event.reason else "")
        case StartRefused():
            return f"not started: {event.reason}"
        case StepRequested():
            return f"{_what(event)} asked ({event.attempt})"
        case StepSucceeded():
            return f"{_what(event)} applied"
        case StepRefused():
            return f"{_what(event)} refused: {event.reason}" + _again(event)
        case StepTimedOut():
            return f"{_what(event)} timed out" + _again(event)
        case AnswerIgnored():
            return f"ignored: {_what(event)} {event.answer} ({event.why})"
        case CompensationStarted():
            return f"turned back: {event.reason}"
        case SagaCompleted():
            return "completed"
        case SagaCompensated():
            return f"compensated: {event.reason}"
        case SagaParked():
            return f"parked: {event.reason} at {event.step}"
        case SagaResumed():
            return f"resumed: {event.state}"
        case RecoveryAccepted():
            return f"{event.action} accepted: {event.who}, {event.why}"
        case RecoveryRepeated():
            return f"repeated: {event.state}" + (f", {event.reason}" if event.reason else "")
        case RecoveryRefused():
            return f"{event.action} refused: {event.reason}"
        case StepSkipped():
            return f"{event.step} skipped"
        case StepWaiting():
            return f"{event.step} waits"
        case WaitEnded():
            return f"{event.step} over" + (f": {event.reason}" if event.reason else "")
        case SignalAccepted():
            return f"{event.step} {event.verdict}: {event.who}"
        case SignalRepeated():
            return f"signal repeated: {event.state}" + (f", {event.reason}" if event.reason else "")
        case SignalRefused():
            return f"{event.step} {event.verdict} refused: {event.reason}"


def _what(event: Any) -> str:
    return event.step if event.direction == "do" else f"{event.step} undo"


def _again(event: StepRefused | StepTimedOut) -> str:
    return ", again later" if event.retry_at_ms else ""


class Scenario:
    def __init__(self, *definitions: Definition) -> None:
        self.registry = Registry(definitions) if definitions else shipped()
        self.now_ms = START_MS
        self.saga: Saga | None = None
        self.events: list[SagaEvent] = []
        self.last: list[SagaEvent] = []

    def given(self, *moves: Move) -> "Scenario":
        for move in moves:
            self.when(move)
        return self

    def when(self, move: Move) -> "Scenario":
        before = len(self.events)
        if isinstance(move, int):
            self._pass_time(self.now_ms + move)
        else:
            self.now_ms += 1
            self._fold(decide(self.saga, move, self.now_ms, self.registry))
        self.last = self.events[before:]
        self._check_replay()
        return self

    def then(self, *lines: str) -> "Scenario":
        assert [line(event) for event in self.last] == list(lines)
        return self

    def _pass_time(self, until_ms: int) -> None:
        while self.saga is not None:
            due_ms = next_due_ms(self.saga)
            if due_ms is None or due_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
            fired = on_time(self.saga, self.now_ms)
            assert fired, "a due timer must have a consequence"
            self._fold(fired)
        self.now_ms = until_ms

    def _fold(self, events: Sequence[SagaEvent]) -> None:
        assert events, "every input has an event"
        for event in events:
            self.events.append(event)
            self.saga = evolve(self.saga, event)

    def _check_replay(self) -> None:
        saga: Saga | None = None
        for event in self.events:
            saga = evolve(saga, EVENTS.decode(encode(event)))
        assert saga == self.saga

    def requests(self, step: str, direction: str = "do") -> list[StepRequested]:
        return [
            event
            for event in self.events
            if isinstance(event, StepRequested)
            and (event.step, event.direction) == (step, direction)
        ]

    @property
    def state(self) -> str:
        assert self.saga is not None
        return self.saga.state


def given(*moves: Move, using: Sequence[Definition] = ()) -> Scenario:
    """A scenario after these moves, on the definitions that ship unless others are given."""
    return Scenario(*using).given(*moves)
