"""Locks in a definition: none is left behind, and no two sagas wait for each other.

Every lock is released on the way forward by one step, and by its undo on the way back. Locks are
taken one after the other in one order for all definitions, that of their purposes; so in every
circle of sagas that wait for each other one would have to wait for a lower one than it holds.
"""

from collections.abc import Mapping

from messages.claims import AcquireLock, ReleaseLock
from messages.wire import type_name
from saga_definitions.definition import Definition
from saga_definitions.order import DefinitionError
from saga_definitions.params import Ref, written
from saga_definitions.steps import Command, Step, effect_of

_NAMED_BY = ("purpose", "resource")
_LOCK = type_name(AcquireLock)


def check_locks(name: str, steps: Mapping[str, Step], before: Mapping[str, set[str]]) -> None:
    """`before`: all that comes before a step. Raises `DefinitionError`."""
    taken = [step for step in steps.values() if _takes(step) is AcquireLock]
    released: dict[str, Step] = {}
    for step in steps.values():
        if _takes(step) is ReleaseLock:
            place = f"{name}.steps.{step.name}"
            held = _held_by(place, step, taken)
            if held.name in released:
                raise DefinitionError(place, f"{released[held.name].name} releases it already")
            released[held.name] = step
    for held in taken:
        place = f"{name}.steps.{held.name}"
        if held.undo is None:
            raise DefinitionError(place, "a lock needs its undo, and comes before the pivot")
        if held.name not in released:
            raise DefinitionError(place, "no step releases it: add an unlock behind the pivot")
    for step in steps.values():
        if taken and step.child is not None and takes_locks(step.child):
            raise DefinitionError(
                f"{name}.steps.{step.name}",
                f"{step.child.name} takes locks, too: nothing keeps them in one order",
            )
    _check_order(name, taken, before)


def takes_locks(definition: Definition) -> bool:
    """Whether a saga of it takes locks, or one that is a step of it, near or far."""
    own = any(step.do and step.do.type == _LOCK for step in definition.plan.steps)
    return own or any(map(takes_locks, definition.children))


def _takes(step: Step) -> object:
    return None if step.do is None else step.do.kind


def _held_by(place: str, step: Step, taken: list[Step]) -> Step:
    """The step whose lock `step` releases."""
    fields = _command(step).fields
    for held in taken:
        if written(fields.get("lock_id")) != written(effect_of(held.name)):
            continue
        named = _command(held).fields
        for field in _NAMED_BY:
            if written(fields.get(field)) != written(named.get(field)):
                raise DefinitionError(f"{place}.do.{field}", f"must be the same as in {held.name}")
        if step.when != held.when:
            raise DefinitionError(f"{place}.when", f"must be the same as that of {held.name}")
        return held
    raise DefinitionError(f"{place}.do.lock_id", "must be effect_of() the step that takes the lock")


def _check_order(name: str, taken: list[Step], before: Mapping[str, set[str]]) -> None:
    for number, one in enumerate(taken):
        for other in taken[number + 1 :]:
            first, second = (one, other) if one.name in before[other.name] else (other, one)
            place = f"{name}.steps.{second.name}"
            if first.name not in before[second.name]:
                raise DefinitionError(
                    place, f"takes a lock beside {first.name}: one comes after the other"
                )
            if not _rank(place, first, second):
                raise DefinitionError(
                    place,
                    f"takes a lock out of order after {first.name}: purposes must ascend, and "
                    "literal resources within one, or sagas could wait for each other for ever",
                )


def _rank(place: str, first: Step, second: Step) -> bool:
    """Whether the lock of `first` is below that of `second`, whatever their parameters are."""
    lower, upper = _command(first).fields, _command(second).fields
    purposes = (lower.get("purpose"), upper.get("purpose"))
    if any(isinstance(purpose, Ref) for purpose in purposes):
        raise DefinitionError(f"{place}.do.purpose", "must be a literal: it is the locks' order")
    if purposes[0] != purposes[1]:
        return str(purposes[0]) < str(purposes[1])
    resources = (lower.get("resource"), upper.get("resource"))
    if any(isinstance(resource, Ref) for resource in resources):
        return False
    return str(resources[0]) < str(resources[1])


def _command(step: Step) -> Command:
    assert step.do is not None, "it takes or releases a lock"
    return step.do
