"""How a saga looks on a terminal: how it stands, its steps, and its timeline line by line. Pure.

What is in it is a stranger's, so nothing of it reaches a terminal as it is.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from rich.table import Table
from rich.text import Text

from makegood.deadletter_rendering import printable

_STYLES: Final = {
    "StepSucceeded": "green",
    "SagaCompleted": "bold green",
    "StepRefused": "red",
    "StepTimedOut": "red",
    "RecoveryRefused": "red",
    "SagaParked": "bold red",
    "CompensationStarted": "yellow",
    "SagaCompensated": "bold yellow",
}

Fields = Mapping[str, Any]
"""What the API answers with."""


def standing(saga: Fields) -> Table:
    """How it stands, as names and values."""
    table = Table.grid(padding=(0, 2))
    state = " ".join(part for part in (saga["state"], saga["reason"], saga["step"]) if part)
    rows = {
        "saga": saga["id"],
        "definition": f"{saga['definition']} version {saga['version']}",
        "state": state,
        **_parent(saga),
        **{name: _plain(value) for name, value in saga["params"].items()},
        "started": saga["started_at"],
        "ended": saga["finished_at"] or f"not yet; deadline {saga['deadline_at']}",
        "as of": saga["as_of"],
    }
    for name, value in rows.items():
        table.add_row(Text(printable(name), style="dim"), Text(printable(value)))
    return table


def _parent(saga: Fields) -> dict[str, str]:
    parent = saga["parent"]
    return {"parent": f"step {parent['step']} of saga {parent['id']}"} if parent else {}


def steps(saga: Fields) -> Table:
    table = Table(box=None)
    for name in ("step", "state", "attempt", "reason", "waits until", "result"):
        table.add_column(name, overflow="fold")
    for step in saga["steps"]:
        cells = (
            step["name"] + (" (pivot)" if step["pivot"] else ""),
            step["state"],
            str(step["attempt"] or ""),
            step["reason"],
            step["answer_due_at"] or step["retry_at"] or "",
            _outcome(step),
        )
        # Text, for a table takes square brackets in a str as markup.
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _outcome(step: Fields) -> str:
    if step["saga"]:
        return f"saga {step['saga']}"
    return _plain(step["result"]) if step["result"] else _legs(step.get("legs"))


def _legs(legs: Fields | None) -> str:
    """`120 of 10,000 legs applied, 3 refused, 100 under way`; empty where there are none."""
    if not legs:
        return ""
    others = ("refused", "undone", "under_way", "in_doubt")
    told = [f"{legs[name]:,} {name.replace('_', ' ')}" for name in others if legs[name]]
    return ", ".join((f"{legs['applied']:,} of {legs['count']:,} legs applied", *told))


def line(entry: Fields, started_at: str) -> Text:
    """One event, with its time from the start on."""
    since = datetime.fromisoformat(entry["at"]) - datetime.fromisoformat(started_at)
    ms = round(since.total_seconds() * 1_000)
    style = _STYLES.get(entry["type"], "")
    return Text.assemble(
        (f"{elapsed(ms):>16}  ", "dim"), (printable(entry["text"]), style), overflow="fold"
    )


def elapsed(ms: int) -> str:
    """`+0.012 s`, from a minute on `+1:02:03.456`, with the days before it if there are any."""
    sign, ms = ("-", -ms) if ms < 0 else ("+", ms)
    if ms < 60_000:
        return f"{sign}{ms / 1_000:.3f} s"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{sign}{f'{days} d ' if days else ''}{hours}:{minutes:02}:{ms / 1_000:06.3f}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
