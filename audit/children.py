"""Sagas that are steps of others: what the parent asked for and was told, and what the child did.

The two are in journals of their own, read in no fixed order, so both sides are noted and compared
when everything is read. That a child's own steps and money are right is `cases.py`'s matter.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from audit.verdict import Problem
from journal.log import Place
from messages.child import ChildRefused, StartChild, UndoChild
from messages.saga import (
    CompensationStarted,
    SagaCompensated,
    SagaCompleted,
    SagaStarted,
    StepRefused,
    StepRequested,
    StepSucceeded,
)
from messages.wire import Codec, Undecodable

_INPUT: Final = "orchestrator.input"
_COMMANDS: Final[Codec[StartChild | UndoChild]] = Codec(StartChild | UndoChild)
_IN_DOUBT: Final = frozenset(("effect_expired", "effect_reused"))


class Said(NamedTuple):
    """Something that one side says, and where."""

    place: Place
    offset: int
    what: object


class Child(msgspec.Struct):
    """What both sides say of one child. `asked`, `begun`: parent's id and step, definition,
    version and parameters; `told`: by direction, whether the step was told to be applied."""

    asked: Said | None = None
    undo_asked: bool = False
    begun: Said | None = None
    state: str = ""
    was_completed: bool = False
    reopened: Said | None = None
    told: dict[str, Said] = {}


class Children:
    """All sagas that are steps, by id."""

    def __init__(self) -> None:
        self.by_id: dict[str, Child] = {}
        self._asked: dict[tuple[str, str], str] = {}
        self._folds: dict[type[Any], Callable[[Any, Place, int], None]] = {
            StepRequested: self._requested,
            StepSucceeded: self._succeeded,
            StepRefused: self._refused,
            SagaStarted: self._started,
            SagaCompleted: self._completed,
            SagaCompensated: self._ended,
            ChildRefused: self._ended,
            CompensationStarted: self._turned,
        }

    def fold(self, event: Any, place: Place, offset: int) -> None:
        fold = self._folds.get(type(event))
        if fold is not None:
            fold(event, place, offset)

    def problems(self) -> Iterator[tuple[str, Problem]]:
        """(child's id, what is wrong); now everything is read."""
        for child_id, child in self.by_id.items():
            for problem in _problems(child):
                yield child_id, problem

    # The parent's side

    def _requested(self, event: StepRequested, place: Place, offset: int) -> None:
        if event.topic != _INPUT:
            return
        try:
            command = _COMMANDS.decode(bytes(event.command))
        except Undecodable:
            return
        child = self._child(command.child_id)
        self._asked[event.saga_id, event.step] = command.child_id
        if isinstance(command, UndoChild):
            child.undo_asked = True
        else:
            body = (command.definition, command.version, command.params)
            child.asked = Said(place, offset, (event.saga_id, event.step, *body))

    def _succeeded(self, event: StepSucceeded, place: Place, offset: int) -> None:
        self._was_told(event.saga_id, event.step, event.direction, Said(place, offset, True))

    def _refused(self, event: StepRefused, place: Place, offset: int) -> None:
        if event.reason not in _IN_DOUBT:
            self._was_told(event.saga_id, event.step, event.direction, Said(place, offset, False))

    def _was_told(self, saga_id: str, step: str, direction: str, said: Said) -> None:
        child_id = self._asked.get((saga_id, step))
        if child_id is not None:
            self._child(child_id).told[direction] = said

    # The child's side

    def _started(self, event: SagaStarted, place: Place, offset: int) -> None:
        if event.parent is None:
            return
        body = (event.plan.definition, event.plan.version, event.params)
        child = self._child(event.saga_id)
        child.begun = Said(place, offset, (event.parent.saga_id, event.parent.step, *body))
        child.state = "running"

    def _completed(self, event: SagaCompleted, place: Place, offset: int) -> None:
        child = self.by_id.get(event.saga_id)
        if child is not None and child.begun is not None:
            child.state, child.was_completed = "completed", True

    def _ended(self, event: SagaCompensated | ChildRefused, place: Place, offset: int) -> None:
        child = self.by_id.get(event.saga_id)
        if child is not None:
            child.state = "compensated"

    def _turned(self, event: CompensationStarted, place: Place, offset: int) -> None:
        child = self.by_id.get(event.saga_id)
        if child is not None and child.state == "completed":
            child.state, child.reopened = "compensating", Said(place, offset, event.reason)

    def _child(self, child_id: str) -> Child:
        child = self.by_id.get(child_id)
        if child is None:
            child = self.by_id[child_id] = Child(told={})
        return child


def _problems(child: Child) -> Iterator[Problem]:
    begun, told = child.begun, child.told
    if begun is not None and (child.asked is None or child.asked.what != begun.what):
        asked = "nobody's" if child.asked is None else f"{child.asked.what}"
        yield _at(begun, "child_asked", f"{asked}, as was asked for", f"{begun.what}")
    if child.reopened is not None and not child.undo_asked:
        expected = "a completed saga to stay so, unless its parent takes it back"
        yield _at(child.reopened, "saga_ended", expected, f"{child.reopened.what}")
    done, undone = told.get("do"), told.get("undo")
    if done is not None and done.what and not child.was_completed:
        yield _at(done, "child_told", "the saga completed, as its step says", child.state or "none")
    if done is not None and not done.what and child.state == "completed":
        yield _at(done, "child_told", "the saga not completed, as its step says", "completed")
    if undone is not None and undone.what and child.state not in ("", "compensated"):
        yield _at(undone, "child_told", "the saga taken back, as its step says", child.state)


def _at(said: Said, check: str, expected: str, found: str) -> Problem:
    return Problem(check, said.place, said.offset, expected, found)
