"""`makegood deadletter ...`: look at rejected records, and ask for one again.

What may be asked again is decided in `deadletters.py`; here are names, options and exits.
"""

import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import uvloop
from cyclopts import App
from rich.console import Console

from makegood.deadletter_rendering import Listing, Wanted, listed, planned, shown
from makegood.deadletter_topic import dead_letters, facts, find, write
from makegood.deadletters import (
    Position,
    Refusal,
    Requeue,
    mark_fault,
    moment_ms,
    position_of,
    requeue,
)
from makegood.logs import configure_logs
from makegood.settings import Settings
from makegood.settings_here import settings_here

T = TypeVar("T")

app = App(name="deadletter", help="Look at records that nobody could take, and ask for one again.")
console = Console()

MAX_LIMIT: Final = 10_000
MAX_POSITIONS: Final = 100
"""Dead letters requeued at once: they are held in memory, and somebody should read them."""


@app.command(name="list")
def list_letters(
    *,
    topic: str | None = None,
    reason: str = "",
    since: str | None = None,
    limit: int = 100,
    json: bool = False,
    data_dir: Path | None = None,
) -> None:
    """The rejected records, the newest last. None of them has changed anything.

    Parameters
    ----------
    topic
        Only those of this input topic, e.g. account.input.
    reason
        Only those with this text in their reason.
    since
        Only those put aside since then: a date or time in ISO 8601, UTC unless it says otherwise.
    limit
        How many, 1 to 10000: the newest.
    json
        A list of objects in JSON.
    data_dir
        Of the bank that `makegood up` runs, if MAKEGOOD_KAFKA_BOOTSTRAP is not set.
    """
    if not 1 <= limit <= MAX_LIMIT:
        _misused(f"--limit must be 1 to {MAX_LIMIT}")
    since_ms = 0 if since is None else _parsed(moment_ms, since, "--since")
    listing = Listing(Wanted(topic, reason, since_ms), limit)

    async def collect() -> None:
        async with dead_letters(settings_here(data_dir), _warn) as letters:
            async for letter, put_aside_ms in letters:
                listing.add(letter, put_aside_ms)

    _run(collect())
    if json:
        _say(msgspec.json.format(msgspec.json.encode(listing.rows)).decode())
    else:
        console.print(listed(listing.rows, listing.found))


@app.command
def show(position: str, /, *, data_dir: Path | None = None) -> None:
    """A rejected record whole. POSITION is topic/partition@offset, as `list` gives it.

    Exit status 1 when there is no such dead letter.

    Parameters
    ----------
    data_dir
        Of the bank that `makegood up` runs, if MAKEGOOD_KAFKA_BOOTSTRAP is not set.
    """
    wanted = _parsed(position_of, position, "POSITION")
    found = _run(find(settings_here(data_dir), [wanted], _warn))[wanted]
    for letter in found:
        _say(shown(letter))
    if not found:
        _say(f"there is no dead letter {wanted}")
        sys.exit(1)


@app.command(name="requeue")
def requeue_letters(
    *positions: str,
    yes: bool = False,
    who: str = "",
    why: str = "",
    data_dir: Path | None = None,
) -> None:
    """Write rejected records to their input again, once they can be taken.

    They keep their key, value and headers, but for those of a link, and so their effect id or
    saga id and their time of issue: doing it twice pays nobody twice. Steps of sagas and answers
    to sagas are refused, because the saga engine itself tries again.

    Exit status 1 when a record was refused or nothing was written.

    Parameters
    ----------
    positions
        topic/partition@offset, as `list` gives it; at most 100.
    yes
        Do it without asking.
    who
        Who does it, for the record's headers; default: the user of this machine.
    why
        Why, for the record's headers.
    data_dir
        Of the bank that `makegood up` runs, if MAKEGOOD_KAFKA_BOOTSTRAP is not set.
    """
    if not 1 <= len(positions) <= MAX_POSITIONS:
        _misused(f"name 1 to {MAX_POSITIONS} positions")
    wanted = list(dict.fromkeys(_parsed(position_of, text, "POSITION") for text in positions))
    who = who or _user()
    for option, text in (("--who", who), ("--why", why)):
        if fault := mark_fault(text):
            _misused(f"{option} {fault}")
    settings = settings_here(data_dir)
    steps = _run(_plan(settings, wanted, who, why))
    for step in steps:
        _say(planned(step))
    writes = [step for step in steps if isinstance(step, Requeue)]
    if not writes or not (yes or _agreed(len(writes))):
        _say("nothing was written")
        sys.exit(1)
    # Connected anew: nothing is held open while somebody thinks.
    _run(write(settings, writes, _tell))
    sys.exit(len(writes) < len(steps))


async def _plan(
    settings: Settings, wanted: Sequence[Position], who: str, why: str
) -> list[Requeue | Refusal]:
    found = await find(settings, wanted, _warn)
    now = await facts(settings)
    steps: list[Requeue | Refusal] = []
    for position in wanted:
        match found[position]:
            case [letter]:
                steps.append(requeue(letter, now, who, why))
            case []:
                steps.append(Refusal(position, "there is no such dead letter"))
            case _:
                steps.append(Refusal(position, "two different records were rejected there"))
    return steps


def _run(main: Coroutine[Any, Any, T]) -> T:
    configure_logs("console", os.environ.get("MAKEGOOD_LOG_LEVEL", "error"))
    return uvloop.run(main)


def _tell(step: Requeue, offset: int) -> None:
    _say(f"{step.position} requeued as {step.place}@{offset}")


def _agreed(count: int) -> bool:
    try:
        answer = input(f"Write {count:,} of them? [y/N] ")
    except EOFError:
        _warn("nobody is there to answer: say --yes")
        return False
    return answer.strip().lower() in ("y", "yes")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        _misused("this machine has no name for its user: say --who")


def _parsed(parse: Callable[[str], T], text: str, what: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        _misused(f"{what}: {error}")


def _misused(text: str) -> NoReturn:
    _warn(text)
    sys.exit(2)


def _warn(text: str) -> None:
    print(f"makegood: {text}", file=sys.stderr)


def _say(text: str) -> None:
    """Not by rich: it would wrap lines, and take brackets in a stranger's text for markup."""
    print(text)
