"""What a saga does because of the saga whose step it is: begin, and be taken back. Pure.

A child answers at its end, to the last attempt that asked. Only its parent takes a completed child
back, and only one that has no pivot; until it is forgotten, like any finished saga, it is kept
whole for that. Taking back what never came voids it: its start is refused when it comes.
"""

from typing import Final

from messages.child import (
    ChildRefused,
    ParentAnswered,
    ParentAsked,
    ParentStep,
    StartChild,
    UndoChild,
)
from messages.saga import FINISHED, CompensationStarted, SagaEvent, SagaResumed, SagaStarted
from orchestrator.course import PIVOT_PASSED, Draft, advance, answer_parent
from orchestrator.progress import Finished, Saga, nothing_irreversible
from orchestrator.starts import (
    Conditions,
    Refusal,
    begin,
    digest,
    is_ahead,
    is_expired,
    refusal_of,
)

UNDONE_BY_PARENT: Final = "undone_by_parent"
VOIDED: Final = "effect_voided"
EXPIRED: Final = "effect_expired"
REUSED: Final = "effect_reused"
MAX_DETAIL: Final = 1_000
"""Characters; what an answer to a step takes."""


def start_child(
    saga: Saga | Finished | None, message: StartChild, now_ms: int, conditions: Conditions
) -> list[SagaEvent]:
    """The events that follow from a parent's asking for a step that is a saga: at least one."""
    asking = ParentStep(message.saga_id, message.step, "do", message.attempt)
    name = f"{message.definition}@{message.version}"
    body = digest(name, message.params)
    if saga is not None:
        begun = saga.fingerprint != _NOT_BEGUN
        if not _belongs(saga, asking) or (begun and saga.fingerprint != body):
            return [_declined(message, asking, now_ms, REUSED, "the id is another saga's")]
        if isinstance(saga, Finished) or saga.state in FINISHED:
            return [answer_parent(saga.id, saga.state, saga.reason, asking, now_ms)]
        if saga.parent is not None and saga.parent.direction == "undo":
            return [_declined(message, asking, now_ms, VOIDED, "it is being taken back")]
        return [_asked(saga, asking, now_ms)]
    if is_expired(message.issued_at_ms, now_ms, conditions.memory_horizon_ms):
        detail = "asked for too long ago to tell whether it was done"
        return [_declined(message, asking, now_ms, EXPIRED, detail)]
    definition = conditions.definitions.version(message.definition, message.version)
    refusal: Refusal | None
    if is_ahead(message.issued_at_ms, now_ms):
        refusal = "clock_ahead", "issued in the future: a sender's clock is wrong"
    elif definition is None:
        refusal = "definition_unknown", f"no definition {name[:80]!r}"
    else:
        refusal = refusal_of(definition, message.params, conditions)
    if refusal is not None:
        return _refused(message, asking, now_ms, *refusal)
    assert definition is not None
    return begin(
        SagaStarted(
            saga_id=message.child_id,
            at_ms=now_ms,
            tenant="",
            params=message.params,
            fingerprint=body,
            request_id=message.effect_id,
            plan=definition.plan,
            parent=asking,
        )
    )


def undo_child(
    saga: Saga | Finished | None, message: UndoChild, now_ms: int, memory_horizon_ms: int
) -> list[SagaEvent]:
    """The events that follow from a parent's taking back a step that is a saga: at least one."""
    asking = ParentStep(message.saga_id, message.step, "undo", message.attempt)
    if saga is None:
        if is_expired(message.issued_at_ms, now_ms, memory_horizon_ms):
            detail = "asked for too long ago to tell what became of it"
            return [_declined(message, asking, now_ms, EXPIRED, detail)]
        return _refused(message, asking, now_ms, VOIDED, "taken back before it came")
    if not _belongs(saga, asking):
        return [_declined(message, asking, now_ms, REUSED, "the id is another saga's")]
    if saga.state == "compensated":
        return [answer_parent(saga.id, saga.state, saga.reason, asking, now_ms)]
    if isinstance(saga, Finished) or not (saga.heading_back or nothing_irreversible(saga)):
        detail = "a step that can't be taken back is applied, or may be"
        return [_declined(message, asking, now_ms, PIVOT_PASSED, detail)]
    draft = Draft(saga, now_ms)
    draft.add(_asked(saga, asking, now_ms))
    if saga.heading_back:
        return draft.events
    if saga.state == "parked":
        draft.add(
            SagaResumed(
                saga_id=saga.id,
                at_ms=now_ms,
                state="running",
                reason=UNDONE_BY_PARENT,
                step=saga.parked_step,
            )
        )
    draft.add(CompensationStarted(saga_id=saga.id, at_ms=now_ms, reason=UNDONE_BY_PARENT))
    advance(draft)
    return draft.events


_NOT_BEGUN: Final = "-"
"""The fingerprint of a child that was refused, which no body has."""


def refused_child(event: ChildRefused) -> Finished:
    """What is kept of a child that is never begun: it moves nothing, like a compensated one."""
    return Finished(
        event.saga_id, _NOT_BEGUN, "compensated", event.reason, event.at_ms, parent=event.parent
    )


def _belongs(saga: Saga | Finished, asking: ParentStep) -> bool:
    parent = saga.parent
    return parent is not None and (parent.saga_id, parent.step) == (asking.saga_id, asking.step)


def _asked(saga: Saga, asking: ParentStep, now_ms: int) -> ParentAsked:
    """A copy of an earlier attempt, that comes late, is not what the parent waits for."""
    last = saga.parent
    if last is not None and last.direction == asking.direction and last.attempt > asking.attempt:
        asking = last
    return ParentAsked(saga_id=saga.id, at_ms=now_ms, parent=asking)


def _refused(
    message: StartChild | UndoChild, asking: ParentStep, now_ms: int, reason: str, detail: str
) -> list[SagaEvent]:
    """The child will never begin, which is all that an undo wants."""
    detail = detail[:MAX_DETAIL]
    refused = ChildRefused(
        saga_id=message.child_id, at_ms=now_ms, parent=asking, reason=reason, detail=detail
    )
    if asking.direction == "undo":
        reason = detail = ""
    return [refused, _declined(message, asking, now_ms, reason, detail)]


def _declined(
    message: StartChild | UndoChild, asking: ParentStep, now_ms: int, reason: str, detail: str
) -> ParentAnswered:
    return ParentAnswered(
        saga_id=message.child_id, at_ms=now_ms, parent=asking, reason=reason, detail=detail
    )
