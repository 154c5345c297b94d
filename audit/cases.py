"""The sagas: their own journal's story and what the accounts did for them, put side by side.

The two journals are read in no fixed order, so either side may come first; what both say is
compared when the second one comes. A saga that is finished and right shrinks to its outcome
(`Closed`); what is left at the end is judged by `verdict.py`.
"""

from collections.abc import Callable
from typing import Any, Final

from audit.case import Case, Closed, Outcome, PlanStep
from audit.children import Children
from audit.conditions import legs, terms
from audit.effects import Effect, Misnamed, Posting, applied_by, asked_of
from audit.report import Findings
from audit.verdict import problems
from journal.log import Place
from messages.account import (
    Captured,
    Credited,
    CreditedOnHold,
    Debited,
    EffectRepeated,
    EffectVoided,
    Held,
)
from messages.child import ChildRefused, ParentAnswered, ParentAsked
from messages.identity import effect_id
from messages.saga import (
    FINISHED,
    WAITING,
    AnswerIgnored,
    CompensationStarted,
    RecoveryRefused,
    RecoveryRepeated,
    SagaCompensated,
    SagaCompleted,
    SagaParked,
    SagaResumed,
    SagaStarted,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    StartRefused,
    StartRepeated,
    StepRequested,
    StepSkipped,
    StepSucceeded,
    StepWaiting,
    WaitEnded,
)
from saga_definitions.reversal import REVERSIBLE

_WITHOUT_SAGA: Final = (
    AnswerIgnored,
    StartRefused,
    RecoveryRefused,
    SignalRefused,
    ParentAnswered,
    ChildRefused,
)
_AFTERWARDS: Final = (*_WITHOUT_SAGA, StartRepeated, SignalRepeated, RecoveryRepeated, ParentAsked)
_TAKEN_BACK_BY_NAME: Final = ("Debited", "Credited", "Claimed", "Locked")


class Cases:
    """All sagas by id. `memory_ms`: how long a finished saga's id can't begin another one.

    `later`: what accounts did for a saga that was closed already: another saga under its id, or
    a posting too many. `former`: unclosed cases whose id began anew.
    """

    def __init__(self, findings: Findings, memory_ms: int) -> None:
        self.sagas: dict[str, Case | Closed] = {}
        self.later: dict[str, Case] = {}
        self.former: list[Case | Closed] = []
        self.started: dict[int, int] = {}
        self.children = Children()
        self._lives: dict[str, list[Case | Closed]] = {}
        self._findings = findings
        self._memory_ms = memory_ms
        self._plans: dict[tuple[PlanStep, ...], tuple[PlanStep, ...]] = {}
        self._outcomes: dict[Outcome, Outcome] = {}
        self._folds: dict[type[Any], Callable[[Case, Any, Place, int], None]] = {
            StepRequested: self._requested,
            StepSucceeded: self._succeeded,
            CompensationStarted: self._turned,
            SagaParked: self._turned,
            SagaResumed: self._turned,
            StepSkipped: self._skipped,
            StepWaiting: self._waiting,
            WaitEnded: self._waited,
            SignalAccepted: self._waited,
            SagaCompleted: self._finished,
            SagaCompensated: self._finished,
        }

    # The saga's own journal

    def fold(self, event: Any, place: Place, offset: int) -> None:
        saga = self.sagas.get(event.saga_id)
        kind = type(event)
        self.children.fold(event, place, offset)
        if kind is CompensationStarted and isinstance(saga, Case) and saga.may_be_taken_back:
            saga.finished_at = -1
        if kind is SagaStarted:
            self._started(saga, event, place, offset)
            return
        if isinstance(saga, Closed) or (saga is not None and saga.finished_at >= 0):
            if kind not in _AFTERWARDS:
                state = saga.outcome.state
                self._say("saga_ended", event, place, offset, f"no more after {state}", _kind(kind))
            return
        if saga is None or saga.started_at < 0:
            if kind in _WITHOUT_SAGA:
                return
            saga = self._case(event.saga_id)
            if not saga.lost:
                saga.lost = True
                self._say("saga_begun", event, place, offset, "SagaStarted first", _kind(kind))
        fold = self._folds.get(kind)
        if fold is not None:
            fold(saga, event, place, offset)

    def _started(
        self, saga: Case | Closed | None, event: SagaStarted, place: Place, offset: int
    ) -> None:
        if isinstance(saga, Closed) or (saga is not None and saga.started_at >= 0):
            ended = saga.outcome.state in FINISHED
            if not ended or saga.finished_ms + self._memory_ms > event.at_ms:
                self._say("saga_begun", event, place, offset, "SagaStarted once", "again")
                return
            self.former.append(saga)
            self._lives.setdefault(event.saga_id, []).append(saga)
            del self.sagas[event.saga_id]
            later = self.later.pop(event.saga_id, None)
            if later is not None:
                self.sagas[event.saga_id] = later
        else:
            self.started[place.partition] = self.started.get(place.partition, 0) + 1
        case = self._case(event.saga_id)
        case.partition, case.started_at, case.state = place.partition, offset, "running"
        case.definition, case.version = event.plan.definition, event.plan.version
        steps = tuple(
            PlanStep(
                step.name,
                reversible=step.undo is not None and not step.pivot,
                waits=step.wait is not None,
                legs=legs(step, event.params),
                collects=step.pivot and bool(step.each),
                after=step.after,
            )
            for step in event.plan.steps
        )
        case.facts = _facts(event)
        case.steps = self._plans.setdefault(steps, steps)
        case.terms = terms(event)
        case.is_child = event.parent is not None

    def _requested(self, case: Case, event: StepRequested, place: Place, offset: int) -> None:
        self._not_to_be_skipped(case, event, place, offset)
        if event.direction == "do":
            self._in_time(case, event, place, offset)
            self._in_order(case, event, place, offset)
        try:
            asked = asked_of(event)
        except Misnamed as error:
            self._say("command", event, place, offset, error.expected, error.found)
            return
        effect = _effect(case, f"{event.step}/{event.direction}")
        if effect.asked is not None and effect.asked != asked:
            self._say("command", event, place, offset, f"again {effect.asked}", str(asked))
        if event.attempt <= effect.attempt:
            expected = f"an attempt after {effect.attempt}"
            self._say("command", event, place, offset, expected, f"attempt {event.attempt}")
        effect.asked, effect.attempt = asked, event.attempt
        self._compare(event.saga_id, effect)

    def _succeeded(self, case: Case, event: StepSucceeded, place: Place, offset: int) -> None:
        key = f"{event.step}/{event.direction}"
        effect = _effect(case, key)
        if effect.asked is None:
            self._say("step_asked", event, place, offset, f"{key} to be asked for first", "not")
        if effect.succeeded_at < 0 and effect.applied is None and not effect.void:
            case.awaited += 1
        effect.succeeded_at = offset
        if effect.outside and effect.applied is None:
            if event.direction == "undo" and _effect(case, f"{event.step}/do").applied is None:
                effect.void = True
            else:
                effect.applied, effect.applied_at = effect.asked, offset
            case.awaited -= 1

    def _skipped(self, case: Case, event: StepSkipped, place: Place, offset: int) -> None:
        if case.terms.due.get(event.step, True):
            self._say("step_skipped", event, place, offset, f"{event.step} to be done", "skipped")
        case.skipped |= {event.step}

    def _waiting(self, case: Case, event: StepWaiting, place: Place, offset: int) -> None:
        self._not_to_be_skipped(case, event, place, offset)
        case.reason, case.step = WAITING, event.step

    def _waited(
        self, case: Case, event: WaitEnded | SignalAccepted, place: Place, offset: int
    ) -> None:
        if case.state == "running":
            case.reason = WAITING if event.still_waiting else ""
            case.step = event.still_waiting
        if isinstance(event, SignalAccepted):
            done = event.verdict == "approve"
            barred = case.terms.barred.get(event.step)
            if done and barred is not None and barred.casefold() == event.who.casefold():
                self._say("approved_by", event, place, offset, f"not {barred}", event.who)
        else:
            done = not event.reason
            if done:
                self._in_time(case, event, place, offset)
        if done:
            case.passed |= {event.step}

    def _not_to_be_skipped(
        self, case: Case, event: StepRequested | StepWaiting, place: Place, offset: int
    ) -> None:
        if case.terms.due.get(event.step) is False:
            self._say("step_skipped", event, place, offset, f"{event.step} skipped", "begun")

    def _in_time(
        self, case: Case, event: StepRequested | WaitEnded, place: Place, offset: int
    ) -> None:
        earliest = case.terms.earliest.get(event.step, event.at_ms)
        if event.at_ms < earliest:
            self._say("too_early", event, place, offset, f"not before {earliest}", f"{event.at_ms}")

    def _in_order(self, case: Case, event: StepRequested, place: Place, offset: int) -> None:
        """What comes before a step is done, and the step is begun by its last moment."""
        step = case.step_of(event.step)
        if step is None:
            return
        for before in step.after:
            other = case.step_of(before)
            if other is not None and other.legs is None and not case.has_done(before):
                self._say("step_order", event, place, offset, f"{before} done first", event.step)
        # Only when it begins, and of its legs the first: what is under way may take its time.
        latest = case.terms.latest.pop(step.name, event.at_ms)
        if event.attempt == 1 and event.at_ms > latest:
            self._say("too_late", event, place, offset, f"not after {latest}", f"{event.at_ms}")

    def _turned(self, case: Case, event: Any, place: Place, offset: int) -> None:
        case.reason = event.reason
        case.step = event.step if type(event) is SagaParked else ""
        if type(event) is SagaParked:
            case.state = "parked"
        else:
            case.state = event.state if type(event) is SagaResumed else "compensating"

    def _finished(
        self, case: Case, event: SagaCompleted | SagaCompensated, place: Place, offset: int
    ) -> None:
        case.step = ""
        if isinstance(event, SagaCompensated):
            case.state, case.reason = "compensated", event.reason
        else:
            case.state, case.reason = "completed", event.reason
        case.finished_at, case.finished_ms = offset, event.at_ms
        self._close(case)

    def lives(self, saga_id: str) -> list[Case | Closed]:
        """All sagas that were begun under this id, the last one first."""
        saga = self.sagas.get(saga_id)
        return [*([] if saga is None else [saga]), *self._lives.get(saga_id, ())]

    # The journals of those who were asked

    def applied(
        self, event: Any, place: Place, offset: int, posting: Posting | None = None
    ) -> None:
        """An account changed because of a saga's command; or, with its `posting`, a quota did."""
        key = f"{event.step}/{event.direction}"
        if event.effect_id != effect_id(event.saga_id, event.step, event.direction):
            name = effect_id(event.saga_id, event.step, event.direction)
            self._say("effect_named", event, place, offset, name, event.effect_id)
        saga = self.sagas.get(event.saga_id)
        if isinstance(saga, Closed):
            case = self.later.setdefault(event.saga_id, _case(event.saga_id))
        else:
            case = self._case(event.saga_id)
        _account_for(case, event)
        effect = _effect(case, key)
        if effect.applied is not None:
            expected = f"effect {event.effect_id} once (offset {effect.applied_at})"
            self._say("effect_once", event, place, offset, expected, "again")
            return
        if effect.revoked:
            expected = f"effect {event.effect_id} refused: its compensation came first"
            self._say("effect_voided", event, place, offset, expected, _kind(type(event)))
        _heard(case, effect)
        effect.applied = posting or applied_by(event)
        effect.applied_in, effect.applied_at = place, offset
        self._compare(event.saga_id, effect)
        # A saga may have thousands of effects: it is not judged anew for each of them.
        if case.finished_at >= 0 and not case.awaited:
            self._close(case)

    def told(self, event: Any, place: Place, offset: int) -> None:
        """An account answered a saga's command without a change."""
        if isinstance(event, EffectRepeated):
            self.repeated(event, event.refused == "", place, offset)
        elif isinstance(event, EffectVoided):
            self.voided(event, event.voided, place, offset)

    def repeated(self, event: Any, applied: bool, place: Place, offset: int) -> None:
        """A saga was told the effect's first outcome again: `applied`, or not."""
        key = f"{event.step}/{event.direction}"
        saga = self.sagas.get(event.saga_id)
        done = _is_applied(saga, key) or _is_applied(self.later.get(event.saga_id), key)
        if done != applied:
            expected = "an outcome that the effect had: " + ("applied" if done else "not")
            found = "applied" if applied else "refused"
            self._say("effect_repeated", event, place, offset, expected, found)

    def voided(self, event: Any, voided: str, place: Place, offset: int) -> None:
        """A compensation found nothing to take back; the effect `voided` must not come any more."""
        if isinstance(self.sagas.get(event.saga_id), Closed):
            return
        case = self._case(event.saga_id)
        effect = _effect(case, f"{event.step}/{event.direction}")
        _heard(case, effect)
        effect.void = True
        forward = _effect(case, f"{event.step}/do")
        if forward.applied is None:
            forward.revoked = True
        elif forward.applied.kind in _TAKEN_BACK_BY_NAME or voided in case.holds:
            expected = f"{voided} to be taken back: it was applied"
            self._say("effect_voided", event, place, offset, expected, "voided")
        if case.finished_at >= 0 and not case.awaited:
            self._close(case)

    def _compare(self, saga_id: str, effect: Effect) -> None:
        asked, applied = effect.asked, effect.applied
        if asked is not None and applied is not None and asked != applied:
            assert effect.applied_in is not None, "whoever applies says where"
            self._findings.add(
                "effect_as_asked",
                effect.applied_in,
                effect.applied_at,
                f"saga {saga_id}",
                f"{asked}, as its StepRequested says",
                str(applied),
            )

    def _case(self, saga_id: str) -> Case:
        case = self.sagas.get(saga_id)
        if not isinstance(case, Case):
            case = self.sagas[saga_id] = _case(saga_id)
        return case

    def _close(self, case: Case) -> None:
        """Forget the details of a finished saga once there is nothing to say about it."""
        if case.started_at < 0 or case.may_be_taken_back or problems(case):
            return
        done = frozenset(
            key for key, effect in case.effects.items() if effect.applied or effect.void
        )
        outcome = case.outcome._replace(applied=done)
        outcome = self._outcomes.setdefault(outcome, outcome)
        self.sagas[case.saga_id] = Closed(outcome, case.finished_ms, case.facts)

    def _say(
        self, check: str, event: Any, place: Place, offset: int, expected: str, found: str
    ) -> None:
        self._findings.add(check, place, offset, f"saga {event.saga_id}", expected, found)


def _case(saga_id: str) -> Case:
    return Case(saga_id, effects={}, transit={}, holds=set())


def _facts(event: SagaStarted) -> int:
    if event.plan.definition not in REVERSIBLE:
        return 0
    of = event.params
    return hash((of.get("source"), of.get("target"), of.get("amount_minor"), of.get("currency")))


def _effect(case: Case, key: str) -> Effect:
    effect = case.effects.get(key)
    if effect is None:
        effect = case.effects[key] = Effect()
    return effect


def _heard(case: Case, effect: Effect) -> None:
    """The accounts' journal tells of the effect now."""
    if effect.succeeded_at >= 0 and effect.applied is None and not effect.void:
        case.awaited -= 1


def _is_applied(saga: Case | Closed | None, key: str) -> bool:
    if saga is None:
        return False
    if isinstance(saga, Closed):
        return key in saga.outcome.applied
    effect = saga.effects.get(key)
    return effect is not None and (effect.applied is not None or effect.void)


def _account_for(case: Case, event: Any) -> None:
    """Keep the saga's transit account and its holds."""
    if isinstance(event, Debited | Captured):
        case.transit[event.currency] = case.transit.get(event.currency, 0) + event.amount_minor
    elif isinstance(event, Credited | CreditedOnHold):
        case.transit[event.currency] = case.transit.get(event.currency, 0) - event.amount_minor
    if isinstance(event, Held | CreditedOnHold):
        case.holds.add(event.effect_id)
    elif hasattr(event, "hold_id"):
        case.holds.discard(event.hold_id)


def _kind(kind: type[Any]) -> str:
    return kind.__name__
