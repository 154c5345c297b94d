"""A person's decision or an outside event, for the step that waits for it. Pure.

The first signal that is accepted decides its step; the same request again hears the same, every
other one is refused and changes nothing. Where a definition demands another person than the one who
started the saga, that is held here, so no way in can pass it by.
"""

from typing import Final

from messages.saga import (
    FINISHED,
    SagaEvent,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    SignalSaga,
)
from orchestrator.course import Draft, advance
from orchestrator.graph import Node, graph_of
from orchestrator.progress import Finished, Saga
from orchestrator.repetition import REUSED, digest, repeated

SIGNAL_TIMEOUT: Final = "signal_timeout"
"""The reason of a step whose signal did not come in time."""


def take_signal(saga: Saga | Finished | None, message: SignalSaga, now_ms: int) -> list[SagaEvent]:
    """The events that follow from a signal: at least one."""
    said = digest(message.signal, message.verdict, message.who, message.why, message.payload)
    if saga is None:
        return [_refused(message, now_ms, "saga_unknown", "no saga of this id is remembered")]
    known = dict(saga.signals).get(message.request_id)
    if known == said:
        return [repeated(SignalRepeated, saga, message, now_ms)]
    if known is not None:
        return [_refused(message, now_ms, *REUSED)]
    if isinstance(saga, Finished) or saga.state in FINISHED:
        return [_refused(message, now_ms, "saga_finished", f"it is {saga.state}")]
    return _decide(saga, message, said, now_ms)


def _decide(saga: Saga, message: SignalSaga, said: str, now_ms: int) -> list[SagaEvent]:
    node = graph_of(saga.plan).by_name.get(message.signal)
    if node is None or node.step.wait is None or node.until:
        return [_refused(message, now_ms, "signal_unknown", "no step waits for this signal")]
    step = saga.steps[node.index]
    if step.state != "waiting":
        return [_refused(message, now_ms, "not_waiting", f"the step is {step.state}")]
    if step.timeout_at_ms <= now_ms:
        return [_refused(message, now_ms, SIGNAL_TIMEOUT, "it came too late")]
    if message.verdict == "approve" and _is_barred(saga, node, message.who):
        detail = f"must come from another person than {'.'.join(node.not_by)}"
        return [_refused(message, now_ms, "same_person", detail)]
    draft = Draft(saga, now_ms)
    draft.add(
        SignalAccepted(
            saga_id=saga.id,
            at_ms=now_ms,
            request_id=message.request_id,
            step=message.signal,
            verdict=message.verdict,
            who=message.who,
            digest=said,
            state=saga.state,
            still_waiting=saga.waiting_beside(message.signal),
            why=message.why,
            payload=message.payload,
        )
    )
    advance(draft)
    return draft.events


def _is_barred(saga: Saga, node: Node, who: str) -> bool:
    """Whether this person's approval doesn't count."""
    if not node.not_by:
        return False
    barred = saga.params.get(node.not_by[-1])
    # Who can't be told apart from the other is taken for the same.
    return type(barred) is not str or who.casefold() == barred.casefold()


def _refused(message: SignalSaga, now_ms: int, reason: str, detail: str) -> SignalRefused:
    return SignalRefused(
        saga_id=message.saga_id,
        at_ms=now_ms,
        request_id=message.request_id,
        step=message.signal,
        verdict=message.verdict,
        who=message.who,
        reason=reason,
        detail=detail,
    )
