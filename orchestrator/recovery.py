"""What an operator can do about a saga: try the step again that it is parked for, take it back, or
cancel it. Pure.

None of it guesses: a retry keeps the effect id, so what was applied is not applied again; a saga is
turned back only while nothing irreversible may have happened. The same request again hears the
same; what two people ask for at once is refused the second time or does nothing new.
"""

from collections import Counter
from typing import Final

from messages.saga import (
    FINISHED,
    CompensationStarted,
    RecoverSaga,
    RecoveryAccepted,
    RecoveryRefused,
    RecoveryRepeated,
    SagaEvent,
    SagaResumed,
    StepRefused,
    WaitEnded,
)
from orchestrator.course import PIVOT_PASSED, Draft, advance, request
from orchestrator.graph import Node, graph_of, leg_node
from orchestrator.progress import Finished, Saga, nothing_irreversible
from orchestrator.repetition import REUSED, digest, repeated

NOT_ASKED: Final = "it was not asked for yet"
"""Of a leg that is given up, unlike one that a person cancels after it has begun."""
_REASON: Final = {"compensate": "compensated_by_operator", "cancel": "cancelled"}


def recover(saga: Saga | Finished | None, message: RecoverSaga, now_ms: int) -> list[SagaEvent]:
    """The events that follow from an operator's request: at least one."""
    if saga is None:
        return [_refused(message, now_ms, "saga_unknown", "no saga of this id is remembered")]
    known = dict(saga.recoveries).get(message.request_id)
    if known == _digest(message):
        return [repeated(RecoveryRepeated, saga, message, now_ms)]
    if known is not None:
        return [_refused(message, now_ms, *REUSED)]
    if isinstance(saga, Finished) or saga.state in FINISHED:
        return [_refused(message, now_ms, "saga_finished", f"it is {saga.state}")]
    if message.action == "retry":
        return _retry(saga, message, now_ms)
    if saga.heading_back:
        if saga.state == "parked":
            return _retry(saga, message, now_ms)
        return [_refused(message, now_ms, "already_compensating", "it is on its way back")]
    if message.action == "cancel" and (to_come := _to_come(saga)):
        return _cut_short(saga, message, now_ms, to_come)
    if not nothing_irreversible(saga):
        detail = "a step that can't be taken back is applied, or may be; retry it instead"
        return [_refused(message, now_ms, "pivot_passed", detail)]
    draft = Draft(saga, now_ms, [_accepted(message, now_ms)])
    if saga.state == "parked":
        draft.add(_resumed(saga, message, now_ms))
    draft.add(CompensationStarted(saga_id=saga.id, at_ms=now_ms, reason=_REASON[message.action]))
    advance(draft)
    return draft.events


def _to_come(saga: Saga) -> list[Node]:
    """Legs with a time of their own that nobody was asked for yet."""
    return [
        leg_node(node, leg)
        for node in graph_of(saga.plan).nested
        if node.until
        for leg in range(len(saga.legs[node.of].letters))
        if saga.legs[node.of].at(leg).state in ("pending", "waiting")
    ]


def _cut_short(
    saga: Saga, message: RecoverSaga, now_ms: int, to_come: list[Node]
) -> list[SagaEvent]:
    """Give up what is to come. What is done stands, and what is under way is seen through."""
    draft = Draft(saga, now_ms, [_accepted(message, now_ms)])
    reason = _REASON["cancel"]
    for leg in to_come:
        name = leg.step.name
        if saga.at(leg).state == "waiting":
            draft.add(
                WaitEnded(saga_id=saga.id, at_ms=now_ms, step=name, state=saga.state, reason=reason)
            )
        draft.add(
            StepRefused(
                saga_id=saga.id,
                at_ms=now_ms,
                step=name,
                direction="do",
                attempt=1,
                reason=reason,
                detail=NOT_ASKED,
            )
        )
    advance(draft)
    return draft.events


def _retry(saga: Saga, message: RecoverSaga, now_ms: int) -> list[SagaEvent]:
    """One more attempt at every step that has failed for good."""
    if saga.state != "parked":
        return [_refused(message, now_ms, "saga_not_parked", f"it is {saga.state}")]
    if saga.parked_reason == PIVOT_PASSED:
        detail = "its pivot was applied while it went back: settle it by a new transfer"
        return [_refused(message, now_ms, "pivot_passed", detail)]
    draft = Draft(saga, now_ms, [_accepted(message, now_ms)])
    draft.add(_resumed(saga, message, now_ms))
    tried: Counter[str] = Counter()
    for node, step in list(draft.saga.under_way()):
        failed = step.state in ("refused", "timed_out") and not step.retry_at_ms
        if step.state == "undo_failed" or (failed and _is_parked_for(saga, node)):
            tried[node.of] += 1
            if node.leg is None or tried[node.of] <= node.step.width:
                request(draft, node, step.direction, step.attempt + 1)
    advance(draft)
    return draft.events


def _is_parked_for(saga: Saga, node: Node) -> bool:
    """Going forward, for a leg stands for all legs of its step: none of them is under way."""
    same = saga.parked_step == node.step.name
    beside = saga.parked_from == "running" and saga.parked_step.rpartition(".")[0] == node.of
    return same or (node.leg is not None and beside)


def _resumed(saga: Saga, message: RecoverSaga, now_ms: int) -> SagaResumed:
    return SagaResumed(
        saga_id=saga.id,
        at_ms=now_ms,
        state=saga.parked_from or "running",
        reason=message.action,
        step=saga.parked_step,
    )


def _accepted(message: RecoverSaga, now_ms: int) -> RecoveryAccepted:
    return RecoveryAccepted(
        saga_id=message.saga_id,
        at_ms=now_ms,
        request_id=message.request_id,
        action=message.action,
        who=message.who,
        why=message.why,
        digest=_digest(message),
    )


def _digest(message: RecoverSaga) -> str:
    return digest(message.action, message.who, message.why)


def _refused(message: RecoverSaga, now_ms: int, reason: str, detail: str) -> RecoveryRefused:
    return RecoveryRefused(
        saga_id=message.saga_id,
        at_ms=now_ms,
        request_id=message.request_id,
        action=message.action,
        who=message.who,
        why=message.why,
        reason=reason,
        detail=detail,
    )
