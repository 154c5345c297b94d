"""All states within the bounds, breadth first, so that the first history found is a shortest one.

Two questions are asked. Does an invariant break anywhere? And is there a state from which the end
is out of reach for what living owners do, without a further fault and without the help of what may
land late? Where no owner can go round in a circle (`is_finite`) the second answer says more: once
faults cease, every history ends well, in whatever order things happen.
"""

from typing import NamedTuple

from model.invariants import broken, done
from model.state import ALL_RULES, BOUNDS, Bounds, Rules, State, initial
from model.steps import steps


class Counterexample(NamedTuple):
    """What goes wrong, and the steps that lead there, in words."""

    problem: str
    history: list[str]


class Exploration(NamedTuple):
    """`deepest`: the steps of a shortest history to the state that is furthest away. `done`: states
    in which every input is applied once. With a counterexample the numbers only say how far the
    search has come."""

    states: int
    transitions: int
    deepest: int
    done: int
    is_finite: bool
    counterexample: Counterexample | None


class _Graph:
    """States by number, in the order in which they were found."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.found_from: list[int] = []
        self.how: list[str] = []
        self.depth: list[int] = []
        self.calm: list[list[int]] = []
        """For each state those that a living owner leads it to, without a fault."""
        self.transitions = 0
        self._numbers: dict[State, int] = {}

    def number(self, state: State, found_from: int, how: str) -> int:
        known = self._numbers.get(state)
        if known is not None:
            return known
        number = self._numbers[state] = len(self.states)
        self.states.append(state)
        self.found_from.append(found_from)
        self.how.append(how)
        self.depth.append(self.depth[found_from] + 1 if number else 0)
        self.calm.append([])
        return number

    def history(self, number: int) -> list[str]:
        """How the state was reached first."""
        told: list[str] = []
        while number:
            told.append(self.how[number])
            number = self.found_from[number]
        return told[::-1]


def explore(rules: Rules = ALL_RULES, bounds: Bounds = BOUNDS) -> Exploration:
    """Every state, or a shortest history that breaks something."""
    graph = _Graph()
    graph.number(initial(bounds), 0, "")
    at = 0
    while at < len(graph.states):
        state = graph.states[at]
        if problem := broken(state, rules):
            return _result(graph, [], Counterexample(problem, graph.history(at)), False)
        for step in steps(state, rules, bounds):
            graph.transitions += 1
            to = graph.number(step.after, at, step.what)
            if step.kind == "progress":
                graph.calm[at].append(to)
        at += 1
    good = [number for number, state in enumerate(graph.states) if done(state, bounds)]
    return _result(graph, good, _dead_end(graph, good), _is_finite(graph))


def counterexample(rules: Rules, bounds: Bounds = BOUNDS) -> Counterexample | None:
    """A shortest one among those with the fewest faults; None if there is none within bounds."""
    for faults in range(bounds.faults + 1):
        found = explore(rules, bounds._replace(faults=faults)).counterexample
        if found is not None:
            return found
    return None


def _result(
    graph: _Graph, good: list[int], found: Counterexample | None, is_finite: bool
) -> Exploration:
    return Exploration(
        len(graph.states), graph.transitions, graph.depth[-1], len(good), is_finite, found
    )


def _dead_end(graph: _Graph, good: list[int]) -> Counterexample | None:
    """A state from which the end can't be reached any more; if there is one, the first in which
    all is at rest, for that is where the loss shows."""
    before: list[list[int]] = [[] for _ in graph.states]
    for number, following in enumerate(graph.calm):
        for to in following:
            before[to].append(number)
    reaches = [False] * len(graph.states)
    todo = list(good)
    while todo:
        number = todo.pop()
        if not reaches[number]:
            reaches[number] = True
            todo += before[number]
    lost = [number for number, well in enumerate(reaches) if not well]
    if not lost:
        return None
    shown = next((number for number in lost if not graph.calm[number]), lost[0])
    return Counterexample(
        "an input is never applied, whatever happens from here on", graph.history(shown)
    )


def _is_finite(graph: _Graph) -> bool:
    """Whether the steps of living owners form no circle (Kahn's algorithm)."""
    open_ends = [0] * len(graph.states)
    for following in graph.calm:
        for to in following:
            open_ends[to] += 1
    todo = [number for number, count in enumerate(open_ends) if not count]
    seen = 0
    while todo:
        number = todo.pop()
        seen += 1
        for to in graph.calm[number]:
            open_ends[to] -= 1
            if not open_ends[to]:
                todo.append(to)
    return seen == len(graph.states)
