"""A saga on a terminal: readable, and nothing in it gets at the terminal."""

import io

import pytest
from rich.console import Console

from makegood import saga_rendering
from makegood.saga_rendering import elapsed

HOSTILE = "\x1b]0;owned\x07[bold red]x[/]\u202e"


def printed(*things: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=True, color_system=None)
    for thing in things:
        console.print(thing)
    return out.getvalue()


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "+0.000 s"),
        (59_999, "+59.999 s"),
        (-1_500, "-1.500 s"),
        (60_000, "+0:01:00.000"),
        (3_723_004, "+1:02:03.004"),
        (2 * 86_400_000 + 5, "+2 d 0:00:00.005"),
    ],
)
def test_times_are_told_from_the_start_on(ms: int, text: str) -> None:
    assert elapsed(ms) == text


def test_an_event_is_one_line_with_its_time() -> None:
    entry = {"type": "StepRefused", "text": "debit refused", "at": "2026-01-01T00:00:01.250Z"}
    line = saga_rendering.line(entry, "2026-01-01T00:00:00.000Z")
    assert printed(line).split() == ["+1.250", "s", "debit", "refused"]


def test_hostile_text_is_shown_not_obeyed() -> None:
    saga = {
        "id": "s1",
        "definition": HOSTILE,
        "version": 1,
        "state": "parked",
        "reason": HOSTILE,
        "step": HOSTILE,
        "params": {"reference": HOSTILE, HOSTILE: [HOSTILE]},
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": None,
        "deadline_at": "2026-01-01T00:01:00Z",
        "parent": {"id": HOSTILE, "step": HOSTILE},
        "as_of": "orchestrator.journal/0@1",
        "steps": [
            {
                "name": HOSTILE,
                "state": "refused",
                "attempt": 2,
                "reason": HOSTILE,
                "pivot": True,
                "answer_due_at": None,
                "retry_at": None,
                "result": {HOSTILE: HOSTILE},
                "saga": None,
            }
        ],
    }
    entry = {"type": "SagaParked", "text": HOSTILE, "at": "2026-01-01T00:00:01Z"}
    text = printed(
        saga_rendering.standing(saga),
        saga_rendering.steps(saga),
        saga_rendering.line(entry, saga["started_at"]),
    )
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "\\x1b]0;owned\\x07[bold red]x[/]" in text
