"""Steps that are sagas: what is checked of the definition that such a step is, and its commands.

A saga that goes back takes its children back, completed ones too. So a child that can't be taken
back is the pivot, or comes after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from messages.plan import AwaitSignal, AwaitTime, Retry
from saga_definitions.definition import Definition
from saga_definitions.params import Legs, Lookup, Param, Problem, Ref
from saga_definitions.steps import Step, Value

MAX_DEPTH: Final = 4
"""Sagas within each other; more is a mistake."""
MAX_LEGS: Final = 1_000
"""Legs that a saga may give to those that are its steps, in all: each start is one command and one
event with its whole list in it, and a child that can be taken back is kept with its list."""


def patience(*retryable: str) -> Retry:
    """How a step that is a saga is asked for: how it ends is its own affair, so for years."""
    return Retry(1_000, first_delay_ms=1_000, max_delay_ms=6 * 3_600 * 1_000, retryable=retryable)


def problem_of(parent: str, deadline_ms: int, step: Step, child: Definition) -> str:
    """Why `child` can't be `step` of the definition `parent`; empty when it can."""
    name = f"{child.name}@{child.version}"
    if parent == child.name or parent in _within(child):
        return f"{parent} would be a step of itself, within {name}"
    if child.timetable is not None:
        return f"{name} finds its own times when it begins: it can't be a step"
    if _depth(child) >= MAX_DEPTH:
        return f"at most {MAX_DEPTH} sagas within each other"
    if step.undo is None:
        return ""
    if any(one.undo is None and one.wait is None for one in child.plan.steps):
        return f"{name} can't be taken back once it is completed: make the step the pivot"
    lasts_ms = _lasts_ms(child)
    if lasts_ms is None or lasts_ms > deadline_ms:
        lasts = "any time" if lasts_ms is None else f"{lasts_ms} ms"
        return f"{name} may take {lasts}, but at {deadline_ms} ms {parent} turns back"
    return ""


def legs_given(step: Step) -> int:
    """How many legs the step gives to the saga that it is, at most."""
    if step.child is None or step.do is None:
        return 0
    return sum(value.most for value in step.do.fields.values() if isinstance(value, Legs))


def _within(definition: Definition) -> set[str]:
    return {name for child in definition.children for name in (child.name, *_within(child))}


def _depth(definition: Definition) -> int:
    return 1 + max(map(_depth, definition.children), default=0)


def waits_ms(definition: Definition) -> int | None:
    """How long a saga of it may wait in all before it is past its pivot; None: any time."""
    total = 0
    for step in definition.plan.steps:
        if isinstance(step.wait, AwaitTime):
            return None
        total += step.wait.timeout_ms if isinstance(step.wait, AwaitSignal) else 0
    for child in definition.children:
        waits = waits_ms(child)
        if waits is None:
            return None
        total += waits
    return total


def _lasts_ms(definition: Definition) -> int | None:
    """How long a saga of it, which can be taken back, may go forward; None: any time. Its children
    are within its deadline, which counts anew from the end of a wait."""
    waits = [step.wait for step in definition.plan.steps if step.wait is not None]
    if any(isinstance(wait, AwaitTime) for wait in waits):
        return None
    waited_ms = sum(wait.timeout_ms for wait in waits if isinstance(wait, AwaitSignal))
    return waited_ms + (1 + len(waits)) * definition.plan.deadline_ms


@dataclass(frozen=True)
class Accepts:
    """A rule: what the step gives its child is what the child takes, as far as the parent's own
    parameters tell. So a caller is refused at once, not by the child later."""

    step: Step

    @property
    def names(self) -> tuple[str, ...]:
        return (self.step.name,)

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        command, child = self.step.do, self.step.child
        assert command is not None and child is not None
        if self.step.when:
            return None
        try:
            given = {name: _value(params, value) for name, value in command.fields.items()}
        except _OnlyTheRunCanTell:
            return None
        for place, reason in child.check_params(given):
            value = command.fields.get(place)
            where = value.name if isinstance(value, Param) else self.step.name
            return (where, f"{reason}, says {child.name} of its {place}")
        return None


class _OnlyTheRunCanTell(Exception):
    """A value that comes from a step's result."""


def _value(params: Mapping[str, object], value: Value) -> object:
    if not isinstance(value, Ref):
        return value
    root, name, *path = value.path.split(".")
    if root != "params":
        raise _OnlyTheRunCanTell
    found: Any = params[name]
    if path:
        leg, part = path
        found = found[int(leg)][part]
    return value.table[found] if isinstance(value, Lookup) else found
