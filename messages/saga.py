"""What can be asked of the saga engine, what participants answer, and what can have happened.

Every saga event carries all that is needed to derive what has to be sent because of it.
"""

from typing import Annotated, Any, Final, Literal, Protocol

import msgspec

from messages.child import (
    ChildRefused,
    ParentAnswered,
    ParentAsked,
    ParentStep,
    StartChild,
    UndoChild,
)
from messages.identity import Direction
from messages.plan import Plan

SagaId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+(?!\n)$")]
Result = dict[
    Annotated[str, msgspec.Meta(max_length=100)],
    Annotated[str, msgspec.Meta(max_length=1_000)] | int | bool | None,
]
"""What a participant answers with: flat, so that what was read can be written again."""
SagaState = Literal["running", "compensating", "completed", "compensated", "parked"]
FINISHED: frozenset[SagaState] = frozenset(("completed", "compensated"))
WAITING: Final = "waiting"
"""The reason that is told of a running saga that waits for a signal or a time."""
PARTIAL: Final = "partial"
"""The reason of a completed saga some of whose legs were refused."""


class StartSaga(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StartSaga.v1"):
    """Start what (tenant, idempotency key) stands for; `saga_id` is derived from the two.

    `fingerprint` is a digest of definition and params: the same key with another body is refused.
    `request_id` names this one attempt to ask, so that its sender can find the answer.
    """

    saga_id: SagaId
    tenant: str
    definition: str
    params: dict[str, Any]
    fingerprint: str
    request_id: str
    issued_at_ms: int


class StepApplied(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepApplied.v1"):
    """A participant's answer: the effect is applied (now, or at an earlier attempt)."""

    saga_id: SagaId
    step: str
    direction: Direction
    attempt: int
    result: Result = {}


class StepDeclined(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepDeclined.v1"):
    """A participant's answer: the effect is not applied, with the machine-readable reason."""

    saga_id: SagaId
    step: str
    direction: Direction
    attempt: int
    reason: Annotated[str, msgspec.Meta(max_length=100)]
    detail: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


class Asked(Protocol):
    """Whatever names a step's attempt: what a participant was asked, or what it made of that."""

    @property
    def saga_id(self) -> str: ...
    @property
    def step(self) -> str: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def attempt(self) -> int: ...


def answer_to(
    asked: Asked, reason: str = "", detail: str = "", result: Result | None = None
) -> StepApplied | StepDeclined:
    """What the saga that asked is told; without a `reason` it is applied, with `result`."""
    if reason:
        return StepDeclined(
            saga_id=asked.saga_id,
            step=asked.step,
            direction=asked.direction,
            attempt=asked.attempt,
            reason=reason,
            detail=detail,
        )
    return StepApplied(
        saga_id=asked.saga_id,
        step=asked.step,
        direction=asked.direction,
        attempt=asked.attempt,
        result=result or {},
    )


RecoveryAction = Literal["retry", "compensate", "cancel"]


class RecoverSaga(msgspec.Struct, frozen=True, kw_only=True, tag="saga.RecoverSaga.v1"):
    """An operator's request about a saga, with who asks and why; see `orchestrator.recovery`.

    The same `request_id` again gets the same answer.
    """

    saga_id: SagaId
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    action: RecoveryAction
    who: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


Verdict = Literal["approve", "reject"]
Person = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,99}(?!\n)$")]
"""Who did something: an id as the bank's own systems know it."""


class SignalSaga(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SignalSaga.v1"):
    """A person's decision or an outside event for the step `signal` that waits for it.

    `payload` becomes the step's result. The same `request_id` again gets the same answer.
    """

    saga_id: SagaId
    signal: Annotated[str, msgspec.Meta(max_length=64)]
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    verdict: Verdict
    who: Person
    why: Annotated[str, msgspec.Meta(max_length=500)] = ""
    payload: Annotated[Result, msgspec.Meta(max_length=20)] = {}


SagaInput = (
    StartSaga | StepApplied | StepDeclined | RecoverSaga | SignalSaga | StartChild | UndoChild
)


class SagaStarted(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="saga.SagaStarted.v1"
):
    """`parent`: the step that it is, of another saga; None: a caller asked for it."""

    saga_id: str
    at_ms: int
    tenant: str
    params: dict[str, Any]
    fingerprint: str
    request_id: str
    plan: Plan
    parent: ParentStep | None = None


class SagaAccepted(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SagaAccepted.v1"):
    """Tells whoever asked by `request_id` that the saga was started: as much of `SagaStarted`."""

    saga_id: str
    request_id: str


class _Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """The same request again: answered with the saga as it stands."""

    saga_id: str
    at_ms: int
    request_id: str
    state: SagaState
    reason: str = ""


class StartRepeated(_Repeated, frozen=True, kw_only=True, tag="saga.StartRepeated.v1"):
    """See `StartSaga`."""


class StartRefused(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StartRefused.v1"):
    saga_id: str
    at_ms: int
    request_id: str
    reason: str
    detail: str


class StepRequested(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepRequested.v1"):
    """A command goes out: `command` is its wire form, sent to `topic` in the partition of `key`,
    of `partitions`; 0: as many as the bank's own topics have."""

    saga_id: str
    at_ms: int
    step: str
    direction: Direction
    attempt: int
    topic: str
    key: str
    command_type: str
    command: msgspec.Raw
    timeout_at_ms: int
    partitions: int = 0


class StepSucceeded(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepSucceeded.v1"):
    saga_id: str
    at_ms: int
    step: str
    direction: Direction
    attempt: int
    result: dict[str, Any] = {}


class StepRefused(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepRefused.v1"):
    """`retry_at_ms` 0: no further try."""

    saga_id: str
    at_ms: int
    step: str
    direction: Direction
    attempt: int
    reason: str
    detail: str = ""
    retry_at_ms: int = 0


class StepTimedOut(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepTimedOut.v1"):
    """No answer in time, or one that could not tell (`detail` says why): the effect may or may not
    be applied. `retry_at_ms` 0: no further try."""

    saga_id: str
    at_ms: int
    step: str
    direction: Direction
    attempt: int
    retry_at_ms: int = 0
    detail: str = ""


class AnswerIgnored(msgspec.Struct, frozen=True, kw_only=True, tag="saga.AnswerIgnored.v1"):
    """An answer that changes nothing (late, repeated, unknown): kept for the history."""

    saga_id: str
    at_ms: int
    step: str
    direction: Direction
    attempt: int
    answer: str
    why: str


class CompensationStarted(
    msgspec.Struct, frozen=True, kw_only=True, tag="saga.CompensationStarted.v1"
):
    """From here on the saga goes backward. `reason` is what it will end with."""

    saga_id: str
    at_ms: int
    reason: str
    step: str = ""
    detail: str = ""


class SagaCompleted(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SagaCompleted.v1"):
    """`reason` empty: every step is done; `PARTIAL`: but for legs that were refused."""

    saga_id: str
    at_ms: int
    reason: str = ""


class SagaCompensated(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SagaCompensated.v1"):
    """Every step that was done is undone; `reason` says why the saga failed."""

    saga_id: str
    at_ms: int
    reason: str


class SagaParked(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SagaParked.v1"):
    """Needs a person: `step`'s compensation, or a step past the pivot, keeps failing."""

    saga_id: str
    at_ms: int
    reason: str
    step: str
    detail: str = ""


class SagaResumed(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SagaResumed.v1"):
    """No longer parked: `state` is where it goes on from, `reason` what led it back."""

    saga_id: str
    at_ms: int
    state: Literal["running", "compensating"]
    reason: str
    step: str = ""


class RecoveryAccepted(msgspec.Struct, frozen=True, kw_only=True, tag="saga.RecoveryAccepted.v1"):
    """What an operator asked for is being done; the events behind it say what that was. `digest`
    names what was asked for, to know a repetition; older events have none."""

    saga_id: str
    at_ms: int
    request_id: str
    action: RecoveryAction
    who: str
    why: str
    digest: str = ""


class RecoveryRepeated(_Repeated, frozen=True, kw_only=True, tag="saga.RecoveryRepeated.v1"):
    """See `RecoverSaga`."""


class RecoveryRefused(msgspec.Struct, frozen=True, kw_only=True, tag="saga.RecoveryRefused.v1"):
    """What an operator asked for can't be done; nothing has changed."""

    saga_id: str
    at_ms: int
    request_id: str
    action: RecoveryAction
    who: str
    why: str
    reason: str
    detail: str


class StepSkipped(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepSkipped.v1"):
    """A condition of the step is not met: it counts as done, and has nothing to take back."""

    saga_id: str
    at_ms: int
    step: str


class StepWaiting(msgspec.Struct, frozen=True, kw_only=True, tag="saga.StepWaiting.v1"):
    """The step waits until `until_ms`, for a signal or only for the time to come."""

    saga_id: str
    at_ms: int
    step: str
    until_ms: int


class WaitEnded(msgspec.Struct, frozen=True, kw_only=True, tag="saga.WaitEnded.v1"):
    """The time has come. `reason` empty: the step is done; otherwise it is refused with it.

    `state`: the saga's; `still_waiting`: another step that waits, if there is one.
    """

    saga_id: str
    at_ms: int
    step: str
    state: SagaState
    reason: str = ""
    still_waiting: str = ""


class SignalAccepted(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SignalAccepted.v1"):
    """The signal decides its step. `digest` names what was said, to know a repetition.

    `state`: the saga's; `still_waiting`: another step that waits, if there is one.
    """

    saga_id: str
    at_ms: int
    request_id: str
    step: str
    verdict: Verdict
    who: str
    digest: str
    state: SagaState
    still_waiting: str = ""
    why: str = ""
    payload: dict[str, Any] = {}


class SignalRepeated(_Repeated, frozen=True, kw_only=True, tag="saga.SignalRepeated.v1"):
    """See `SignalSaga`."""


class SignalRefused(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SignalRefused.v1"):
    """The signal decides nothing; nothing has changed."""

    saga_id: str
    at_ms: int
    request_id: str
    step: str
    verdict: Verdict
    who: str
    reason: str
    detail: str


SagaEvent = (
    SagaStarted
    | StartRepeated
    | StartRefused
    | StepRequested
    | StepSucceeded
    | StepRefused
    | StepTimedOut
    | AnswerIgnored
    | CompensationStarted
    | SagaCompleted
    | SagaCompensated
    | SagaParked
    | SagaResumed
    | RecoveryAccepted
    | RecoveryRepeated
    | RecoveryRefused
    | StepSkipped
    | StepWaiting
    | WaitEnded
    | SignalAccepted
    | SignalRepeated
    | SignalRefused
    | ParentAsked
    | ParentAnswered
    | ChildRefused
)

SagaAnswer = (
    SagaAccepted
    | StartRepeated
    | StartRefused
    | CompensationStarted
    | SagaCompleted
    | SagaCompensated
    | SagaParked
    | SagaResumed
    | RecoveryAccepted
    | RecoveryRepeated
    | RecoveryRefused
    | StepWaiting
    | WaitEnded
    | SignalAccepted
    | SignalRepeated
    | SignalRefused
)
"""What is told to those outside: of steps only how a wait goes on."""
