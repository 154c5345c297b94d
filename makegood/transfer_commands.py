"""`makegood transfer ...`: one transfer, a standing order, or a file of them, through the API."""

import sys
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Never

import msgspec
import uvloop
from cyclopts import App, Parameter
from cyclopts.types import ExistingFile
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from makegood.amount_option import AmountMinor
from makegood.api_option import ApiUrl, api_url
from makegood.client import Client, Transfer, path_of
from makegood.request_key import Key, request_key
from makegood.submission import Result, Summary, submit
from makegood.transfer_file import read_orders
from saga_definitions.recurrence import Every
from saga_definitions.standing_order import MAX_PAYMENTS

app = App(name="transfer", help="Start transfers and look at them.")
console = Console()


@app.command
def start(
    source: str,
    target: str,
    amount_minor: AmountMinor,
    currency: str,
    /,
    *,
    definition: str = "transfer",
    reference: str = "",
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """Move AMOUNT_MINOR (minor units) from SOURCE to TARGET, and wait for the end.

    Exit status 1 when it was compensated or parked.
    """
    body: dict[str, Any] = {
        "source": source,
        "target": target,
        "amount_minor": amount_minor,
        "currency": currency,
        "definition": definition,
    }
    _start(api, key, body | ({"reference": reference} if reference else {}))


def _start(api: str | None, key: str | None, body: dict[str, Any]) -> Never:
    """Start it, say how it ended, and end with the exit status of that."""

    async def ask(named: str) -> Transfer:
        async with Client(api_url(api)) as client:
            return await client.transfer(named, body)

    with request_key(key) as named:
        transfer = uvloop.run(ask(named))
    console.print(f"{_ended(transfer)} (key {named})")
    sys.exit(transfer.state in ("compensated", "parked"))


def _ended(transfer: Transfer) -> str:
    why = f" ({transfer.reason})" if transfer.reason else ""
    return f"{transfer.id}: {transfer.state}{why}"


@app.command
def reverse(
    transfer: str,
    amount_minor: AmountMinor | None = None,
    /,
    *,
    reference: str = "",
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """Give a completed TRANSFER back, or AMOUNT_MINOR (minor units) of it, and wait for the end.

    All reversals of one transfer together give back at most its amount. Exit status 1 when it was
    compensated or parked.
    """
    body: dict[str, Any] = {"definition": "reversal", "original": transfer}
    if amount_minor is not None:
        body["amount_minor"] = amount_minor
    _start(api, key, body | ({"reference": reference} if reference else {}))


@app.command
def standing(
    source: str,
    target: str,
    amount_minor: AmountMinor,
    currency: str,
    /,
    *,
    key: Annotated[str, Parameter(help="Names the order: the same key again is the same order.")],
    first: Annotated[date, Parameter(help="The first day, e.g. 2026-12-31.")],
    every: Every = "month",
    at: Annotated[str, Parameter(help="The local time.")] = "09:00",
    zone: Annotated[str, Parameter(help="The time zone, e.g. Europe/Berlin.")] = "UTC",
    times: Annotated[
        int,
        Parameter(help="How many of the coming ones.", validator=Number(gte=1, lte=MAX_PAYMENTS)),
    ] = 12,
    reference: str = "",
    api: ApiUrl = None,
) -> None:
    """Give a standing order, and show when its payments are due and what became of them.

    Months that are too short end it earlier. Times that are past are left out, so FIRST may be in
    the past. `makegood saga cancel` ends the payments to come. Exit status 1 when all failed.
    """
    body: dict[str, Any] = {
        "definition": "standing_order",
        "source": source,
        "target": target,
        "amount_minor": amount_minor,
        "currency": currency,
        "first": first.isoformat(),
        "every": every,
        "at": at,
        "zone": zone,
        "times": times,
    } | ({"reference": reference} if reference else {})

    async def ask() -> tuple[Transfer, dict[str, Any]]:
        async with Client(api_url(api)) as client:
            told = await client.transfer(key, body)
            path = f"/sagas/{told.id}/legs?step=pay&limit={MAX_PAYMENTS}&after={told.as_of}"
            return told, await client.get(path)

    order, page = uvloop.run(ask())
    console.print(f"{_ended(order)} (key {key})")
    for leg in page["legs"]:
        why = f" ({leg['reason']})" if leg["reason"] else ""
        console.print(f"{leg['element']}: {leg['state']}{why}", highlight=False)
    sys.exit(order.state in ("compensated", "parked"))


@app.command
def show(transfer: str, /, *, api: ApiUrl = None) -> None:
    """A transfer as the read model knows it."""

    async def get() -> dict[str, Any]:
        async with Client(api_url(api)) as client:
            return await client.get(path_of("transfers", transfer))

    console.print_json(data=uvloop.run(get()))


@app.command(name="submit")
def submit_file(
    file: ExistingFile,
    /,
    *,
    concurrency: Annotated[int, Parameter(alias="-c")] = 64,
    report: Path | None = None,
    api: ApiUrl = None,
) -> None:
    """Start all transfers of a file, CSV or NDJSON, and wait for their ends.

    CSV has a header line: key,source,target,amount_minor,currency and, if wanted,
    definition,reference. The key is the Idempotency-Key; without that column equal lines are told
    apart by how often they came before, so the same file again moves nothing again.

    Exit status 1 when a line did not end as completed.

    Parameters
    ----------
    concurrency
        How many transfers are under way at once, 1 to 1000.
    report
        Where to write what became of each line, as NDJSON.
    """
    if not 1 <= concurrency <= 1000:
        console.print("--concurrency must be 1 to 1000")
        sys.exit(2)
    with ExitStack() as stack:
        try:
            out = stack.enter_context(report.open("wb")) if report else None
        except OSError as error:
            console.print(f"--report {report} cannot be written: {error.strerror}", markup=False)
            sys.exit(2)
        summary = uvloop.run(_submit(file, concurrency, out, api_url(api)))
    console.print(_table(summary))
    sys.exit(not summary.all_completed)


async def _submit(file: Path, concurrency: int, out: BinaryIO | None, url: str) -> Summary:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[lines]:,} lines"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("transfers", total=_lines_of(file), lines=0)
        lines = 0

        def on_result(result: Result) -> None:
            nonlocal lines
            lines += 1
            bar.update(task, advance=1, lines=lines)
            if out is not None:
                out.write(msgspec.json.encode(result) + b"\n")

        async with Client(url, connections=concurrency) as client:
            return await submit(
                client, read_orders(file), concurrency=concurrency, on_result=on_result
            )


def _lines_of(file: Path) -> int:
    """About how many transfers are in it: for the bar alone."""
    with file.open("rb") as content:
        return max(sum(block.count(b"\n") for block in iter(lambda: content.read(1 << 20), b"")), 1)


def _table(summary: Summary) -> Table:
    table = Table(title=f"{summary.lines:,} lines", title_justify="left")
    for name in ("outcome", "why", "lines", "first of them"):
        table.add_column(name, overflow="fold")
    table.add_row("completed", "", f"{summary.outcomes['completed']:,}", "")
    for (outcome, reason), count in sorted(summary.reasons.items()):
        first = [str(r.line) for r in summary.failures[outcome] if r.reason == reason]
        table.add_row(outcome, reason, f"{count:,}", ", ".join(first[:8]))
    if summary.replayed:
        table.add_row("known already", "same key, same body", f"{summary.replayed:,}", "")
    table.caption = (
        f"latency p50 {summary.percentile_ms(0.5):.0f} ms, p99 {summary.percentile_ms(0.99):.0f} ms"
    )
    return table
