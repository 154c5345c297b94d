"""Sagas that are steps of others: the child's end is the step's, and nobody else reopens it."""

from collections.abc import Iterable, Iterator

from messages.identity import child_id
from orchestrator.graph import graph_of
from orchestrator.progress import Saga
from simulation.courses import FINISHED, Course, Courses


def children(courses: Courses) -> Iterator[str]:
    """After healing: what a parent has made of a step is what has become of the child."""
    asked = {child for course in courses.by_id.values() for child, _ in course.asked_children}
    for saga, course in courses.by_id.items():
        if course.parent[0] and saga not in asked:
            yield f"children: saga {saga} is a step that nobody asked for"
        if course.parent[0] and course.parent[0] not in courses.by_id:
            yield f"children: saga {saga} is a step of a saga that does not exist"
        if course.reopened and (saga, "undo") not in _asked_by_parent(courses, course):
            yield f"children: saga {saga} was reopened, and its parent did not ask for it"
        if course.state in FINISHED:
            yield from _settled(courses, saga, course)


def _asked_by_parent(courses: Courses, course: Course) -> set[tuple[str, str]]:
    parent = courses.by_id.get(course.parent[0])
    return set() if parent is None else set(parent.asked_children)


def _settled(courses: Courses, saga: str, course: Course) -> Iterator[str]:
    for child, step in course.children.items():
        known = courses.by_id.get(child)
        state = known.state if known is not None else "never begun"
        last = course.child_of[step] == child
        # Of a step that is many sagas those that were refused are left out.
        done = (step, "do") in course.succeeded
        stands = course.state == "completed" and last and done
        if stands != (state == "completed") or (not stands and known and state != "compensated"):
            yield f"children: {course.state} saga {saga}: {step}, which is {child}, is {state}"


def stalled(courses: Courses) -> set[str]:
    """Sagas that are parked, or wait for one that is: a person decides."""
    found = {saga for saga, course in courses.by_id.items() if course.state == "parked"}
    return _with_parents(
        found,
        {
            saga: set(course.children)
            for saga, course in courses.by_id.items()
            if course.state not in FINISHED
        },
    )


def waiting_for_nobody(sagas: Iterable[Saga]) -> list[Saga]:
    """Of the live sagas of the whole bank, those that no parked one holds up."""
    live = {saga.id: saga for saga in sagas}
    parked = {saga.id for saga in live.values() if saga.state == "parked"}
    held_up = _with_parents(parked, {name: _children_of(one) for name, one in live.items()})
    return [saga for name, saga in live.items() if name not in held_up]


def _with_parents(sagas: set[str], children: dict[str, set[str]]) -> set[str]:
    while True:
        parents = {saga for saga, theirs in children.items() if theirs & sagas}
        if parents <= sagas:
            return sagas
        sagas = sagas | parents


def _children_of(saga: Saga) -> set[str]:
    """The sagas that steps of it, or legs that are not settled, are, as far as asked for."""
    if not graph_of(saga.plan).nested:
        return set()
    return {
        child_id(saga.id, node.step.name, step.first_at_ms, step.life)
        for node, step in saga.under_way()
        if node.nested and step.attempt
    }
