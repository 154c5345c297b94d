"""Sagas that are steps: the checker proves that they hold, and finds what is broken in them."""

from typing import Any

import pytest

from checker.course import ENGINE, Bounds, Engine
from checker.examples import example_params
from checker.exploration import explore
from messages.child import ParentAnswered, ParentAsked, ParentStep, UndoChild
from messages.saga import SagaEvent
from orchestrator.progress import Saga
from saga_definitions.dsl import define, nested
from saga_definitions.fee import FEE
from tests.checker.broken import asks, by_hand, credit, debit
from tests.orchestrator.graphs import MoveParams, node

(PARAMS,) = example_params(FEE)


def wrong(engine: Engine = ENGINE, bounds: Bounds | None = None) -> str:
    """What goes wrong with a fee that is a step of another saga; empty: nothing, ever."""
    found = explore(FEE, PARAMS, engine=engine, bounds=bounds or Bounds(), as_child=True)
    if found.counterexample is not None:
        return found.counterexample.problem
    assert found.faults is None or bounds is not None
    assert {"completed", "compensated", "parked"} <= found.ends.keys()
    return ""


def test_a_fee_can_be_taken_back_at_any_moment() -> None:
    assert wrong(bounds=Bounds(operators=0)) == ""


def instead_of_undo(events: Any) -> Engine:
    """An engine that makes of a completed child's undo what `events` says."""

    def decide(saga: Any, message: Any, now_ms: int, *rest: Any) -> list[SagaEvent]:
        if isinstance(message, UndoChild) and saga.state == "completed":
            asking = ParentStep(message.saga_id, message.step, "undo", message.attempt)
            made: list[SagaEvent] = events(saga, asking, now_ms)
            return made
        return ENGINE.decide(saga, message, now_ms, *rest)

    return ENGINE._replace(decide=decide)


def lies(saga: Saga, asking: ParentStep, now_ms: int) -> list[SagaEvent]:
    return [ParentAnswered(saga_id=saga.id, at_ms=now_ms, parent=asking)]


def forgets(saga: Saga, asking: ParentStep, now_ms: int) -> list[SagaEvent]:
    return [ParentAsked(saga_id=saga.id, at_ms=now_ms, parent=asking)]


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        (lies, "the parent hears applied of its undo, and it is completed"),
        (forgets, "the parent takes the saga back, and it is completed"),
    ],
)
def test_a_completed_child_that_is_not_taken_back_is_found(events: Any, problem: str) -> None:
    assert wrong(instead_of_undo(events), Bounds(faults=2)) == problem


def test_a_saga_that_turns_back_unasked_after_its_end_is_found() -> None:
    def decide(saga: Any, message: Any, now_ms: int, *rest: Any) -> list[SagaEvent]:
        events = ENGINE.decide(saga, message, now_ms, *rest)
        # It turns back without being told that its parent asks.
        return [event for event in events if not isinstance(event, ParentAsked)]

    assert wrong(ENGINE._replace(decide=decide), Bounds(faults=2)) == (
        "the saga is completed, and yet goes on"
    )


def test_the_money_of_a_step_that_is_a_saga_counts() -> None:
    p = MoveParams()
    leaky = by_hand(debit(), credit("credit", "debit", do=asks("Credit", "bob", 101)))
    parent = define(
        "parent",
        version=1,
        params=p,
        steps=(node("debit"), nested("pay", leaky, given={}, pivot=True)),
    )
    (params,) = example_params(parent)
    # The debit alone leaves its amount in transit: only the child's own moves are looked at here.
    found = explore(parent, params, bounds=Bounds(faults=0)).counterexample
    assert found is not None
    amount = params["amount_minor"]
    assert found.problem == f"the saga is completed with {amount - 1:+} EUR in transit"
