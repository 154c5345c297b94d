"""What the audit makes of steps that somebody else than the accounts was asked for."""

from typing import Any

import msgspec
import pytest

from audit.case import Case
from audit.cases import Cases
from audit.report import Findings
from audit.verdict import problems
from journal.log import Place
from messages.saga import SagaEvent, StepRequested, StepSucceeded
from messages.wire import encode
from saga_definitions.dsl import Definition, ask, define, step
from tests.orchestrator.graphs import MoveParams
from tests.orchestrator.saga_scenario import (
    applied,
    declined,
    given,
    operator,
    passes,
    start,
    undo_applied,
)
from tests.orchestrator.test_enquiries import TRIPS, Book, Unbook

PLACE = Place("orchestrator.journal", 0)


def outing() -> Definition:
    return define(
        "outing",
        version=1,
        params=MoveParams(),
        steps=(
            step(
                "book",
                do=ask(TRIPS, Book, traveller="ann"),
                undo=ask(TRIPS, Unbook, traveller="ann"),
                on_timeout="enquire",
            ),
            step("again", do=ask(TRIPS, Book, traveller="ann"), pivot=True),
        ),
    )


def history(*moves: Any) -> list[SagaEvent]:
    return given(start("outing"), *moves, using=[outing()]).events


COMPLETED = (applied("book"), applied("again"))
ENQUIRED = (passes(s=11), declined("book", "effect_unknown", 2), passes(s=5), applied("book", 3))
UNDONE = (applied("book"), declined("again", "full"), undo_applied("book"))
VOIDED = (operator("cancel"), passes(s=11), undo_applied("book"))


def findings(events: list[SagaEvent]) -> list[str]:
    found = Findings()
    cases = Cases(found, memory_ms=10**9)
    for offset, event in enumerate(events):
        cases.fold(event, PLACE, offset)
    told = [violation.check for violation in found.first()]
    for case in cases.sagas.values():
        if isinstance(case, Case):
            told += [problem.check for problem in problems(case)]
    return told


@pytest.mark.parametrize("moves", [COMPLETED, (*ENQUIRED, applied("again")), UNDONE, VOIDED])
def test_what_the_saga_says_of_an_outside_step_is_taken_for_its_outcome(moves: Any) -> None:
    events = history(*moves)
    assert type(events[-1]).__name__ in ("SagaCompleted", "SagaCompensated")
    assert findings(events) == []


def test_a_saga_that_ends_without_the_participants_word_is_found() -> None:
    events = [
        event
        for event in history(*COMPLETED)
        if not (isinstance(event, StepSucceeded) and event.step == "again")
    ]
    assert findings(events) == ["step_done"]


def test_a_saga_that_ends_compensated_without_its_undo_is_found() -> None:
    events = [
        event
        for event in history(*UNDONE)
        if not (isinstance(event, StepSucceeded) and event.direction == "undo")
    ]
    assert findings(events) == ["step_undone"]


def test_a_command_under_another_name_than_its_event_is_found() -> None:
    events = history(*COMPLETED)
    for number, event in enumerate(events):
        if isinstance(event, StepRequested) and event.step == "again":
            command = msgspec.json.decode(event.command)
            command["effect_id"] += "x"
            changed = msgspec.Raw(encode(command))
            events[number] = msgspec.structs.replace(event, command=changed)
    assert findings(events)[0] == "command"
