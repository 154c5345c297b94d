"""The checker looks at steps that are done leg by leg, and bites there too."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from checker.course import Bounds
from checker.examples import example_params
from checker.exploration import explore
from messages.plan import PlannedStep
from orchestrator import fan
from orchestrator.graph import Node
from orchestrator.progress import Saga
from saga_definitions.dsl import Definition
from saga_definitions.payroll import PAYROLL
from saga_definitions.payroll_all_or_none import PAYROLL_ALL_OR_NONE


def two_legs(definition: Definition) -> dict[str, Any]:
    (params,) = (one for one in example_params(definition) if len(one["legs"]) == 2)
    return params


def problem(definition: Definition) -> str:
    found = explore(definition, two_legs(definition), bounds=Bounds(states=3_000)).counterexample
    assert found is not None, "nothing was found"
    return found.problem


def changed(definition: Definition, name: str, **changes: Any) -> Definition:
    def one(step: PlannedStep) -> PlannedStep:
        return msgspec.structs.replace(step, **changes) if step.name == name else step

    steps = tuple(one(step) for step in definition.plan.steps)
    return replace(definition, plan=msgspec.structs.replace(definition.plan, steps=steps))


def test_a_definition_with_legs_is_looked_at_with_one_and_with_two() -> None:
    assert [len(one["legs"]) for one in example_params(PAYROLL)] == [2, 1]


def test_what_could_not_be_paid_and_is_kept_is_found() -> None:
    kept = replace(
        PAYROLL, plan=msgspec.structs.replace(PAYROLL.plan, steps=PAYROLL.plan.steps[:-1])
    )
    assert problem(kept).startswith("the saga is completed with +")


def test_a_leg_that_is_taken_back_by_another_ones_hold_is_found() -> None:
    (credit,) = (one for one in PAYROLL_ALL_OR_NONE.plan.steps if one.name == "credit")
    assert credit.undo is not None
    fields = {**credit.undo.fields, "hold_id": "saga/credit.0/do"}
    undo = msgspec.structs.replace(credit.undo, fields=fields)
    assert problem(changed(PAYROLL_ALL_OR_NONE, "credit", undo=undo))


def test_more_legs_than_the_width_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def room(saga: Saga, node: Node) -> int:
        return 2

    monkeypatch.setattr(fan, "_room", room)
    assert problem(changed(PAYROLL, "pay", width=1)) == "more than 1 legs of pay are under way"
