"""Where a saga stands: its state, the state of each step, and how events change both.

Nothing is decided here. `evolve` is total over the events that `saga.py` can decide, so that a
journal folds to the same saga for everyone; a saga's timers are fields of it (`next_due_ms`).
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from messages.child import ChildRefused, ParentAnswered, ParentAsked, ParentStep
from messages.plan import Plan, leg_name
from messages.saga import (
    FINISHED,
    WAITING,
    AnswerIgnored,
    CompensationStarted,
    RecoveryAccepted,
    RecoveryRefused,
    RecoveryRepeated,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    SagaResumed,
    SagaStarted,
    SagaState,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    StartRefused,
    StartRepeated,
    StepRefused,
    StepRequested,
    StepSkipped,
    StepSucceeded,
    StepTimedOut,
    StepWaiting,
    WaitEnded,
)
from orchestrator.graph import Node, graph_of, leg_node
from orchestrator.legs import Legs, begun, whole
from orchestrator.references import within
from orchestrator.step import (
    DONE,
    TIMED_OUT,
    UNSURE,
    StepProgress,
    StepState,
    failed,
    requested,
    succeeded,
    turned_back,
)

__all__ = ["DONE", "TIMED_OUT", "UNSURE", "StepProgress", "StepState"]

REJECTED: Final = "rejected"
"""The reason of a step whose signal says no."""

MAX_RECOVERIES: Final = 16
"""Requests of operators that are remembered of one saga."""


class Saga(msgspec.Struct, frozen=True, kw_only=True):
    """One saga. `reason`: why it turned back, or `PARTIAL`. `steps` is parallel to `plan.steps`.

    `deadline_at_ms` counts from the start, or from the end of the last wait. `signals`: request
    id and digest of each signal that was accepted; `recoveries`: of operators' last requests.
    `legs`: of the steps that have some, by name. `parent`: the step that it is, and which of its
    attempts is to be answered.
    """

    id: str
    fingerprint: str
    state: SagaState
    plan: Plan
    params: dict[str, Any]
    steps: tuple[StepProgress, ...]
    deadline_at_ms: int
    reason: str = ""
    finished_at_ms: int = 0
    parked_from: Literal["running", "compensating", ""] = ""
    parked_step: str = ""
    parked_reason: str = ""
    signals: tuple[tuple[str, str], ...] = ()
    parent: ParentStep | None = None
    legs: dict[str, Legs] = {}
    recoveries: tuple[tuple[str, str], ...] = ()

    def at(self, node: Node) -> StepProgress:
        """How a step stands, or one leg of it."""
        if node.leg is None:
            return self.steps[node.index]
        return self.legs[node.of].at(node.leg)

    def has(self, node: Node) -> bool:
        """Whether the step takes an answer: one with legs takes none itself."""
        if node.leg is None:
            return not node.each
        return node.leg < len(self.legs[node.of].letters)

    def is_settled(self, node: Node) -> bool:
        """Whether it is a leg whose outcome stands."""
        return node.leg is not None and self.legs[node.of].is_settled(node.leg)

    def elements(self, name: str) -> Any:
        """The list for whose elements the step of this name is done."""
        return within(self.params, graph_of(self.plan).by_name[name].each[1:])

    def under_way(self) -> Iterator[tuple[Node, StepProgress]]:
        """Every step, and instead of one with legs those of them that are open."""
        for node, step in zip(graph_of(self.plan).nodes, self.steps, strict=True):
            if not node.each:
                yield node, step
                continue
            for leg, progress in self.legs[node.of].open.items():
                yield leg_node(node, leg), progress

    def waiting_beside(self, name: str) -> str:
        """Another step than `name` that waits for a signal or a time; empty: there is none."""
        for planned, step in zip(self.plan.steps, self.steps, strict=True):
            waits = planned.name if step.state == "waiting" else ""
            if planned.at and (leg := self.legs[planned.name].waiting) is not None:
                waits = leg_name(planned.name, leg)
            if waits and waits != name:
                return waits
        return ""

    @property
    def standing(self) -> str:
        """Why it is in its state, for whoever asks; empty when all goes well."""
        return self.parked_reason or self.reason or (WAITING if self.waiting_beside("") else "")

    @property
    def heading_back(self) -> bool:
        """Whether steps are being taken back, or were until it was parked."""
        return self.state == "compensating" or self.parked_from == "compensating"


class Finished(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is kept of a finished saga, to answer a repeated start and late answers."""

    id: str
    fingerprint: str
    state: SagaState
    reason: str
    finished_at_ms: int
    signals: tuple[tuple[str, str], ...] = ()
    parent: ParentStep | None = None
    recoveries: tuple[tuple[str, str], ...] = ()

    @property
    def standing(self) -> str:
        """As of a saga that is not finished."""
        return self.reason


class EventOutOfPlace(Exception):
    """An event of a saga that was never started: the journal before it is incomplete."""

    def __init__(self, saga_id: str, event: str) -> None:
        super().__init__(
            f"{event} of saga {saga_id}, which was never started: the journal is incomplete here; "
            "fold it from an earlier offset"
        )
        self.saga_id = saga_id
        self.event = event


MAX_FORESEEN: Final = 1_024
_foreseen: dict[int, tuple[SagaEvent, Saga | None, Saga | None]] = {}


def foresee(saga: Saga | None, event: SagaEvent) -> Saga | None:
    """As `evolve`, for an event that is being decided and will be folded into this very saga: it
    is kept until then, because whoever decides has to know what comes of it. Raises
    `EventOutOfPlace`."""
    after = _evolve(saga, event)
    if len(_foreseen) >= MAX_FORESEEN:
        _foreseen.clear()
    _foreseen[id(event)] = (event, saga, after)
    return after


def evolve(saga: Saga | None, event: SagaEvent) -> Saga | None:
    """The saga after `event`. None: there is none. Raises `EventOutOfPlace`."""
    known = _foreseen.pop(id(event), None)
    # An id is used again once its object is gone: only the objects themselves are proof.
    if known is not None and known[0] is event and known[1] is saga:
        return known[2]
    return _evolve(saga, event)


def _evolve(saga: Saga | None, event: SagaEvent) -> Saga | None:
    return _begun(event) if saga is None else _changed(saga, event)


NoChange = (
    StartRepeated
    | StartRefused
    | AnswerIgnored
    | RecoveryRepeated
    | RecoveryRefused
    | SignalRepeated
    | SignalRefused
    | ParentAnswered
    | ChildRefused
)
"""Events that tell what was answered and leave the saga as it is."""


def _begun(event: SagaEvent) -> Saga | None:
    if isinstance(event, SagaStarted):
        graph = graph_of(event.plan)
        plan = graph.plan
        return Saga(
            id=event.saga_id,
            fingerprint=event.fingerprint,
            state="running",
            plan=plan,
            params=event.params,
            steps=(StepProgress(),) * len(plan.steps),
            deadline_at_ms=event.at_ms + plan.deadline_ms,
            legs={
                node.of: begun(within(event.params, node.each[1:]))
                for node in graph.nodes
                if node.each
            },
            parent=event.parent,
        )
    if isinstance(event, NoChange | RecoveryAccepted):
        return None
    raise EventOutOfPlace(event.saga_id, type(event).__name__)


def _changed(saga: Saga, event: SagaEvent) -> Saga | None:
    # Class patterns are tried one after the other, so what every saga has comes first.
    match event:
        case StepRequested():
            node = _node(saga, event.step)
            return _with(saga, node, requested(saga.at(node), event), event.at_ms)
        case StepSucceeded():
            node = _node(saga, event.step)
            return _with(saga, node, succeeded(saga.at(node), event), event.at_ms)
        case SagaCompleted():
            return msgspec.structs.replace(
                saga, state="completed", reason=event.reason, finished_at_ms=event.at_ms
            )
        case StepRefused() | StepTimedOut():
            node = _node(saga, event.step)
            return _with(saga, node, failed(saga.at(node), event), event.at_ms)
        case StepSkipped():
            return _with(saga, _node(saga, event.step), StepProgress("skipped"), event.at_ms)
        case StepWaiting():
            step = StepProgress("waiting", first_at_ms=event.at_ms, timeout_at_ms=event.until_ms)
            deadline_at_ms = max(saga.deadline_at_ms, event.until_ms + saga.plan.deadline_ms)
            saga = msgspec.structs.replace(saga, deadline_at_ms=deadline_at_ms)
            return _with(saga, _node(saga, event.step), step, event.at_ms)
        case WaitEnded():
            return _waited(saga, event, event.reason, {})
        case SignalAccepted():
            signals = (*saga.signals, (event.request_id, event.digest))
            saga = msgspec.structs.replace(saga, signals=signals)
            reason = "" if event.verdict == "approve" else REJECTED
            return _waited(saga, event, reason, event.payload)
        case CompensationStarted():
            return _backward(saga, event)
        case SagaCompensated():
            return msgspec.structs.replace(saga, state="compensated", finished_at_ms=event.at_ms)
        case SagaParked():
            return msgspec.structs.replace(
                saga,
                state="parked",
                parked_from="compensating" if saga.heading_back else "running",
                parked_step=event.step,
                parked_reason=event.reason,
            )
        case SagaResumed():
            return msgspec.structs.replace(
                saga, state=event.state, parked_from="", parked_step="", parked_reason=""
            )
        case RecoveryAccepted():
            if not event.digest:
                return saga
            recoveries = (*saga.recoveries, (event.request_id, event.digest))[-MAX_RECOVERIES:]
            return msgspec.structs.replace(saga, recoveries=recoveries)
        case ParentAsked():
            return msgspec.structs.replace(saga, parent=event.parent)
        case SagaStarted():
            return _begun(event)
        case _:
            return _unchanged(saga, event)


def _unchanged(saga: Saga, event: NoChange) -> Saga:
    # Its type lets the checker prove that no other event was left out.
    return saga


def _node(saga: Saga, name: str) -> Node:
    node = graph_of(saga.plan).find(name)
    assert node is not None, "events name steps of the plan that their saga was started with"
    return node


def _with(saga: Saga, node: Node, step: StepProgress, at_ms: int) -> Saga:
    if node.leg is None:
        return msgspec.structs.replace(saga, steps=_steps(saga, node.index, step))
    legs = saga.legs[node.of].put(node.leg, step, keeps_refused=node.insists)
    before = saga.steps[node.index]
    if not before.first_at_ms:
        # All legs count as asked for with the first one: none is younger than it says.
        before = msgspec.structs.replace(before, attempt=1, first_at_ms=at_ms)
    return _with_legs(saga, node, before, legs, back=saga.heading_back)


def _with_legs(saga: Saga, node: Node, before: StepProgress, legs: Legs, *, back: bool) -> Saga:
    elements = saga.elements(node.of)
    step = whole(before, legs, elements, collects=node.step.pivot, back=back)
    return msgspec.structs.replace(
        saga, steps=_steps(saga, node.index, step), legs={**saga.legs, node.of: legs}
    )


def _steps(saga: Saga, index: int, step: StepProgress) -> tuple[StepProgress, ...]:
    return (*saga.steps[:index], step, *saga.steps[index + 1 :])


def _backward(saga: Saga, event: CompensationStarted) -> Saga:
    steps = tuple(turned_back(step) for step in saga.steps)
    # A child that was completed may be taken back by its parent.
    saga = msgspec.structs.replace(
        saga, state="compensating", reason=event.reason, steps=steps, finished_at_ms=0
    )
    for node, step in zip(graph_of(saga.plan).nodes, steps, strict=True):
        if node.each and step.state == "requested":
            legs = saga.legs[node.of].turned_back()
            saga = _with_legs(saga, node, step, legs, back=True)
    return saga


def _waited(
    saga: Saga, event: WaitEnded | SignalAccepted, reason: str, result: dict[str, Any]
) -> Saga:
    """A wait is over; with the last one the saga's own time begins anew."""
    node = _node(saga, event.step)
    if node.leg is not None:
        # Its time has come, or it is given up: either is told by what is asked for, or refused.
        step = StepProgress()
    else:
        begun_ms = saga.at(node).first_at_ms
        state: StepState = "refused" if reason else "succeeded"
        step = StepProgress(state, first_at_ms=begun_ms, reason=reason, result=result)
    saga = _with(saga, node, step, event.at_ms)
    if saga.waiting_beside(""):
        return saga
    return msgspec.structs.replace(saga, deadline_at_ms=event.at_ms + saga.plan.deadline_ms)


def can_turn_back(saga: Saga) -> bool:
    """Whether nothing has happened, or may have happened, that can't be taken back.

    An irreversible step that was asked for and not refused may be applied: the saga waits for
    its answer, also beyond the deadline.
    """
    return saga.state == "running" and nothing_irreversible(saga)


def nothing_irreversible(saga: Saga) -> bool:
    """Whether no step that can't be taken back is applied, or may be."""
    return all(
        node.reversible
        or node.do is None
        or (
            step.state not in ("requested", "timed_out", "succeeded")
            and not (step.state == "refused" and step.reason in UNSURE)
        )
        for node, step in zip(graph_of(saga.plan).nodes, saga.steps, strict=True)
    )


def next_due_ms(saga: Saga) -> int | None:
    """When `on_time` has something to do (ms since 1970); None: only an answer moves it on."""
    if saga.state in FINISHED:
        return None
    due = [at for step in saga.steps if (at := step.timeout_at_ms or step.retry_at_ms)]
    for legs in saga.legs.values():
        due += [at for step in legs.open.values() if (at := step.due_ms)]
    first_ms = min(due, default=None)
    # Whether the deadline counts needs a look at every step; mostly it is too far off to matter.
    if (first_ms is None or saga.deadline_at_ms < first_ms) and can_turn_back(saga):
        return saga.deadline_at_ms
    return first_ms
