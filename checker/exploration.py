"""The search: all histories with no fault, then those with one, and so on.

A moment that can be reached in several ways is looked at once, by the way with the fewest faults
and among these the shortest, so that the first counterexample is the simplest one. Steps that
differ in name, accounts and amounts only are interchangeable: of moments that differ in nothing but
which of them stands where, one is looked at. What can't be seen that way is only which of several
such steps the engine names first.
"""

import heapq
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from checker.course import BOUNDS, ENGINE, Bounds, Course, Engine, course_of
from checker.happenings import Happening, happenings, without_spent
from checker.participants import Moves, MovesOf, held, moved, transit
from checker.rules import wrong_with_event, wrong_with_happening, wrong_with_moment
from checker.world import NOW, SAGA, Order, World, content, order_of, places, with_due
from messages.plan import Plan
from messages.saga import SagaEvent, StartRefused, StepRequested
from orchestrator.progress import TIMED_OUT, UNSURE
from saga_definitions.dsl import Definition


class CannotCheck(Exception):
    """The definition refuses to be started with the parameters given."""

    def __init__(self, definition: str, detail: str) -> None:
        super().__init__(f"{definition} can't be checked with these parameters: {detail}")
        self.definition = definition
        self.detail = detail


class Moment(NamedTuple):
    """One entry of a timeline: what happens, what the engine says, and where the money is."""

    text: str
    events: Sequence[SagaEvent]
    moved: Mapping[tuple[str, str], int]
    transit: Mapping[str, int]
    held: Sequence[str]


class Counterexample(NamedTuple):
    problem: str
    faults: int
    timeline: Sequence[Moment]


class Findings(NamedTuple):
    """`faults`: every history with at most so many was looked at; None: every history at all.
    `ends`: how many moments are completed, compensated, parked."""

    bounds: Bounds
    faults: int | None
    states: int
    transitions: int
    ends: Mapping[str, int]
    took_s: float
    counterexample: Counterexample | None


class _Found(NamedTuple):
    """How a moment was reached: the number of the one before, and which happening of that one."""

    before: int
    position: int


def explore(
    definition: Definition,
    params: Mapping[str, Any],
    *,
    bounds: Bounds = BOUNDS,
    engine: Engine = ENGINE,
    as_child: bool = False,
) -> Findings:
    """Look at every history within the bounds. Raises `CannotCheck`.

    `as_child`: of a saga that is a step of another one, which takes it back at any moment.
    """
    began = time.perf_counter()
    moves_of = _moves_of(definition, engine)
    course = course_of(definition, params, engine, bounds, moves_of, as_child=as_child)
    search = _Search(course)
    counterexample = search.run()
    return Findings(
        bounds,
        search.complete,
        search.states,
        search.transitions,
        dict(search.ends),
        time.perf_counter() - began,
        counterexample,
    )


_CALM: Final = Bounds(duplicates=0, operators=0, faults=0)


def _moves_of(definition: Definition, engine: Engine) -> MovesOf:
    """What the children of a definition move: what they do in a history without a fault. That they
    do nothing else in the others is for their own check to prove."""
    known: dict[bytes, Moves] = {}
    children = {(child.name, child.version): child for child in definition.children}

    def moves_of(order: Order) -> Moves:
        if order.fields not in known:
            fields = content(order.fields)
            child = children[fields["definition"], fields["version"]]
            moves = _moves_of(child, engine)
            search = _Search(course_of(child, fields.get("params", {}), engine, _CALM, moves))
            search.run()
            if search.completed is None:
                raise CannotCheck(child.name, "it is never completed")
            known[order.fields] = moved(search.completed, moves)
        return known[order.fields]

    return moves_of


class _Search:
    def __init__(self, course: Course) -> None:
        self.course = course
        self.complete: int | None = None
        self.states = 0
        self.transitions = 0
        self.ends: Counter[str] = Counter()
        self.completed: World | None = None
        """A moment in which the saga is completed."""
        self._queue: list[tuple[int, int, int, World, str]] = []
        self._seen: dict[tuple[Any, ...], int] = {}
        self._known: dict[tuple[Any, ...], dict[tuple[int, int], int]] = {}
        self._cost: list[tuple[int, int]] = []
        self._found: list[_Found] = []
        self._following: dict[int, list[int]] = {}

    def run(self) -> Counterexample | None:
        world, problem = _begin(self.course)
        self._reach(world, problem, 0, 0, _Found(-1, 0))
        limit = self.course.bounds.faults
        while self._queue:
            faults, depth, number, world, problem = heapq.heappop(self._queue)
            if self._cost[number] < (faults, depth) or number in self._following:
                continue
            if world.saga.state == "completed":
                self.completed = world
            if problem:
                self.complete = faults - 1
                return self._counterexample(problem, faults, number)
            if (limit is not None and faults > limit) or self.states >= self.course.bounds.states:
                self.complete = faults - 1
                return None
            self.states += 1
            self._expand(number, world, faults, depth)
        return self._circle()

    def _expand(self, number: int, world: World, faults: int, depth: int) -> None:
        following = self._following[number] = []
        self.ends[world.saga.state] += 1
        for position, happening in enumerate(happenings(self.course, world)):
            self.transitions += 1
            after, problem = _fold(self.course, happening.world, happening)
            # What changes neither the saga nor an effect need not happen: without it the same
            # messages are under way, or more.
            idle = after.saga is world.saga and after.effects == world.effects
            if idle and after.now_ms == world.now_ms and not problem:
                continue
            following.append(
                self._reach(
                    after, problem, faults + happening.faults, depth + 1, _Found(number, position)
                )
            )

    def _reach(self, world: World, problem: str, faults: int, depth: int, found: _Found) -> int:
        """The number of the moment, or of one from which all can happen that can from it."""
        cost = (faults, depth)
        left = (world.duplicates, world.operators)
        raw = (_key(self.course, world), left, problem)
        number = self._seen.get(raw)
        if number is not None and self._cost[number] <= cost:
            return number
        world, problem = _seen_whole(self.course, world, problem)
        known = self._known.setdefault((_key(self.course, world), problem), {})
        for (duplicates, operators), number in known.items():
            if duplicates >= left[0] and operators >= left[1] and self._cost[number] <= cost:
                self._seen[raw] = number
                return number
        number = known.get(left)
        if number is None:
            number = known[left] = len(self._cost)
            self._cost.append(cost)
            self._found.append(found)
        else:
            self._cost[number], self._found[number] = cost, found
        self._seen[raw] = number
        heapq.heappush(self._queue, (faults, depth, number, world, problem))
        return number

    def _circle(self) -> Counterexample | None:
        """A history that comes back to where it was: without one, every history has an end."""
        open_ends = Counter(to for following in self._following.values() for to in following)
        todo = [number for number in self._following if not open_ends[number]]
        seen = len(todo)
        while todo:
            for to in self._following.get(todo.pop(), ()):
                open_ends[to] -= 1
                if not open_ends[to]:
                    todo.append(to)
                    seen += 1
        if seen == len(self._cost):
            return None
        number = next(n for n in self._following if open_ends[n])
        return self._counterexample("the saga goes round in a circle", 0, number)

    def _counterexample(self, problem: str, faults: int, number: int) -> Counterexample:
        positions: list[int] = []
        while self._found[number].before >= 0:
            positions.append(self._found[number].position)
            number = self._found[number].before
        world, _ = _seen_whole(self.course, *_begin(self.course))
        events = self.course.engine.decide(None, self.course.start, NOW, self.course.definitions)
        timeline = [_moment(self.course, "the caller asks", events, world)]
        for position in reversed(positions):
            happening = next(islice(happenings(self.course, world), position, None))
            world, _ = _seen_whole(self.course, *_fold(self.course, happening.world, happening))
            timeline.append(_moment(self.course, happening.text, happening.events, world))
        return Counterexample(problem, faults, timeline)


def _begin(course: Course) -> tuple[World, str]:
    events = course.engine.decide(None, course.start, NOW, course.definitions)
    first = events[0]
    if isinstance(first, StartRefused):
        raise CannotCheck(course.plan.definition, first.detail)
    saga = course.engine.evolve(None, first)
    assert saga is not None, "a saga that is not refused is started"
    bounds = course.bounds
    world = World(saga, duplicates=bounds.duplicates, operators=bounds.operators)
    return _fold(course, world, Happening("", 0, world, events[1:]))


def _fold(course: Course, world: World, happening: Happening) -> tuple[World, str]:
    """The moment after `happening`, and what is wrong with it if anything is."""
    before, problem = world.saga, ""
    for event in happening.events:
        problem = problem or wrong_with_event(course, world, event)
        saga = course.engine.evolve(world.saga, event)
        assert saga is not None, "a saga that was started is never none again"
        orders = (*world.orders, order_of(event)) if isinstance(event, StepRequested) else ()
        world = world._replace(saga=saga, orders=orders or world.orders)
    problem = problem or wrong_with_happening(happening, world)
    if world.saga is not before:
        # An operator who asks again asks under another name: who has asked before makes no moment.
        saga = msgspec.structs.replace(world.saga, recoveries=())
        world = world._replace(saga=with_due(saga, []))
    return world, problem


def _seen_whole(course: Course, world: World, problem: str) -> tuple[World, str]:
    """What takes its time, and need not be done for a moment that is known: what is wrong with how
    things stand, and which messages have no part to play any more."""
    problem = problem or wrong_with_moment(course, world)
    return world if problem else without_spent(course, world), problem


_NO_PLAN: Final = Plan("", 0, 0, ())
_encode: Final = msgspec.msgpack.Encoder().encode
_TELLING: Final = UNSURE | {TIMED_OUT, ""}


def _key(course: Course, world: World) -> tuple[Any, ...]:
    """Equal for moments that have the same future, up to the names of steps that are alike, and
    to what may still happen twice.

    Why a saga turned back, and which of the final refusals a step has met, are only told.
    """
    saga = world.saga
    whole = msgspec.structs.replace(
        saga, plan=_NO_PLAN, params={}, steps=(), legs={}, parked_step="", reason=""
    )
    of_legs = [
        _encode(step)
        for planned, step in zip(saga.plan.steps, saga.steps, strict=True)
        if planned.each
    ]
    around: dict[str, list[tuple[Any, ...]]] = {name: [] for name in course.parts}
    asked: set[str] = set()
    for o in world.orders:
        asked.add(o.effect)
        around[o.step].append(("order", o.direction, o.attempt, o.is_enquiry, _unusual(o)))
    for a in world.answers:
        around[a.step].append(("answer", *a[1:4]))
    for e in world.effects:
        # Which attempt was refused, and why, only another one under way can ask.
        told = e[1:4] if e.order.effect in asked else e[1:2]
        around[e.order.step].append(("effect", e.order.direction, _unusual(e.order), *told))
    parts: list[tuple[Any, ...]] = []
    for name, step in places(saga):
        # Which saga a step means this time is a name only.
        reason = step.reason if step.reason in _TELLING else "refused"
        if reason != step.reason or step.life:
            step = msgspec.structs.replace(step, reason=reason, life=0)
        parts.append((_encode(step), saga.parked_step == name, *sorted(around[name])))
    ordered = (
        tuple(sorted(tuple(parts[i] for i in bundle) for bundle in alike)) for alike in course.alike
    )
    return (_encode(whole), *of_legs, world.now_ms, *ordered)


def _unusual(order: Order) -> str:
    """The effect id, if it isn't the one that every attempt should have."""
    usual = order.effect == f"{SAGA}/{order.step}/{order.direction}"
    return "" if usual else order.effect


def _moment(course: Course, text: str, events: Sequence[SagaEvent], world: World) -> Moment:
    moves_of = course.moves_of
    return Moment(text, events, moved(world, moves_of), transit(world, moves_of), held(world))
