"""The order of a definition's steps: no cycle, and nothing that a saga could not take back in time.

Steps fall into reversible ones and waits, then at most one pivot, then irreversible ones.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from messages.account import CreditOnHold, Hold
from saga_definitions.nesting import waits_ms
from saga_definitions.steps import Signal, Step
from saga_definitions.timetable import Instants

MAX_IN_HAND_MS: Final = 3 * 24 * 3_600 * 1_000
"""How long a saga may wait with an effect done that it may have to take back: participants remember
effects for 7 days, and taking back needs some of them."""


class DefinitionError(Exception):
    """A definition that must not run: `place` as in "transfer.steps.credit.undo", and why."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def predecessors(name: str, steps: Sequence[Step]) -> dict[str, tuple[str, ...]]:
    names = {step.name for step in steps}
    after: dict[str, tuple[str, ...]] = {}
    previous: tuple[str, ...] = ()
    for step in steps:
        after[step.name] = previous if step.after is None else step.after
        place = f"{name}.steps.{step.name}.after"
        for one in after[step.name]:
            if one not in names:
                raise DefinitionError(place, f"there is no step {one!r}")
        if len(set(after[step.name])) != len(after[step.name]):
            raise DefinitionError(place, "names a step twice")
        previous = (step.name,)
    return after


def in_order(name: str, after: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Every step after those it waits for; otherwise in the order of writing."""
    order: list[str] = []
    left = list(after)
    while left:
        ready = next((s for s in left if all(b in order for b in after[s])), None)
        if ready is None:
            circle = _circle(left, after)
            raise DefinitionError(
                f"{name}.steps.{circle[0]}.after",
                "the steps wait for each other in a circle: " + " after ".join(circle),
            )
        order.append(ready)
        left.remove(ready)
    return order


def _circle(left: Sequence[str], after: Mapping[str, tuple[str, ...]]) -> list[str]:
    # Every step that is left waits for another one that is left: going back must close a circle.
    path = [left[0]]
    while True:
        ahead = next(b for b in after[path[-1]] if b in left)
        if ahead in path:
            return [*path[path.index(ahead) :], ahead]
        path.append(ahead)


def all_before(order: Sequence[str], after: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    before: dict[str, set[str]] = {}
    for step in order:
        before[step] = set(after[step]).union(*(before[b] for b in after[step]))
    return before


def check_pivot(name: str, steps: Mapping[str, Step], before: Mapping[str, set[str]]) -> None:
    pivots = [step.name for step in steps.values() if step.pivot]
    if len(pivots) > 1:
        raise DefinitionError(f"{name}.steps.{pivots[1]}", f"{pivots[0]} is the pivot already")
    pivot = pivots[0] if pivots else None
    for step in steps.values():
        place = f"{name}.steps.{step.name}"
        past = pivot is not None and pivot in before[step.name]
        if pivot is not None and step.name != pivot and not past and step.name not in before[pivot]:
            raise DefinitionError(
                place,
                f"runs beside the pivot {pivot}: every step comes before the pivot or after it",
            )
        if step.pivot:
            if step.when:
                raise DefinitionError(
                    f"{place}.when", "the pivot is never skipped: what follows it relies on it"
                )
            if step.undo is not None:
                raise DefinitionError(f"{place}.undo", "the pivot is never undone")
        elif step.undo is not None:
            if step.irreversible:
                raise DefinitionError(f"{place}.undo", "declared irreversible, yet has an undo")
            if past:
                raise DefinitionError(
                    f"{place}.undo",
                    f"reversible, yet after the pivot {pivot}: from there a saga only goes forward",
                )
        elif step.do is None:
            if past:
                raise DefinitionError(
                    place, f"waits after the pivot {pivot}: from there a saga only goes forward"
                )
        elif not step.irreversible:
            raise DefinitionError(
                place, "needs an undo, or must be declared the pivot or irreversible"
            )
        elif not past:
            raise DefinitionError(
                place,
                "irreversible, yet not after the pivot: a saga that turns back could not take it "
                "back; make it the pivot",
            )


def check_waits(name: str, steps: Mapping[str, Step], before: Mapping[str, set[str]]) -> None:
    """While a saga waits, nothing may be done that can't be taken back after the wait.

    A hold can, however old: it proves itself. Anything else is forgotten after some days. A step
    that is a saga waits as long as that does, and may wait with something done itself.
    """
    for done in steps.values():
        if done.do is None or done.do.kind in (Hold, CreditOnHold):
            continue
        left_ms = MAX_IN_HAND_MS
        for wait in steps.values():
            waits_ms = _waits_ms(wait)
            if waits_ms == 0 or wait.name in before[done.name] or wait.irreversible:
                continue
            if wait is done and done.undo is None:
                continue
            left_ms = -1 if waits_ms is None else left_ms - waits_ms
            if left_ms < 0:
                raise DefinitionError(
                    f"{name}.steps.{wait.name}",
                    f"waits too long to take {done.name} back afterwards: wait first, or hold "
                    "instead",
                )


def _waits_ms(step: Step) -> int | None:
    """How long the step may wait; None: any time."""
    if isinstance(step.each, Instants):
        return None
    if step.child is not None:
        return waits_ms(step.child)
    if step.wait is None:
        return 0
    return step.wait.timeout_ms if isinstance(step.wait, Signal) else None
