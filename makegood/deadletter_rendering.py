"""How dead letters look: in a list, whole, and as what requeueing is about to write. Pure.

What is in them is a stranger's, so nothing of it reaches a terminal as it is.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from rich.table import Table
from rich.text import Text

from journal.records import SOURCE, TYPE, RecordRejected, header
from makegood.deadletters import REQUEUED_FROM, Refusal, Requeue, moment, position_in

_SHOWN: Final = 300
"""Characters of a reason or header in a list."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter in a list. `put_aside_ms` is when its copy was written (ms since 1970)."""

    position: str
    put_aside_ms: int
    type: str
    source: str
    value_bytes: int | None
    reason: str
    requeued_from: str = ""


class Wanted(NamedTuple):
    """Which dead letters: of `topic`, with `reason` in their reason, put aside since then."""

    topic: str | None = None
    reason: str = ""
    since_ms: int = 0


class Listing:
    """The newest `limit` of those that are wanted; never holds more. `found` counts them all."""

    def __init__(self, wanted: Wanted, limit: int) -> None:
        self.found = 0
        self._wanted = wanted
        self._limit = limit
        self._rows: dict[str, Row] = {}

    @property
    def rows(self) -> list[Row]:
        """The oldest first."""
        return list(self._rows.values())

    def add(self, letter: RecordRejected, put_aside_ms: int) -> None:
        wanted = self._wanted
        if (
            wanted.topic not in (None, letter.topic)
            or put_aside_ms < wanted.since_ms
            or wanted.reason.casefold() not in letter.reason.casefold()
        ):
            return
        row = _row(letter, put_aside_ms)
        if row.position in self._rows:
            # After a crash a copy is sent again.
            return
        self.found += 1
        self._rows[row.position] = row
        if len(self._rows) > self._limit:
            del self._rows[next(iter(self._rows))]


def _row(letter: RecordRejected, put_aside_ms: int) -> Row:
    def text(name: str) -> str:
        return (header(letter.headers, name) or b"").decode(errors="replace")[:_SHOWN]

    return Row(
        position=str(position_in(letter)),
        put_aside_ms=put_aside_ms,
        type=text(TYPE),
        source=text(SOURCE),
        value_bytes=None if letter.value is None else len(letter.value),
        reason=letter.reason[:_SHOWN],
        requeued_from=text(REQUEUED_FROM),
    )


def printable(text: str) -> str:
    """`text` with what is not printable (control characters, turned text) as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def readable(content: bytes | None, *, lines: bool = False) -> str:
    """Text if it is text, else hex, 32 bytes a line. `lines`: text may have several."""
    if content is None:
        return "(none)"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(char.isprintable() or (lines and char in "\n\t") for char in text):
        return text
    rows = (content[at : at + 32].hex(" ") for at in range(0, len(content), 32))
    return "\n".join((f"({len(content):,} bytes, hex)", *rows))


def listed(rows: Sequence[Row], found: int) -> Table:
    """`found`: how many there are, of which `rows` are the newest."""
    table = Table(title=f"{found:,} dead letters", title_justify="left")
    if found > len(rows):
        table.caption = f"the newest {len(rows):,} of them; --limit shows more"
    for name in ("position", "put aside", "type", "source", "bytes", "reason"):
        table.add_column(name, overflow="fold", justify="right" if name == "bytes" else "left")
    for row in rows:
        again = f"requeued from {row.requeued_from}: " if row.requeued_from else ""
        size = "none" if row.value_bytes is None else f"{row.value_bytes:,}"
        cells = (row.position, moment(row.put_aside_ms), row.type, row.source, size)
        # Text, for a table takes square brackets in a str as markup.
        table.add_row(*(Text(printable(cell)) for cell in (*cells, again + row.reason)))
    return table


def shown(letter: RecordRejected) -> str:
    """A dead letter whole."""
    lines = [
        f"position: {position_in(letter)}",
        f"written:  {moment(letter.timestamp)} (by its sender's clock)",
        f"reason:   {printable(letter.reason)}",
        "headers:",
        *(f"  {printable(name)}: {readable(value)}" for name, value in letter.headers),
        "key:",
        readable(letter.key),
        "value:",
        readable(letter.value, lines=True),
    ]
    return "\n".join(lines)


def planned(step: Requeue | Refusal) -> str:
    """What will be done, for a person to agree to."""
    if isinstance(step, Refusal):
        return f"{step.position}: NOT requeued: {printable(step.reason)}"
    lines = [
        f"{step.position}: written to {step.place} again",
        f"  {step.message}, {printable(step.named)}",
        f"  key {readable(step.entry.key)}",
        f"  value {readable(step.entry.value)}",
        *(f"  header {printable(name)}: {readable(value)}" for name, value in step.entry.headers),
    ]
    return "\n".join(lines)
