"""One saga: what it does on a request, on an answer, and when time passes.

Pure functions over `Saga`: `decide` and `on_time` give events, `evolve` folds them, `next_due_ms`
says when `on_time` has something to do. The rules, all tested in `tests/orchestrator`:

- A retry keeps its effect id and first issue time; only the attempt grows.
- Steps are taken back in reverse order of dependency; what a step depends on waits until the step
  is undone, or known never to have been done.
- A reversible step that nobody answered is undone too: its participant voids what it never saw.
- The pivot, and what comes after it, is never guessed about: it is asked for again and again, then
  the saga is parked. The deadline turns a saga back only while nothing irreversible was asked for.
- An answer for the very step that a saga is parked for leads it back by itself (`SagaResumed`):
  that it is applied, or, where the outcome was unknown, that it is not. A parked saga begins no
  new step, but sees those in flight through.
- A wait has no effect: a saga that turns back forgets it. The deadline counts anew from its end.
- A step that is many sagas, each at its own time, can be cut short: those not begun are refused.
- A step that is skipped counts as done for what comes after it, and is not undone.
- That an effect is applied is proof and beats an earlier refusal; a refusal of another attempt
  than the last one proves nothing.
"""

from collections.abc import Callable
from typing import assert_never

from messages.child import StartChild, UndoChild
from messages.participant import EFFECT_UNKNOWN, OUTCOME_UNKNOWN
from messages.plan import Retry
from messages.saga import (
    FINISHED,
    AnswerIgnored,
    CompensationStarted,
    RecoverSaga,
    SagaEvent,
    SagaInput,
    SagaResumed,
    SignalSaga,
    StartSaga,
    StepApplied,
    StepDeclined,
    StepRefused,
    StepSucceeded,
    StepTimedOut,
    WaitEnded,
)
from orchestrator.children import start_child, undo_child
from orchestrator.course import Draft, advance, request, retry_at_ms
from orchestrator.graph import Node
from orchestrator.progress import (
    TIMED_OUT,
    UNSURE,
    Finished,
    Saga,
    StepProgress,
    can_turn_back,
    evolve,
    next_due_ms,
)
from orchestrator.recovery import recover
from orchestrator.signals import SIGNAL_TIMEOUT, take_signal
from orchestrator.starts import MEMORY_HORIZON_MS, Conditions, start
from saga_definitions.registry import Registry

__all__ = ["MEMORY_HORIZON_MS", "Finished", "Saga", "decide", "evolve", "next_due_ms", "on_time"]


def decide(
    saga: Saga | Finished | None,
    message: SagaInput,
    now_ms: int,
    definitions: Registry,
    memory_horizon_ms: int = MEMORY_HORIZON_MS,
    unanswered: Callable[[str], int] = lambda _topic: 0,
) -> list[SagaEvent]:
    """The events that follow from a message: at least one, whatever its content.

    `unanswered`: how many sagas wait for an answer of the participant that reads a topic.
    """
    match message:
        case StartSaga():
            conditions = Conditions(definitions, memory_horizon_ms, unanswered)
            return start(saga, message, now_ms, conditions)
        case StartChild():
            conditions = Conditions(definitions, memory_horizon_ms, unanswered)
            return start_child(saga, message, now_ms, conditions)
        case UndoChild():
            return undo_child(saga, message, now_ms, memory_horizon_ms)
        case StepApplied() | StepDeclined():
            if saga is None:
                return [_ignored(message, now_ms, "saga_unknown")]
            if isinstance(saga, Finished) or saga.state in FINISHED:
                return [_ignored(message, now_ms, "saga_finished")]
            return _answer(saga, message, now_ms)
        case RecoverSaga():
            return recover(saga, message, now_ms)
        case SignalSaga():
            return take_signal(saga, message, now_ms)
        case _:
            assert_never(message)


def _answer(saga: Saga, answer: StepApplied | StepDeclined, now_ms: int) -> list[SagaEvent]:
    draft = Draft(saga, now_ms)
    node = draft.graph.find(answer.step)
    if node is None or not saga.has(node):
        return [_ignored(answer, now_ms, "step_unknown")]
    step = saga.at(node)
    why = "leg_settled" if saga.is_settled(node) else _why_ignored(step, answer)
    if why:
        return [_ignored(answer, now_ms, why)]
    if isinstance(answer, StepApplied):
        draft.add(
            StepSucceeded(
                saga_id=saga.id,
                at_ms=now_ms,
                step=answer.step,
                direction=answer.direction,
                attempt=answer.attempt,
                result=answer.result,
            )
        )
    elif answer.reason == OUTCOME_UNKNOWN:
        _time_out(draft, node, step, answer.detail)
    else:
        again_at_ms = _retry_after_refusal(saga, node, answer, now_ms)
        if answer.reason == EFFECT_UNKNOWN and node.reversible and not again_at_ms:
            # Its command may still come: only its undo can settle that.
            _time_out(draft, node, step, answer.reason, last=True)
        else:
            draft.add(
                StepRefused(
                    saga_id=saga.id,
                    at_ms=now_ms,
                    step=answer.step,
                    direction=answer.direction,
                    attempt=answer.attempt,
                    reason=answer.reason,
                    detail=answer.detail,
                    retry_at_ms=again_at_ms,
                )
            )
    if saga.state == "parked" and saga.parked_from and saga.parked_step == answer.step:
        draft.add(
            SagaResumed(
                saga_id=saga.id,
                at_ms=now_ms,
                state=saga.parked_from,
                reason="answered",
                step=answer.step,
            )
        )
    advance(draft)
    return draft.events


def _why_ignored(step: StepProgress, answer: StepApplied | StepDeclined) -> str:
    """Why an answer changes nothing; empty when it does."""
    if answer.direction != step.direction:
        # A late answer to the forward command needs no reaction: its undo settles it.
        return "undo_requested" if answer.direction == "do" else "not_requested"
    if step.state in ("pending", "skipped", "waiting") or not step.attempt:
        return "not_requested"
    if not 1 <= answer.attempt <= step.attempt:
        return "attempt_unknown"
    if step.state in ("succeeded", "undone"):
        return "repeated" if isinstance(answer, StepApplied) else "succeeded_before"
    if isinstance(answer, StepDeclined):
        if answer.attempt < step.attempt:
            return "attempt_superseded"
        if answer.reason in (OUTCOME_UNKNOWN, EFFECT_UNKNOWN) and not step.timeout_at_ms:
            return "nothing_new"
        if not step.timeout_at_ms and step.reason != TIMED_OUT:
            return "repeated"
    return ""


def _retry_after_refusal(saga: Saga, node: Node, answer: StepDeclined, now_ms: int) -> int:
    planned = node.step
    if answer.direction == "undo":
        retry, worth = planned.undo_retry, answer.reason not in UNSURE
    else:
        retry = planned.retry
        worth = not saga.heading_back and (
            answer.reason in retry.retryable
            or (answer.reason == EFFECT_UNKNOWN and planned.on_timeout == "enquire")
        )
    if not worth:
        return 0
    return retry_at_ms(retry, now_ms, saga.id, answer.step, answer.direction, answer.attempt)


def on_time(saga: Saga, now_ms: int) -> list[SagaEvent]:
    """The events that follow from the time: empty when nothing is due."""
    draft = Draft(saga, now_ms)
    # Waits first: the deadline counts from their end, also when nobody was there to see it.
    for node, step in list(saga.under_way()):
        if step.state == "waiting" and step.timeout_at_ms <= now_ms:
            reason = "" if node.until else SIGNAL_TIMEOUT
            draft.add(
                WaitEnded(
                    saga_id=saga.id,
                    at_ms=now_ms,
                    step=node.step.name,
                    state=saga.state,
                    reason=reason,
                    still_waiting=draft.saga.waiting_beside(node.step.name),
                )
            )
            if node.leg is not None:
                request(draft, node, "do", 1)
    if draft.saga.deadline_at_ms <= now_ms and can_turn_back(draft.saga):
        draft.add(CompensationStarted(saga_id=saga.id, at_ms=now_ms, reason="deadline_exceeded"))
    for node, step in list(draft.saga.under_way()):
        if step.retry_at_ms and step.retry_at_ms <= now_ms:
            request(draft, node, step.direction, step.attempt + 1)
        elif step.timeout_at_ms and step.timeout_at_ms <= now_ms:
            _time_out(draft, node, step)
    if draft.events:
        advance(draft)
    return draft.events


def _time_out(
    draft: Draft, node: Node, step: StepProgress, detail: str = "", *, last: bool = False
) -> None:
    """The outcome of the attempt is unknown, because no answer came or because it said so."""
    saga, planned = draft.saga, node.step
    if step.direction == "undo":
        retry = planned.undo_retry
    elif last or saga.heading_back or (node.reversible and planned.on_timeout == "compensate"):
        retry = Retry(attempts=1)
    else:
        retry = planned.retry
    draft.add(
        StepTimedOut(
            saga_id=saga.id,
            at_ms=draft.now_ms,
            step=planned.name,
            direction=step.direction,
            attempt=step.attempt,
            retry_at_ms=retry_at_ms(
                retry, draft.now_ms, saga.id, planned.name, step.direction, step.attempt
            ),
            detail=detail,
        )
    )


def _ignored(answer: StepApplied | StepDeclined, now_ms: int, why: str) -> AnswerIgnored:
    said = "applied" if isinstance(answer, StepApplied) else f"declined: {answer.reason}"
    return AnswerIgnored(
        saga_id=answer.saga_id,
        at_ms=now_ms,
        step=answer.step,
        direction=answer.direction,
        attempt=answer.attempt,
        answer=said,
        why=why,
    )
