"""Where a saga stands: its state, the state of each step, and how events change both.

Nothing is decided here. `evolve` is total over the events that `saga.py` can decide, so that a
journal folds to the same saga for everyone; a saga's timers are fields of it (`next_due_ms`).
"""

from typing import Any, Final, Literal, assert_never

import msgspec

from messages.child import ChildRefused, ParentAnswered, ParentAsked, ParentStep
from messages.identity import Direction, child_id
from messages.participant import EFFECT_UNKNOWN
from messages.plan import Plan
from messages.saga import (
    FINISHED,
    WAITING,
    AnswerIgnored,
    CompensationStarted,
    RecoveryAccepted,
    RecoveryRefused,
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
from orchestrator.graph import graph_of

StepState = Literal[
    "pending",
    "requested",
    "succeeded",
    "refused",
    "timed_out",
    "undoing",
    "undone",
    "undo_failed",
    "skipped",
    "waiting",
]
DONE: Final[frozenset[StepState]] = frozenset(("succeeded", "skipped"))
"""What a step's successors wait for while the saga goes forward."""

_UNDO: Final[frozenset[StepState]] = frozenset(("undoing", "undone", "undo_failed"))

UNSURE: Final = frozenset(("effect_expired", "effect_reused", EFFECT_UNKNOWN))
"""Refusals that leave open whether the effect was applied, or will be."""

TIMED_OUT: Final = "step_timeout"
"""The reason of a step that nobody answered: its outcome is unknown."""

REJECTED: Final = "rejected"
"""The reason of a step whose signal says no."""


class StepProgress(msgspec.Struct, frozen=True, array_like=True):
    """One step. `attempt` counts for the direction it is in; `first_at_ms` is when the forward
    effect was first asked for, also while it is taken back (see `messages.account.Asked`).

    At most one of `timeout_at_ms` (an answer is awaited, or the end of `waiting`) and
    `retry_at_ms` (the next attempt is awaited) is set; with neither, `refused`, `timed_out` and
    `undo_failed` are final. `reason` is the last refusal's, or `TIMED_OUT`. `life`: of a step that
    is a saga, which one: see `messages.identity.child_id`.
    """

    state: StepState = "pending"
    attempt: int = 0
    first_at_ms: int = 0
    timeout_at_ms: int = 0
    retry_at_ms: int = 0
    reason: str = ""
    result: dict[str, Any] = {}
    life: int = 0

    @property
    def direction(self) -> Direction:
        return "undo" if self.state in _UNDO else "do"

    @property
    def next_life(self) -> int:
        """Of the next attempt: a saga that was declined stays so, trying again begins another."""
        return self.life + (self.state == "refused" and self.reason not in UNSURE)

    @property
    def open(self) -> bool:
        """Whether the step was asked for and its outcome is not settled."""
        if self.state == "refused":
            return self.retry_at_ms > 0 or self.reason in UNSURE
        return self.state in ("requested", "timed_out", "undoing", "undo_failed")


class Saga(msgspec.Struct, frozen=True, kw_only=True):
    """One saga. `reason`: why it turned back. `steps` is parallel to `plan.steps`.

    `deadline_at_ms` counts from the start, or from the end of the last wait. `signals`: request
    id and digest of each signal that was accepted. `parent`: the step that it is, and which of its
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

    def waiting_beside(self, name: str) -> str:
        """Another step than `name` that waits for a signal or a time; empty: there is none."""
        for planned, step in zip(self.plan.steps, self.steps, strict=True):
            if step.state == "waiting" and planned.name != name:
                return planned.name
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


def _begun(event: SagaEvent) -> Saga | None:
    match event:
        case SagaStarted():
            plan = graph_of(event.plan).plan
            return Saga(
                id=event.saga_id,
                fingerprint=event.fingerprint,
                state="running",
                plan=plan,
                params=event.params,
                steps=(StepProgress(),) * len(plan.steps),
                deadline_at_ms=event.at_ms + plan.deadline_ms,
                parent=event.parent,
            )
        case (
            StartRepeated()
            | StartRefused()
            | AnswerIgnored()
            | RecoveryAccepted()
            | RecoveryRefused()
            | SignalRepeated()
            | SignalRefused()
            | ParentAnswered()
            | ChildRefused()
        ):
            return None
        case _:
            raise EventOutOfPlace(event.saga_id, type(event).__name__)


def _changed(saga: Saga, event: SagaEvent) -> Saga | None:
    # Class patterns are tried one after the other, so what every saga has comes first.
    match event:
        case StepRequested():
            return _with_step(saga, event.step, _requested(_step(saga, event.step), event))
        case StepSucceeded():
            return _with_step(saga, event.step, _succeeded(_step(saga, event.step), event))
        case SagaCompleted():
            return msgspec.structs.replace(saga, state="completed", finished_at_ms=event.at_ms)
        case StepRefused() | StepTimedOut():
            return _with_step(saga, event.step, _failed(_step(saga, event.step), event))
        case StepSkipped():
            return _with_step(saga, event.step, StepProgress("skipped"))
        case StepWaiting():
            step = StepProgress("waiting", first_at_ms=event.at_ms, timeout_at_ms=event.until_ms)
            deadline_at_ms = max(saga.deadline_at_ms, event.until_ms + saga.plan.deadline_ms)
            saga = msgspec.structs.replace(saga, deadline_at_ms=deadline_at_ms)
            return _with_step(saga, event.step, step)
        case WaitEnded():
            return _waited(saga, event, event.reason, {})
        case SignalAccepted():
            signals = (*saga.signals, (event.request_id, event.digest))
            saga = msgspec.structs.replace(saga, signals=signals)
            reason = "" if event.verdict == "approve" else REJECTED
            return _waited(saga, event, reason, event.payload)
        case CompensationStarted():
            steps = tuple(_turned_back(step) for step in saga.steps)
            # A child that was completed may be taken back by its parent.
            return msgspec.structs.replace(
                saga, state="compensating", reason=event.reason, steps=steps, finished_at_ms=0
            )
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
        case ParentAsked():
            return msgspec.structs.replace(saga, parent=event.parent)
        case SagaStarted():
            return _begun(event)
        case (
            StartRepeated()
            | StartRefused()
            | AnswerIgnored()
            | RecoveryAccepted()
            | RecoveryRefused()
            | SignalRepeated()
            | SignalRefused()
            | ParentAnswered()
            | ChildRefused()
        ):
            return saga
        case _:
            assert_never(event)


def _step(saga: Saga, name: str) -> StepProgress:
    return saga.steps[graph_of(saga.plan).by_name[name].index]


def _with_step(saga: Saga, name: str, step: StepProgress) -> Saga:
    index = graph_of(saga.plan).by_name[name].index
    steps = (*saga.steps[:index], step, *saga.steps[index + 1 :])
    return msgspec.structs.replace(saga, steps=steps)


def _requested(step: StepProgress, event: StepRequested) -> StepProgress:
    return StepProgress(
        state="requested" if event.direction == "do" else "undoing",
        attempt=event.attempt,
        first_at_ms=step.first_at_ms or event.at_ms,
        timeout_at_ms=event.timeout_at_ms,
        result=step.result,
        life=step.next_life,
    )


def _succeeded(step: StepProgress, event: StepSucceeded) -> StepProgress:
    state, result = ("undone", step.result)
    if event.direction == "do":
        state, result = ("succeeded", event.result)
    return StepProgress(state, step.attempt, step.first_at_ms, result=result, life=step.life)


def _failed(step: StepProgress, event: StepRefused | StepTimedOut) -> StepProgress:
    timed_out = isinstance(event, StepTimedOut)
    state: StepState
    if event.direction == "undo":
        state = "undoing" if event.retry_at_ms else "undo_failed"
    else:
        state = "timed_out" if timed_out else "refused"
    return StepProgress(
        state,
        event.attempt,
        step.first_at_ms,
        retry_at_ms=event.retry_at_ms,
        reason=TIMED_OUT if timed_out else event.reason,
        result=step.result,
        life=step.life,
    )


def _waited(
    saga: Saga, event: WaitEnded | SignalAccepted, reason: str, result: dict[str, Any]
) -> Saga:
    """A wait is over; with the last one the saga's own time begins anew."""
    begun_ms = _step(saga, event.step).first_at_ms
    state: StepState = "refused" if reason else "succeeded"
    step = StepProgress(state, first_at_ms=begun_ms, reason=reason, result=result)
    saga = _with_step(saga, event.step, step)
    if saga.waiting_beside(""):
        return saga
    return msgspec.structs.replace(saga, deadline_at_ms=event.at_ms + saga.plan.deadline_ms)


def _turned_back(step: StepProgress) -> StepProgress:
    if step.state in ("pending", "waiting"):
        return StepProgress("skipped")
    # No further try forward: asking again could apply what is about to be taken back.
    if step.state == "refused" and step.reason == EFFECT_UNKNOWN:
        # Its command may still come: it has to be taken back like one that was not answered.
        return msgspec.structs.replace(step, state="timed_out", retry_at_ms=0, reason=TIMED_OUT)
    if step.state in ("refused", "timed_out") and step.retry_at_ms:
        return msgspec.structs.replace(step, retry_at_ms=0)
    return step


def child_ids(saga: Saga) -> dict[str, str]:
    """Step -> the saga that it is, for the steps that are sagas and were asked for."""
    return {
        node.step.name: child_id(saga.id, node.step.name, step.first_at_ms, step.life)
        for node in graph_of(saga.plan).nested
        if (step := saga.steps[node.index]).attempt
    }


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
    if can_turn_back(saga):
        due.append(saga.deadline_at_ms)
    return min(due, default=None)
