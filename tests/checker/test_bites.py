"""The checker bites: a broken definition or a broken engine shows in a counterexample."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from checker import happenings
from checker.course import ENGINE, Bounds, Engine
from checker.examples import example_params
from checker.exploration import Counterexample, explore
from checker.participants import Reaction, react
from checker.timeline import told
from checker.world import World
from messages.participant import EFFECT_UNKNOWN, OUTCOME_UNKNOWN
from messages.plan import AwaitSignal, PlannedStep
from messages.saga import (
    AnswerIgnored,
    CompensationStarted,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    SagaResumed,
    SignalSaga,
    StartSaga,
    StepApplied,
    StepDeclined,
)
from orchestrator import course, progress, saga
from orchestrator.progress import Saga
from saga_definitions.dsl import Definition, Params, Person
from saga_definitions.external_payout import external_payout
from simulation.mutants import MUTANTS
from tests.checker.broken import asks, by_hand, credit, debit

GOOD = by_hand(debit(), credit("credit", "debit"))
CHAIN = by_hand(
    debit("first"),
    debit("second", "first"),
    credit("credit", "second", do=asks("Credit", "bob", 200)),
)


PAYOUT = external_payout({"EUR": "settlement-eur"})


def counterexample(definition: Definition, engine: Engine = ENGINE) -> Counterexample:
    (params,) = example_params(definition)
    found = explore(definition, params, engine=engine, bounds=Bounds(states=3_000)).counterexample
    assert found is not None, "nothing was found"
    return found


BROKEN: dict[str, tuple[Definition, str]] = {
    "an undo that takes instead of giving back": (
        by_hand(debit(undo=asks("Debit", "alice")), credit("credit", "debit")),
        "compensated and has moved -200 EUR on alice",
    ),
    "an undo that does nothing": (
        by_hand(debit(undo=asks("Unfreeze", "alice")), credit("credit", "debit")),
        "compensated and has moved -100 EUR on alice",
    ),
    "an undo that gives back less": (
        by_hand(debit(undo=asks("Credit", "alice", 99)), credit("credit", "debit")),
        "compensated and has moved -1 EUR on alice",
    ),
    "an undo that gives back to somebody else": (
        by_hand(debit(undo=asks("Credit", "mallory")), credit("credit", "debit")),
        "compensated and has moved",
    ),
    "a credit of more than was debited": (
        by_hand(debit(), credit("credit", "debit", do=asks("Credit", "bob", 101))),
        "completed with -1 EUR in transit",
    ),
    "a credit in another currency": (
        by_hand(debit(), credit("credit", "debit", do=asks("Credit", "bob", currency="USD"))),
        "completed with +100 EUR in transit",
    ),
    "a hold that nobody captures": (
        by_hand(
            debit("hold", do=asks("Hold", "alice"), undo=asks("Release", "alice", hold_id="?")),
        ),
        "completed and the hold of hold still stands",
    ),
    "a release of another hold": (
        by_hand(
            debit(
                "hold",
                do=asks("Hold", "alice"),
                undo=asks("Release", "alice", hold_id="another"),
            ),
            credit("capture", "hold", do=asks("Capture", "alice", hold_id={"ref": "effect.hold"})),
            credit("pay", "capture", pivot=False),
        ),
        "the undo of hold finds no hold to release",
    ),
    "a step before the pivot that can't be taken back": (
        by_hand(debit(undo=None), credit("credit", "debit")),
        "compensated although debit is applied",
    ),
    "a step beside the pivot": (
        by_hand(credit(), debit()),
        "credit was applied while the saga went back",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_definition_is_caught(name: str) -> None:
    definition, problem = BROKEN[name]
    assert problem in counterexample(definition).problem


MUTANTS_CAUGHT = {
    "a retry gets a fresh effect id": "asked for again under another effect id",
    "a step without an answer passes for one that did nothing": "applied or may be",
    "a failed saga ends without compensation": "compensated although",
    "compensations do not wait for each other": "compensated although",
    "a repeated request starts a second saga": "started twice",
}


@pytest.mark.parametrize("name", MUTANTS_CAUGHT)
def test_a_mutant_of_the_simulator_is_caught(name: str) -> None:
    with MUTANTS[name].at_large():
        assert MUTANTS_CAUGHT[name] in counterexample(CHAIN).problem


def test_compensation_in_forward_order_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = course._backward

    def backward(draft: course.Draft) -> None:
        for node, step in zip(draft.graph.nodes, draft.saga.steps, strict=True):
            if node.reversible and step.state == "succeeded":
                course.request(draft, node, "undo", 1)
                return
        rightly(draft)

    monkeypatch.setattr(course, "_backward", backward)
    problem = "first is taken back before second, which depends on it"
    assert counterexample(CHAIN).problem == problem


def test_an_unknown_outcome_that_passes_for_a_refusal_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(course, "_doubt", lambda node, step: "")
    monkeypatch.setattr(course, "_settled", _settled_when_silent(course._settled))
    assert "compensated although" in counterexample(GOOD).problem


def _settled_when_silent(settled: Any) -> Any:
    return lambda node, step: (
        settled(node, step) or (step.state == "timed_out" and not node.reversible)
    )


def test_a_deadline_that_does_not_wait_for_the_pivot_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (saga, progress):
        monkeypatch.setattr(module, "can_turn_back", lambda saga: saga.state == "running")
    assert "credit was applied while the saga went back" in counterexample(GOOD).problem


def test_a_retry_after_the_saga_has_turned_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = progress.turned_back
    monkeypatch.setattr(
        progress, "turned_back", lambda step: kept(step) if step.state == "pending" else step
    )
    assert "credit was applied while the saga went back" in counterexample(GOOD).problem


def test_a_retry_that_never_gives_up_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (saga, course):
        monkeypatch.setattr(module, "retry_at_ms", lambda retry, now_ms, *rest: now_ms + 1)
    assert "asked for the 3th time, its policy allows 2" in counterexample(GOOD).problem


def test_a_late_success_that_is_ignored_is_caught() -> None:
    def decide(known: Any, message: Any, *rest: Any) -> list[SagaEvent]:
        events = ENGINE.decide(known, message, *rest)
        if isinstance(message, StepApplied) and any(s.state == "timed_out" for s in known.steps):
            return [ignored(message)]
        return events

    found = counterexample(GOOD, Engine(decide=decide))
    assert found.problem == "debit is known to be applied, and the saga does not believe it"


def ignored(message: StepApplied) -> AnswerIgnored:
    return AnswerIgnored(
        saga_id=message.saga_id,
        at_ms=0,
        step=message.step,
        direction=message.direction,
        attempt=message.attempt,
        answer="applied",
        why="late",
    )


def test_a_saga_that_completes_too_early_is_caught() -> None:
    def decide(known: Any, message: Any, *rest: Any) -> list[SagaEvent]:
        events = ENGINE.decide(known, message, *rest)
        if isinstance(message, StepApplied) and message.step == "first":
            return [events[0], SagaCompleted(saga_id="saga", at_ms=0)]
        return events

    problem = "the saga is completed although second is not applied"
    assert counterexample(CHAIN, Engine(decide=decide)).problem == problem


def test_a_saga_that_goes_on_after_its_end_is_caught() -> None:
    def decide(known: Any, message: Any, *rest: Any) -> list[SagaEvent]:
        if known is not None and known.state == "completed":
            return [CompensationStarted(saga_id="saga", at_ms=0, reason="second thoughts")]
        return ENGINE.decide(known, message, *rest)

    problem = "the saga is completed, and yet goes on"
    assert counterexample(GOOD, Engine(decide=decide)).problem == problem


def test_an_approval_by_the_one_who_must_not_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = PlannedStep("approval", wait=AwaitSignal(60_000, not_by="params.initiator"))
    plan = by_hand(wait, debit("debit", "approval"), credit("credit", "debit")).plan

    class Initiated(Params):
        initiator = Person()

    definition = Definition("by_hand", 1, plan, Initiated.declared(), (), ())
    params = {"initiator": "ann"}
    assert explore(definition, params).counterexample is None

    def decide(known: Any, message: Any, *rest: Any) -> list[SagaEvent]:
        if isinstance(message, SignalSaga):
            message = msgspec.structs.replace(message, who="ben")
        return ENGINE.decide(known, message, *rest)

    found = explore(definition, params, engine=Engine(decide=decide)).counterexample
    assert found is not None
    assert found.problem == "ann has decided what is for another person to decide"


@pytest.mark.parametrize("reason", [OUTCOME_UNKNOWN, EFFECT_UNKNOWN])
def test_not_knowing_that_passes_for_a_refusal_is_caught(reason: str) -> None:
    def decide(known: Any, message: Any, *rest: Any) -> list[SagaEvent]:
        if isinstance(message, StepDeclined) and message.reason == reason:
            message = msgspec.structs.replace(message, reason="never_done")
        return ENGINE.decide(known, message, *rest)

    found = counterexample(PAYOUT, Engine(decide=decide))
    assert found.problem == "hold is taken back before payout, which depends on it"


def test_a_payout_that_is_sent_again_instead_of_enquired_after_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(course, "_asks_for_outcome", lambda node, step: False)
    problem = "payout is sent again although its outcome is unknown"
    assert counterexample(PAYOUT).problem == problem


def test_an_enquiry_that_hears_a_refusal_which_a_late_command_can_outdo_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forgetful(world: World, *about: Any) -> Iterator[Reaction]:
        for reaction in react(world, *about):
            done = reaction.world.effects != world.effects
            yield reaction._replace(world=world) if done and about[0].is_enquiry else reaction

    monkeypatch.setattr(happenings, "react", forgetful)
    assert counterexample(PAYOUT).problem == "hold is taken back before payout, which depends on it"


def test_timers_that_are_lost_or_ignored_are_caught() -> None:
    def no_timer(saga: Saga) -> None:
        return None

    def nothing(saga: Saga, now_ms: int) -> list[SagaEvent]:
        return []

    lost = counterexample(GOOD, Engine(next_due_ms=no_timer))
    assert lost.problem == "the saga is running and no timer is set: without an answer it is stuck"
    overlooked = counterexample(GOOD, Engine(on_time=nothing))
    assert overlooked.problem == "a timer is due and nothing changes: the saga is stuck"


def test_a_saga_that_goes_round_in_a_circle_is_caught() -> None:
    def decide(known: Any, message: Any, *rest: Any) -> list[SagaEvent]:
        waits = known is not None and known.steps[0].state == "requested"
        if not waits or not isinstance(message, StartSaga):
            return ENGINE.decide(known, message, *rest)
        if known.state == "parked":
            state = known.parked_from
            return [SagaResumed(saga_id="saga", at_ms=0, state=state, reason="asked again")]
        return [SagaParked(saga_id="saga", at_ms=0, reason="asked again", step="debit")]

    found = explore(GOOD, {}, engine=Engine(decide=decide), bounds=Bounds(1, 0, 0)).counterexample
    assert found is not None
    assert found.problem == "the saga goes round in a circle"


def test_the_counterexample_is_the_simplest_one_and_tells_its_whole_story() -> None:
    definition, _ = BROKEN["an undo that does nothing"]
    found = counterexample(definition)
    assert found.faults == 1
    assert [(moment.text, *map(told, moment.events)) for moment in found.timeline] == [
        ("the caller asks", "starts by_hand@1", "asks for debit#1"),
        ("debit#1 is applied", "knows debit to be applied", "asks for credit#1"),
        (
            "credit#1 is refused: insufficient_funds",
            "knows credit to be refused, for good",
            "turns back: insufficient_funds",
            "asks for undo of debit#1",
        ),
        ("undo of debit#1 is applied", "knows undo of debit to be applied", "COMPENSATED"),
    ]
    assert found.timeline[-1].moved == {("alice", "EUR"): -100}
    assert found.timeline[-1].transit == {"EUR": 100}
