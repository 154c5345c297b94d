"""`makegood saga ...`: which sagas there are, the ways back for those that are parked, and the word
that some wait for."""

import sys
import uuid
from collections.abc import AsyncGenerator
from typing import Annotated, Any, NoReturn
from urllib.parse import urlencode

import msgspec
import uvloop
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from makegood import saga_rendering
from makegood.api_option import ApiUrl, api_url
from makegood.client import ApiError, Client, path_of
from makegood.request_key import Key, request_key

app = App(name="saga", help="Look at sagas; retry, compensate, cancel, approve or reject them.")
console = Console()

_PAGE = 500

State = Annotated[str | None, Parameter(help="running, compensating, completed, ... parked.")]
Who = Annotated[str, Parameter(help="Who asks; kept in the journal.")]
Why = Annotated[str, Parameter(help="Why, e.g. a ticket; kept in the journal.")]
Signal = Annotated[str, Parameter(help="The name of the step that waits.")]
All = Annotated[bool, Parameter(name="--all", negative="", help="All that are parked.")]
Yes = Annotated[bool, Parameter(help="Do it; without, only tell what would be done.")]


@app.command(name="list")
def list_(
    *,
    state: State = None,
    definition: str | None = None,
    reason: str | None = None,
    account: str | None = None,
    limit: int = 50,
    api: ApiUrl = None,
) -> None:
    """Sagas that match, the newest first, and how many there are by state and reason."""
    query = _query(state=state, definition=definition, reason=reason, account=account)

    async def get() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with Client(api_url(api)) as client:
            found = [saga async for saga in _all(client, query, limit)]
            return found, await client.get(f"/sagas/counts?{query}")

    sagas, counts = uvloop.run(get())
    table = Table(box=None)
    for name in ("id", "definition", "state", "reason", "step", "updated"):
        table.add_column(name, overflow="fold")
    for saga in sagas:
        names = ("id", "definition", "state", "reason", "step", "updated_at")
        table.add_row(*(str(saga[name]) for name in names))
    console.print(table)
    for count in counts["counts"]:
        why = f" ({count['reason']})" if count["reason"] else ""
        console.print(f"{count['count']:,} {count['definition']} {count['state']}{why}")


@app.command
def show(
    saga: str,
    /,
    *,
    limit: Annotated[int, Parameter(help="Show at most so many events.")] = 1_000,
    json: Annotated[bool, Parameter(help="The saga and its events as one JSON object.")] = False,
    follow: Annotated[
        bool,
        Parameter(help="Go on until the saga has ended; with --json every event is a line."),
    ] = False,
    api: ApiUrl = None,
) -> None:
    """How a saga and its steps stand, and all that has happened to it, from its start on."""

    async def run() -> None:
        async with Client(api_url(api)) as client:
            found = await client.get(path_of("sagas", saga))
            if follow:
                await _follow(client, found, json)
                return
            events = _timeline(client, found, limit)
            if json:
                console.print_json(data={**found, "timeline": [event async for event in events]})
                return
            console.print(saga_rendering.standing(found))
            console.print(saga_rendering.steps(found))
            shown = 0
            async for event in events:
                console.print(saga_rendering.line(event, found["started_at"]))
                shown += 1
            if shown == limit:
                console.print(f"{shown:,} events shown; --limit shows more")

    uvloop.run(run())


async def _timeline(client: Client, saga: dict[str, Any], limit: int) -> AsyncGenerator[Any]:
    """The first `limit` events of `saga`, page by page."""
    left, first = limit, 0
    while left > 0:
        size = min(left, _PAGE)
        page = await client.get(f"/sagas/{saga['id']}/timeline?from={first}&limit={size}")
        for entry in page["entries"]:
            yield entry
        if page["next"] is None:
            return
        left, first = left - size, page["next"]


async def _follow(client: Client, saga: dict[str, Any], json: bool) -> None:
    """All events of `saga` as they come, and at its end how its steps stand."""
    if not json:
        console.print(saga_rendering.standing(saga))
    path = f"/sagas/{saga['id']}"
    async for event in client.events(f"{path}/events"):
        if event.name == "end":
            continue
        if json:
            print(msgspec.json.encode(event.data).decode(), flush=True)
        else:
            console.print(saga_rendering.line(event.data, saga["started_at"]))
    if not json:
        console.print(saga_rendering.steps(await client.get(path)))


@app.command
def retry(
    *sagas: str,
    who: Who,
    why: Why,
    reason: str | None = None,
    definition: str | None = None,
    all_: All = False,
    yes: Yes = False,
    api: ApiUrl = None,
) -> None:
    """Ask once more for the step that a saga is parked for, under the same effect id: what was
    applied is not applied again. Without ids: all parked ones of the reason and the definition.

    Without --yes it only tells what would be done. Exit status 1 when a saga was refused.
    """
    query = _parked(sagas, reason, definition, all_)
    _recover("retry", sagas, query, who, why, yes, api)


@app.command
def compensate(
    *sagas: str,
    who: Who,
    why: Why,
    reason: str | None = None,
    definition: str | None = None,
    all_: All = False,
    yes: Yes = False,
    api: ApiUrl = None,
) -> None:
    """Take sagas back, or replay the compensations that have failed. Refused once the pivot is
    applied, or may be. Without ids: all parked ones of the reason and the definition.

    Without --yes it only tells what would be done. Exit status 1 when a saga was refused.
    """
    query = _parked(sagas, reason, definition, all_)
    _recover("compensate", sagas, query, who, why, yes, api)


@app.command
def cancel(
    *sagas: str,
    who: Who,
    why: Why,
    yes: Yes = False,
    api: ApiUrl = None,
) -> None:
    """Take sagas back that nobody wants any more; possible up to their pivot.

    Without --yes it only tells what would be done. Exit status 1 when a saga was refused.
    """
    if not sagas:
        _misused("name the sagas to cancel")
    _recover("cancel", sagas, "", who, why, yes, api)


@app.command
def approve(
    saga: str,
    /,
    *,
    who: Who,
    why: str = "",
    signal: Signal = "approval",
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """Say yes to a saga that waits for it: `saga list --reason waiting` names those.

    Exit status 1 when it is refused, e.g. as same_person: whoever starts a saga doesn't approve it.
    """
    _signal("approve", saga, who, why, signal, key, api)


@app.command
def reject(
    saga: str,
    /,
    *,
    who: Who,
    why: str = "",
    signal: Signal = "approval",
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """Say no to a saga that waits for a yes: it is taken back.

    Exit status 1 when it is refused.
    """
    _signal("reject", saga, who, why, signal, key, api)


def _signal(
    verdict: str, saga: str, who: str, why: str, signal: str, key: str | None, api: str | None
) -> None:
    path = path_of("sagas", saga, "signals", signal)
    body = {"verdict": verdict, "who": who, "why": why}

    async def ask(named: str) -> int:
        async with Client(api_url(api)) as client:
            try:
                answer = await client.order(path, named, body)
            except ApiError as error:
                console.print(f"{saga}: refused, {error.reason or error.kind}: {error.detail}")
                return 1
        console.print(f"{saga}: {answer['state']}")
        return 0

    with request_key(key) as named:
        status = uvloop.run(ask(named))
    sys.exit(status)


def _recover(
    action: str,
    sagas: tuple[str, ...],
    query: str,
    who: str,
    why: str,
    yes: bool,
    api: str | None,
) -> None:
    async def run() -> int:
        refused = done = 0
        async with Client(api_url(api)) as client:
            ids = list(sagas) or [s["id"] async for s in _all(client, query, sys.maxsize)]
            for saga_id in ids:
                if not yes:
                    console.print(f"{saga_id}: would {action}")
                    continue
                try:
                    body = {"who": who, "why": why}
                    key = uuid.uuid4().hex
                    answer = await client.order(path_of("sagas", saga_id, action), key, body)
                    done += 1
                    console.print(f"{saga_id}: {answer['state']}")
                except ApiError as error:
                    refused += 1
                    console.print(f"{saga_id}: refused, {error.reason or error.kind}")
        told = f"{done} {action} accepted, {refused} refused" if yes else "nothing done; add --yes"
        console.print(f"{len(ids)} sagas: {told}")
        return bool(refused)

    sys.exit(uvloop.run(run()))


async def _all(client: Client, query: str, limit: int) -> AsyncGenerator[dict[str, Any]]:
    """The sagas that match, page by page."""
    left, before = limit, ""
    while left > 0:
        size = min(left, _PAGE)
        page = await client.get(f"/sagas?{query}&limit={size}{before}")
        for saga in page["sagas"]:
            yield saga
        left -= size
        if page["next"] is None:
            return
        before = "&" + urlencode({"before": page["next"]})


def _parked(sagas: tuple[str, ...], reason: str | None, definition: str | None, all_: bool) -> str:
    """What asks for the parked sagas that are meant. Nobody means all of them by naming none: a
    shell's variable that is empty by mistake looks like that."""
    filters = _query(reason=reason, definition=definition)
    if sagas and (filters or all_):
        _misused("name sagas, or say by --reason, --definition or --all which; not both")
    if filters and all_:
        _misused("--all is every parked saga: leave out --reason and --definition, or --all")
    if not (sagas or filters or all_):
        _misused("name the sagas, or say by --reason or --definition which, or --all")
    return _query(state="parked", reason=reason, definition=definition)


def _misused(text: str) -> NoReturn:
    print(f"makegood: {text}", file=sys.stderr)
    sys.exit(2)


def _query(**filters: str | None) -> str:
    return urlencode({name: value for name, value in filters.items() if value is not None})
