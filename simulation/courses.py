"""What became of the sagas, folded a second time: states, ends, and what each of them moved."""

import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from simulation.books import Books
from simulation.history import ACCOUNT_INPUT, Fact, Histories

FINISHED: Final = frozenset(("completed", "compensated"))
_CHANGES_NOTHING: Final = frozenset(
    (
        "saga.StartRepeated",
        "saga.StartRefused",
        "saga.AnswerIgnored",
        "saga.RecoveryRepeated",
        "saga.RecoveryRefused",
        "saga.SignalRepeated",
        "saga.SignalRefused",
        "saga.ParentAsked",
        "saga.ParentAnswered",
        "saga.ChildRefused",
    )
)
_IN_DOUBT: Final = frozenset(("effect_expired", "effect_reused", "effect_unknown"))
START_CHILD: Final = "saga.StartChild.v1"
_POSTED: Final = {
    "account.Debited": -1,
    "account.Captured": -1,
    "account.Credited": 1,
    "account.CreditedOnHold": 1,
}
_MOVES: Final = {
    "account.Debit.v1": -1,
    "account.Capture.v1": -1,
    "account.Credit.v1": 1,
    "account.CreditOnHold.v1": 1,
}
_TESTS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Course:
    """One saga: its request, and `states`, the state it had from each offset on. `parent`: the saga
    and the step that it is; `children`: saga -> the step of this one that it is, and `child_of`,
    the other way round, the last one; `asked_children`: and in which direction."""

    def __init__(self, started: Fact) -> None:
        self.place = started.place
        self.params: dict[str, Any] = started.fields["params"]
        self.definition: str = started.fields["plan"]["definition"]
        self.plan: dict[str, Any] = started.fields["plan"]
        self.states: list[tuple[int, str]] = [(started.offset, "running")]
        self.succeeded: dict[tuple[str, str], Fact] = {}
        parent = started.fields.get("parent")
        self.parent: tuple[str, str] = (parent["saga_id"], parent["step"]) if parent else ("", "")
        self.children: dict[str, str] = {}
        self.child_of: dict[str, str] = {}
        self.asked_children: list[tuple[str, str]] = []
        self.reopened = False
        self.partial = False
        """Whether it was completed as one that could not do all."""

    @property
    def asked_for(self) -> dict[str, Any]:
        """The parameters without those that were found when it began: the times of its legs."""
        found = {step["each"].partition(".")[2] for step in self.plan["steps"] if "at" in step}
        return {name: value for name, value in self.params.items() if name not in found}

    @property
    def state(self) -> str:
        return self.states[-1][1]

    def step(self, name: str) -> dict[str, Any]:
        """The step of this name, or whose leg it is."""
        of = name.partition(".")[0]
        return next(step for step in self.plan["steps"] if step["name"] == of)

    def state_at(self, offset: int) -> str:
        """Empty: it had not started."""
        return next((state for begun, state in reversed(self.states) if begun < offset), "")


class Courses:
    """All sagas by id. `wrong`: the rules that were broken."""

    def __init__(self, histories: Histories) -> None:
        self.by_id: dict[str, Course] = {}
        self.wrong: list[str] = []
        for journal in histories.sagas:
            for fact in journal.facts:
                if fact.type.startswith("saga.") and fact.type not in _CHANGES_NOTHING:
                    self._follow(fact)

    def _follow(self, fact: Fact) -> None:
        fields = fact.fields
        course = self.by_id.get(fields["saga_id"])
        if fact.type == "saga.SagaStarted":
            if course is not None:
                self._say(fact, "starts a saga again")
            self.by_id[fields["saga_id"]] = Course(fact)
            return
        if course is None:
            self._say(fact, "concerns a saga that was never started")
            return
        if fact.type == "saga.StepRequested" and "child_id" in fields["command"]:
            child = fields["command"]["child_id"]
            course.children[child] = fields["step"]
            course.child_of[fields["step"]] = child
            course.asked_children.append((child, fields["direction"]))
        if course.parent[0] and (course.state, fact.type) == (
            "completed",
            "saga.CompensationStarted",
        ):
            course.reopened = True
        elif course.state in FINISHED:
            self._say(fact, f"changes a saga that is {course.state}")
        state = {
            "saga.SagaCompleted": "completed",
            "saga.SagaCompensated": "compensated",
            "saga.SagaParked": "parked",
            "saga.CompensationStarted": "compensating",
            "saga.SagaResumed": fields.get("state", ""),
        }.get(fact.type)
        if state:
            course.states.append((fact.offset, state))
        if fact.type == "saga.SagaCompleted":
            course.partial = fields.get("reason", "") == "partial"
        if fact.type == "saga.StepSucceeded":
            course.succeeded[fields["step"], fields["direction"]] = fact
        return

    def _say(self, fact: Fact, what: str) -> None:
        saga = fact.fields["saga_id"]
        self.wrong.append(
            f"courses: {fact.place} offset {fact.offset}: {fact.type} {what} ({saga})"
        )

    def count(self) -> Counter[str]:
        return Counter(course.state for course in self.by_id.values())


def ends(courses: Courses, books: Books, stalled: set[str]) -> Iterator[str]:
    """After healing: every saga has ended, with nothing in transit, and moved what it should.
    `stalled`: those that are parked, or wait for one that is."""
    for saga, course in courses.by_id.items():
        state = course.state
        if state not in FINISHED:
            if saga not in stalled:
                yield f"courses: saga {saga} is still {state}"
            continue
        for (owner, currency), left in books.transit.items():
            if owner == saga and left:
                yield f"courses: {state} saga {saga} leaves {left} {currency} in transit"
        net: Counter[str] = Counter()
        holds: set[str] = set()
        for fact in books.moved[saga]:
            fields = fact.fields
            net[fields["account_id"]] += _POSTED.get(fact.type, 0) * fields.get("amount_minor", 0)
            if fact.type in ("account.Held", "account.CreditedOnHold"):
                holds.add(fields["effect_id"])
            holds.discard(fields.get("hold_id", ""))
        if holds:
            yield f"courses: {state} saga {saga} leaves a hold"
        if state == "completed" and course.partial != _is_partial(course):
            said = "partial" if course.partial else "whole"
            yield f"courses: completed saga {saga} is said to be {said}"
        due = _due(course) if state == "completed" else {}
        moved = {account: amount for account, amount in net.items() if amount}
        if moved != due:
            yield f"courses: {state} saga {saga} moved {moved} instead of {due}"


def _is_partial(course: Course) -> bool:
    return any(
        _left_out(course, step, part)
        for step in course.plan["steps"]
        if "each" in step
        for part in parts(course, step)
    )


def _due(course: Course) -> dict[str, int]:
    """What a completed saga moves in all, per account: every step of its plan that takes
    place, and every leg of it that does, once."""
    steps = {step["name"]: step for step in course.plan["steps"]}
    due: Counter[str] = Counter()
    for step in steps.values():
        if "do" not in step or not takes_place(course, step):
            continue
        if step["do"]["topic"] != ACCOUNT_INPUT:
            continue
        do, fields = step["do"]["type"], step["do"]["fields"]
        if do == START_CHILD:
            # What it moves is its own.
            continue
        amount = fields
        if "hold_id" in fields:
            holding = fields["hold_id"]["ref"].split(".")[1]
            amount = steps[holding]["do"]["fields"]
        for name in parts(course, step):
            if _left_out(course, step, name):
                continue
            leg = _element(course, step, name)
            moved = _MOVES.get(do, 0) * _given(course, amount["amount_minor"], leg)
            due[_given(course, fields["account_id"], leg)] += moved
    return {account: amount for account, amount in due.items() if amount}


def parts(course: Course, step: dict[str, Any]) -> list[str]:
    """What the step's effects are named after: itself, or each of its legs."""
    if "each" not in step:
        return [step["name"]]
    elements = _given(course, {"ref": step["each"]})
    return [f"{step['name']}.{number}" for number in range(len(elements))]


def _element(course: Course, step: dict[str, Any], part: str) -> Any:
    number = part.partition(".")[2]
    return _given(course, {"ref": f"{step['each']}.{number}"}) if number else None


def _left_out(course: Course, step: dict[str, Any], part: str) -> bool:
    """Whether it is a leg that the pivot may go on without: it has not succeeded."""
    collects = "each" in step and step.get("pivot", False)
    return collects and (part, "do") not in course.succeeded


def _refused_minor(course: Course, name: str) -> int:
    step = course.step(name)
    out = [part for part in parts(course, step) if _left_out(course, step, part)]
    return sum(_element(course, step, part)["amount_minor"] for part in out)


def takes_place(course: Course, step: dict[str, Any]) -> bool:
    """Whether all conditions of a step hold: comparisons of parameters and literals."""
    return all(
        _TESTS[test["test"]](_given(course, test["left"]), _given(course, test["right"]))
        for test in step.get("when", ())
    )


def _given(course: Course, value: Any, leg: Any = None) -> Any:
    """What stands in a plan for a parameter, also one inside of one, for a part of the `leg` at
    hand, for what legs were refused, or for itself; None for a parameter that was left out."""
    if type(value) is not dict:
        return value
    root, *path = value["ref"].split(".")
    if root == "steps":
        assert path[1:] == ["result", "refused_minor"], "no other result is told by the parameters"
        return _refused_minor(course, path[0])
    found: Any = leg if root == "each" else course.params
    for part in path:
        if type(found) is list:
            found = {str(i): one for i, one in enumerate(found)}
        found = found.get(part)
    return value["among"][found] if "among" in value else found


def _ms(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp() * 1_000


def _passed(fact: Fact) -> bool:
    """Whether a step had what it waited for."""
    if fact.type == "saga.SignalAccepted":
        return bool(fact.fields["verdict"] == "approve")
    return fact.type == "saga.WaitEnded" and not fact.fields["reason"]


def _in_time(course: Course, saga: str, asked: dict[str, Any]) -> Iterator[str]:
    """A step that comes after a time is not asked for before it, nor for the first time after the
    last moment of its own."""
    if asked["direction"] != "do" or asked["attempt"] != 1:
        return
    step = course.step(asked["step"])
    waited = (course.step(name).get("wait", {}) for name in step.get("after", ()))
    for at in (_given(course, {"ref": wait["until"]}) for wait in waited if "until" in wait):
        if asked["at_ms"] < _ms(at):
            yield f"courses: {saga}: {asked['step']} is asked for before {at}"
    if "at" in step and asked["at_ms"] < _ms(at := _element(course, step, asked["step"])):
        yield f"courses: {saga}: {asked['step']} is asked for before {at}"
    if "by" in step and asked["at_ms"] > _ms(by := _given(course, {"ref": step["by"]})):
        yield f"courses: {saga}: {asked['step']} is asked for after {by}"


def order(courses: Courses, histories: Histories) -> Iterator[str]:
    """A step is asked for after those it waits for, and taken back before them."""
    done: dict[str, set[tuple[str, str]]] = defaultdict(set)
    given_up: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for journal in histories.sagas:
        for fact in journal.facts:
            fields = fact.fields
            saga = fields.get("saga_id", "")
            if saga not in courses.by_id:
                continue
            course = courses.by_id[saga]
            if fact.type == "saga.StepSucceeded":
                done[saga].add((fields["step"], fields["direction"]))
            if fact.type == "saga.StepSkipped" or _passed(fact):
                done[saga].add((fields["step"], "do"))
                # Nothing is to be taken back of it.
                done[saga].add((fields["step"], "undo"))
            refused = fact.type == "saga.StepRefused" and fields["reason"] not in _IN_DOUBT
            if refused and not fields.get("retry_at_ms", 0):
                given_up[saga].add((fields["step"], fields["direction"]))
            if fact.type == "saga.StepSkipped" and takes_place(course, course.step(fields["step"])):
                yield f"courses: {saga}: {fields['step']} is skipped although its conditions hold"
            if fact.type != "saga.StepRequested":
                continue
            step, direction = fields["step"], fields["direction"]
            yield from _in_time(course, saga, fields)
            of = course.step(step)
            for planned in course.plan["steps"]:
                name, after = planned["name"], planned.get("after", ())
                waits = direction == "do" and name in of.get("after", ())
                if waits and not _is_through(course, planned, done[saga], given_up[saga]):
                    yield f"courses: {saga}: {step} is asked for before {name}"
                if direction == "undo" and of["name"] in after:
                    for part in parts(course, planned):
                        if (part, "do") in done[saga] and (part, "undo") not in done[saga]:
                            yield f"courses: {saga}: {step} is taken back before {part}"


def _is_through(
    course: Course,
    step: dict[str, Any],
    done: set[tuple[str, str]],
    given_up: set[tuple[str, str]],
) -> bool:
    """Whether what waits for the step may begin: after a pivot also without the legs that were
    refused, if there are others."""
    if (step["name"], "do") in done:
        return True
    legs = {(part, "do") for part in parts(course, step)}
    enough = done | given_up if step.get("pivot") and legs & done else done
    return legs <= enough
