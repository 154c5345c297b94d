"""The course of a saga: what has to happen next, as a function of where it stands.

`advance` looks only at the folded state, never at what led to it: however answers and timers
interleave, a saga is moved on, ended, or parked with a reason, and none is left stuck.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from messages.child import ParentAnswered, ParentStep
from messages.identity import Direction, child_id, effect_id
from messages.participant import Enquire
from messages.plan import AwaitSignal, Retry
from messages.saga import (
    PARTIAL,
    CompensationStarted,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    SagaState,
    StepRefused,
    StepRequested,
    StepSkipped,
    StepWaiting,
)
from messages.wire import encode, type_name
from orchestrator.fan import due_ms, legs_to_ask, legs_to_take_back, lost_leg, stuck_leg
from orchestrator.graph import Graph, Node, graph_of, leg_node
from orchestrator.progress import DONE, TIMED_OUT, UNSURE, Saga, StepProgress, foresee
from orchestrator.references import Facts, Unresolved, within

REPLY_TO: Final = "orchestrator.input"
ENQUIRE: Final = type_name(Enquire)

OUTCOME_UNKNOWN: Final = "outcome_unknown"
COMPENSATION_FAILED: Final = "compensation_failed"
STEP_FAILED: Final = "step_failed"
PIVOT_PASSED: Final = "pivot_passed"
COMMAND_UNRESOLVED: Final = "command_unresolved"
TOO_LATE: Final = "too_late"
CHILD_COMPENSATED: Final = "child_compensated"

_UNDOABLE: Final = ("succeeded", "timed_out")
_NOT_FOR_PARENTS: Final = UNSURE | {OUTCOME_UNKNOWN, TIMED_OUT}
"""Reasons that would mean to the parent that the child's own end is in doubt."""


class Draft:
    """The events being decided for one saga, and the saga as it would be after them."""

    __slots__ = ("events", "graph", "now_ms", "saga")

    def __init__(self, saga: Saga, now_ms: int, events: Sequence[SagaEvent] = ()) -> None:
        self.saga = saga
        self.now_ms = now_ms
        self.graph: Graph = graph_of(saga.plan)
        self.events = list(events)

    def add(self, event: SagaEvent) -> None:
        self.events.append(event)
        saga = foresee(self.saga, event)
        assert saga is not None
        self.saga = saga


def advance(draft: Draft) -> None:
    """Add whatever follows from where the saga stands. A parked saga stays as it is."""
    if draft.saga.state == "running":
        _forward(draft)
    if draft.saga.state == "compensating":
        _backward(draft)


def _forward(draft: Draft) -> None:
    steps = draft.saga.steps
    ready: list[Node] = []
    done = True
    for node, step in zip(draft.graph.nodes, steps, strict=True):
        if step.state in DONE:
            continue
        done = False
        if step.state == "pending":
            # No generator: this is looked at for every step at every answer.
            for before in node.after:
                if steps[before].state not in DONE:
                    break
            else:
                ready.append(node)
            continue
        if node.each and step.state == "requested":
            stuck = stuck_leg(node, draft.saga.legs[node.of])
            if stuck is not None:
                leg = leg_node(node, stuck)
                _fail(draft, leg, draft.saga.at(leg))
                return
            ready.append(node)
        if step.state in ("refused", "timed_out") and not step.retry_at_ms:
            _fail(draft, node, step)
            return
    if done:
        partial = any(legs.refused for legs in draft.saga.legs.values())
        reason = PARTIAL if partial else ""
        draft.add(SagaCompleted(saga_id=draft.saga.id, at_ms=draft.now_ms, reason=reason))
        _tell_parent(draft)
        return
    begun = [_begin(draft, node) for node in ready]
    if not all(begun):
        _forward(draft)


def _begin(draft: Draft, node: Node) -> bool:
    """Skip a step, wait, or ask for it. False: it is skipped or refused, so look again."""
    if node.free or draft.saga.steps[node.index].state == "requested":
        return _ask(draft, node)
    saga, now_ms, name, wait = draft.saga, draft.now_ms, node.step.name, node.step.wait
    facts = _facts(draft, node)
    try:
        if not all(facts.meet(condition) for condition in node.step.when):
            draft.add(StepSkipped(saga_id=saga.id, at_ms=now_ms, step=name))
            return False
        if node.by and now_ms > facts.instant_ms(node.by):
            _refuse(draft, node, "do", 1, TOO_LATE, f"it is later than {'.'.join(node.by)}")
            return False
        if wait is None:
            return _ask(draft, node)
        signal = isinstance(wait, AwaitSignal)
        # A time that is past is over now: 0 would stand for no timer at all.
        until_ms = now_ms + (
            wait.timeout_ms if signal else max(0, facts.instant_ms(node.until) - now_ms)
        )
    except Unresolved as unresolved:
        _refuse(draft, node, "do", 1, COMMAND_UNRESOLVED, str(unresolved))
        return False
    _wait(draft, name, until_ms)
    return True


def _ask(draft: Draft, node: Node) -> bool:
    """Ask for a step, or for as many of its legs as may be under way. False: one is refused."""
    if not node.each:
        return request(draft, node, "do", 1)
    asked: list[bool] = []
    for leg in legs_to_ask(draft.saga, node):
        if node.until and (until_ms := due_ms(draft.saga, leg)) > draft.now_ms:
            if draft.saga.legs[node.of].waiting is None:
                _wait(draft, leg.step.name, until_ms)
            break
        asked.append(request(draft, leg, "do", 1))
    return all(asked)


def _wait(draft: Draft, step: str, until_ms: int) -> None:
    draft.add(StepWaiting(saga_id=draft.saga.id, at_ms=draft.now_ms, step=step, until_ms=until_ms))


def _fail(draft: Draft, node: Node, step: StepProgress) -> None:
    doubt = _doubt(node, step)
    if doubt:
        _park(draft, doubt, node)
    elif any(
        other.step.pivot and draft.saga.steps[other.index].state == "succeeded"
        for other in draft.graph.nodes
    ):
        _park(draft, STEP_FAILED, node, step.reason)
    else:
        draft.add(
            CompensationStarted(
                saga_id=draft.saga.id,
                at_ms=draft.now_ms,
                reason=step.reason,
                step=node.step.name,
            )
        )


def _doubt(node: Node, step: StepProgress) -> str:
    """Why nobody can tell whether the step is applied, when undoing it can't settle that."""
    if step.state == "timed_out" and not step.retry_at_ms and not node.reversible:
        return OUTCOME_UNKNOWN
    if step.state == "refused" and step.reason in UNSURE:
        return step.reason
    return ""


def _trouble(node: Node, step: StepProgress) -> tuple[str, Node, str]:
    """Why the way back ends here: a reason, where, and what was answered."""
    doubt = _doubt(node, step)
    if doubt:
        return doubt, node, ""
    if step.reason == TIMED_OUT:
        return OUTCOME_UNKNOWN, node, ""
    return COMPENSATION_FAILED, node, step.reason


def _backward(draft: Draft) -> None:
    nodes, steps = draft.graph.nodes, draft.saga.steps
    for node, step in zip(nodes, steps, strict=True):
        doubt = _doubt(node, step)
        if doubt:
            return _park(draft, doubt, node)
        if step.state == "undo_failed":
            return _park(draft, *_trouble(node, step))
        if node.step.pivot and step.state == "succeeded":
            return _park(draft, PIVOT_PASSED, node)
        if node.each and (lost := lost_leg(draft.saga.legs[node.of])) is not None:
            leg = leg_node(node, lost)
            return _park(draft, *_trouble(leg, draft.saga.at(leg)))
    settled = [_settled(node, step) for node, step in zip(nodes, steps, strict=True)]
    if all(settled):
        saga = draft.saga
        draft.add(SagaCompensated(saga_id=saga.id, at_ms=draft.now_ms, reason=saga.reason))
        return _tell_parent(draft)
    undo = [
        one
        for node, step in zip(nodes, steps, strict=True)
        if node.reversible and all(settled[i] for i in node.dependants)
        for one in _to_take_back(draft.saga, node, step)
    ]
    built = [request(draft, node, "undo", 1) for node in reversed(undo)]
    if not all(built):
        _backward(draft)
    return None


def _to_take_back(saga: Saga, node: Node, step: StepProgress) -> Sequence[Node]:
    """What of a reversible step can be taken back now."""
    if node.each:
        return legs_to_take_back(saga, node)
    # A saga settles by itself what it has not finished: it needs no waiting for.
    undoable = (*_UNDOABLE, "requested") if node.nested else _UNDOABLE
    return (node,) if step.state in undoable else ()


def _settled(node: Node, step: StepProgress) -> bool:
    """Whether nothing is left to take back of this step."""
    if step.state == "succeeded":
        return not node.reversible
    return step.state in ("skipped", "refused", "undone")


def _park(draft: Draft, reason: str, node: Node, detail: str = "") -> None:
    draft.add(
        SagaParked(
            saga_id=draft.saga.id,
            at_ms=draft.now_ms,
            reason=reason,
            step=node.step.name,
            detail=detail,
        )
    )


def _tell_parent(draft: Draft) -> None:
    saga = draft.saga
    if saga.parent is not None:
        draft.add(answer_parent(saga.id, saga.state, saga.reason, saga.parent, draft.now_ms))


def answer_parent(
    saga_id: str, state: SagaState, reason: str, parent: ParentStep, now_ms: int
) -> ParentAnswered:
    """What a child that is finished tells the step that it is; an undo of it is always applied."""
    detail = ""
    if state == "completed" or parent.direction == "undo":
        reason = ""
    elif reason in _NOT_FOR_PARENTS:
        reason, detail = CHILD_COMPENSATED, f"because of {reason}"
    elif not reason:
        # A participant of somebody else's may decline without one; to the parent that is "applied".
        reason = CHILD_COMPENSATED
    return ParentAnswered(
        saga_id=saga_id, at_ms=now_ms, parent=parent, reason=reason, detail=detail
    )


def request(draft: Draft, node: Node, direction: Direction, attempt: int) -> bool:
    """Ask for a step or its undo. False: its command can't be built, which refuses the step."""
    saga, now_ms, name = draft.saga, draft.now_ms, node.step.name
    # A result stays as it is once the undo is asked for, so every attempt is the same command.
    step = saga.at(node)
    template = node.do if direction == "do" else node.undo_for(step.result)
    assert template is not None
    try:
        fields = template.fields(_facts(draft, node))
    except Unresolved as unresolved:
        _refuse(draft, node, direction, attempt, COMMAND_UNRESOLVED, str(unresolved))
        return False
    key: str = fields[template.key]
    kind = template.type
    if direction == "do" and _asks_for_outcome(node, step):
        kind, fields = ENQUIRE, {"key": key, "command": template.type}
    command = {
        "type": kind,
        **fields,
        "effect_id": effect_id(saga.id, name, direction),
        "issued_at_ms": _issued_at_ms(saga, node, direction, now_ms),
        "attempt": attempt,
        "saga_id": saga.id,
        "step": name,
        "direction": direction,
        "reply_to": REPLY_TO,
    }
    if direction == "undo":
        command["undoes"] = effect_id(saga.id, name, "do")
    draft.add(
        StepRequested(
            saga_id=saga.id,
            at_ms=now_ms,
            step=name,
            direction=direction,
            attempt=attempt,
            topic=template.topic,
            key=key,
            command_type=kind,
            command=msgspec.Raw(encode(command)),
            timeout_at_ms=now_ms + node.step.timeout_ms,
            partitions=template.partitions,
        )
    )
    return True


def _issued_at_ms(saga: Saga, node: Node, direction: Direction, now_ms: int) -> int:
    """When the effect was first asked for; of legs, unless they have their own times, the first of
    them. Another child, which a person wants after the last one was declined for good, was never
    asked for before, however old its step is."""
    step = saga.at(node) if node.until else saga.steps[node.index]
    if node.nested and direction == "do" and step.next_life > step.life and not step.retry_at_ms:
        return now_ms
    return step.first_at_ms or now_ms


def _asks_for_outcome(node: Node, step: StepProgress) -> bool:
    """Whether the next attempt must not send the command, only ask what became of it."""
    return node.step.on_timeout == "enquire" and step.reason == TIMED_OUT


def _refuse(
    draft: Draft, node: Node, direction: Direction, attempt: int, reason: str, detail: str
) -> None:
    """Refuse a step in the participant's place: nothing was sent."""
    draft.add(
        StepRefused(
            saga_id=draft.saga.id,
            at_ms=draft.now_ms,
            step=node.step.name,
            direction=direction,
            attempt=attempt,
            reason=reason,
            detail=detail,
        )
    )


def _facts(draft: Draft, node: Node) -> Facts:
    saga, graph = draft.saga, draft.graph
    results = [
        (graph.nodes[i].step.name, step.result) for i, step in enumerate(saga.steps) if step.result
    ]
    children = {
        other.of: _next_child(draft, node if other.of == node.of else other)
        for other in graph.nested
    }
    if node.leg is None:
        return Facts(saga.id, saga.params, results, children)
    element = within(saga.params, (*node.each[1:], str(node.leg)))
    return Facts(saga.id, saga.params, results, children, node.leg, element)


def _next_child(draft: Draft, node: Node) -> str:
    """The saga that the next attempt at a step, or at a leg, means."""
    step = draft.saga.steps[node.index] if node.leg is None else draft.saga.at(node)
    asked_at_ms = step.first_at_ms or draft.now_ms
    return child_id(draft.saga.id, node.step.name, asked_at_ms, step.next_life)


def retry_at_ms(
    retry: Retry, now_ms: int, saga_id: str, step: str, direction: Direction, attempt: int
) -> int:
    """When to try again after `attempt`: exponential backoff, shortened by up to half. 0: not.

    The share is a digest of the effect and the attempt: spread like a random number, yet the same
    for everyone who decides this again.
    """
    if attempt >= retry.attempts:
        return 0
    delay = min(retry.first_delay_ms * retry.factor ** min(attempt - 1, 64), retry.max_delay_ms)
    digest = blake2b(f"{saga_id}/{step}/{direction}/{attempt}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return max(1, now_ms + int(delay * (1 - share / 2)))
