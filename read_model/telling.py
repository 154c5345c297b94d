"""A saga's events in words, for people: one line each.

The texts hold what strangers wrote (reasons, details, who and why): whoever shows them escapes
them. An event of a type that is not known here is told by its name, so new ones need nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from messages.participant import Enquire
from messages.wire import type_name

Fields = Mapping[str, Any]
"""An event as JSON has it."""

_ENQUIRY: Final = type_name(Enquire)
_word = re.compile(r"(?<!^)(?=[A-Z])")


def short_type(event: Fields) -> str:
    """The type without family and version: `StepRequested` of `saga.StepRequested.v1`."""
    return str(event["type"]).split(".")[1]


def tell(event: Fields) -> str:
    kind = short_type(event)
    told = _TOLD.get(kind)
    if told is not None:
        return told(event)
    name = _word.sub(" ", kind).lower()
    step = event.get("step")
    return f"{name}: {_step(event)}" if step else name


def _step(event: Fields) -> str:
    """`debit`, `undo of debit`, and from the second try on which one it is."""
    undo = "undo of " if event.get("direction") == "undo" else ""
    attempt = event.get("attempt", 1)
    return f"{undo}{event['step']}" + (f" (attempt {attempt})" if attempt > 1 else "")


def _requested(event: Fields) -> str:
    asked = "enquired after" if event.get("command_type") == _ENQUIRY else "asked for"
    return f"{asked} {_step(event)}, waits {_seconds(event, 'timeout_at_ms')} for the answer"


def _seconds(event: Fields, until: str) -> str:
    return f"{(event[until] - event['at_ms']) / 1_000:g} s"


def _whom(event: Fields) -> str:
    return f"{event['who']}: {event['why']}" if event.get("why") else str(event["who"])


def _refused(event: Fields) -> str:
    return f"{_step(event)} refused: {_why(event)}; {_next_try(event)}"


def _timed_out(event: Fields) -> str:
    detail = event.get("detail")
    said = f"no certain answer ({detail})" if detail else "no answer in time"
    return f"{said} to {_step(event)}: its outcome is unknown; {_next_try(event)}"


def _next_try(event: Fields) -> str:
    if not event.get("retry_at_ms"):
        return "no further try"
    return f"next try in {_seconds(event, 'retry_at_ms')}"


def _why(event: Fields) -> str:
    detail = event.get("detail")
    return f"{event['reason']} ({detail})" if detail else str(event["reason"])


def _standing(event: Fields) -> list[str]:
    return [text for text in (event["state"], event.get("reason")) if text]


def _at_step(event: Fields) -> str:
    return f" at {event['step']}" if event.get("step") else ""


def _started(event: Fields) -> str:
    parent = event.get("parent")
    return f"started for {_of_parent(event)}" if parent else f"started for {event['tenant']}"


def _of_parent(event: Fields) -> str:
    parent = event["parent"]
    return f"{_step(parent)} of saga {parent['saga_id']}"


def _answered(event: Fields) -> str:
    said = f"declined: {_why(event)}" if event.get("reason") else "applied"
    return f"answers {_of_parent(event)}: {said}"


_TOLD: Final[dict[str, Callable[[Fields], str]]] = {
    "SagaStarted": _started,
    "ParentAsked": lambda e: f"asked again for {_of_parent(e)}",
    "ParentAnswered": _answered,
    "ChildRefused": lambda e: f"not begun for {_of_parent(e)}: {_why(e)}",
    "StartRepeated": lambda e: f"asked for again; told that it is {' '.join(_standing(e))}",
    "StartRefused": lambda e: f"start refused: {_why(e)}",
    "StepRequested": _requested,
    "StepSucceeded": lambda e: f"{_step(e)} succeeded",
    "StepRefused": _refused,
    "StepTimedOut": _timed_out,
    "AnswerIgnored": lambda e: f"answer to {_step(e)} ignored ({e['why']}): {e['answer']}",
    "CompensationStarted": lambda e: f"turned back{_at_step(e)}: {_why(e)}",
    "SagaCompleted": lambda e: f"completed: {e['reason']}" if e.get("reason") else "completed",
    "SagaCompensated": lambda e: f"compensated: {e['reason']}",
    "SagaParked": lambda e: f"parked{_at_step(e)}, needs a person: {_why(e)}",
    "SagaResumed": lambda e: f"goes on{_at_step(e)}, {e['state']}: {e['reason']}",
    "StepSkipped": lambda e: f"{e['step']} skipped: its condition is not met",
    "StepWaiting": lambda e: f"{e['step']} waits, {_seconds(e, 'until_ms')} at most",
    "WaitEnded": lambda e: (
        f"wait of {e['step']} over" + (f": {e['reason']}" if e["reason"] else "")
    ),
    "SignalAccepted": lambda e: f"{e['verdict']} of {e['step']} by {_whom(e)}",
    "SignalRepeated": lambda e: f"signal sent again; told that it is {' '.join(_standing(e))}",
    "SignalRefused": lambda e: (
        f"{e['verdict']} of {e['step']} by {e['who']} refused: {_why(e)}; nothing has changed"
    ),
    "RecoveryAccepted": lambda e: f"{e['action']} by {e['who']}: {e['why']}",
    "RecoveryRepeated": lambda e: f"asked again; told that it is {' '.join(_standing(e))}",
    "RecoveryRefused": lambda e: (
        f"{e['action']} by {e['who']} ({e['why']}) refused: {_why(e)}; nothing has changed"
    ),
}
