"""The demo: the whole bank on this machine, 5,000 transfers with failures, a crash in the middle,
the same file once more, transfers of other shapes, and the audit. It succeeds only if all of it
came out as it must.
"""

import asyncio
import os
import time
import uuid
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from audit.rendering import rendered
from audit.report import Report
from makegood.auditing import audit_at_rest
from makegood.bank import Bank
from makegood.client import Client
from makegood.demo_files import TRANSFERS, DemoAccount, demo_accounts, expected
from makegood.demo_payouts import SETTINGS, carried_out
from makegood.demo_shapes import ACCOUNTS, show_shapes
from makegood.embedded import DATABASE_VARIABLE, KAFKA_VARIABLE, embedded_bank
from makegood.submission import Result, Summary, submit
from makegood.transfer_file import read_orders

CRASH_AFTER: Final = 0.4
"""Share of the transfers after which the orchestrator is killed."""

_CONCURRENCY: Final = 64
_VICTIM: Final = "orchestrator-0"
_DOWN_S: Final = 1.0


class Crash:
    """Kills the orchestrator after `after` results; `outage_s`: how long no transfer ended."""

    def __init__(self, bank: Bank, after: int) -> None:
        self._bank = bank
        self._left = after
        self._last_end: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.killed = False
        self.outage_s = 0.0
        self.back_s = 0.0
        self._revived_at = 0.0

    def see(self, result: Result) -> None:
        now = time.monotonic()
        if self.killed and result.outcome == "completed" and not result.replayed:
            if self._revived_at and not self.back_s and now > self._revived_at:
                self.back_s = now - self._revived_at
            if self._last_end is not None:
                self.outage_s = max(self.outage_s, now - self._last_end)
        self._last_end = now
        self._left -= 1
        if self._left == 0:
            self._task = asyncio.create_task(self._kill())

    async def _kill(self) -> None:
        self.killed = True
        await self._bank.kill(_VICTIM)
        await asyncio.sleep(_DOWN_S)
        self._revived_at = time.monotonic()
        self._bank.revive(_VICTIM)

    async def done(self) -> None:
        if self._task is not None:
            await self._task


async def run_demo(console: Console, data_dir: Path) -> bool:
    """Whether everything came out as it must. Raises DevstackError, ApiAway."""
    # On servers that were given there may be another demo's topics: this one keeps apart.
    given = KAFKA_VARIABLE in os.environ or DATABASE_VARIABLE in os.environ
    corner = f"demo_{uuid.uuid4().hex[:8]}" if given else ""
    began = time.monotonic()
    async with embedded_bank(
        data_dir,
        fresh=True,
        corner=corner,
        settings=SETTINGS,
        announce=lambda text: console.print(f"[dim]{text}"),
    ) as bank:
        started_s = time.monotonic() - began
        console.print(f"The bank is up after {started_s:.1f} s: {bank.url} (API page: /docs)")
        async with Client(bank.url, connections=_CONCURRENCY) as client:
            await _open_accounts(console, client, demo_accounts())
            crash = Crash(bank, round(CRASH_AFTER * _lines()))
            first, took_s = await _send(console, client, "transfers", crash)
            await crash.done()
            again, again_s = await _send(console, client, "the same file again", None)
            await _open_accounts(console, client, list(ACCOUNTS))
            async with carried_out(bank.corner) as carrier:
                others, wrong = await show_shapes(console, client)
            if any(times > 1 for times in carrier.sent.values()):
                wrong.append(f"paid out more than once: {dict(carrier.sent)}")
        report = await audit_at_rest(bank.corner)
    console.print(rendered(report))
    _show(console, first, took_s, crash, again, again_s)
    wrong += _unexpected(first, again, others, report)
    for line in wrong:
        console.print(f"[red]{line}")
    good = not wrong and crash.killed
    console.print(
        "[bold green]Conserved: yes. No cent was lost, doubled or invented."
        if good
        else "[bold red]The demo did NOT come out as it must."
    )
    return good


def _lines() -> int:
    return sum(1 for _ in read_orders(TRANSFERS))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


async def _open_accounts(console: Console, client: Client, accounts: list[DemoAccount]) -> None:
    """Open, fund, freeze and close them as the file says."""
    with _progress(console) as progress:
        bar = progress.add_task("accounts", total=len(accounts))
        waiting = iter(accounts)

        async def work() -> None:
            for account in waiting:
                name = account.id
                body = {"id": name, "currency": account.currency}
                await client.order("/accounts", f"open-{name}", body)
                if account.deposit_minor:
                    money = {
                        "amount_minor": account.deposit_minor,
                        "currency": account.currency,
                    }
                    await client.order(f"/accounts/{name}/deposits", f"fund-{name}", money)
                if account.then:
                    await client.order(f"/accounts/{name}/{account.then}", f"{account.then}-{name}")
                progress.advance(bar)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CONCURRENCY):
                group.create_task(work())


async def _send(
    console: Console, client: Client, what: str, crash: Crash | None
) -> tuple[Summary, float]:
    with _progress(console) as progress:
        bar = progress.add_task(what, total=_lines())
        told = False

        def on_result(result: Result) -> None:
            nonlocal told
            progress.advance(bar)
            if crash is not None:
                crash.see(result)
                if crash.killed and not told:
                    told = True
                    progress.console.print("[yellow]The orchestrator was killed (SIGKILL).")

        began = time.monotonic()
        orders = read_orders(TRANSFERS)
        summary = await submit(client, orders, concurrency=_CONCURRENCY, on_result=on_result)
        return summary, time.monotonic() - began


def _show(
    console: Console, first: Summary, took_s: float, crash: Crash, again: Summary, again_s: float
) -> None:
    table = Table(title=f"{first.lines:,} transfers", title_justify="left")
    table.add_column("outcome")
    table.add_column("why")
    table.add_column("lines", justify="right")
    table.add_row("completed", "", f"{first.outcomes['completed']:,}")
    for (outcome, reason), count in sorted(first.reasons.items()):
        table.add_row(outcome, reason, f"{count:,}")
    table.add_row("of these sent twice", "same key, same body", f"{first.replayed:,}")
    console.print(table)
    console.print(
        f"{first.lines / took_s:,.0f} transfers a second over HTTP with {_CONCURRENCY} clients; "
        f"latency p50 {first.percentile_ms(0.5):.0f} ms, p95 {first.percentile_ms(0.95):.0f} ms, "
        f"p99 {first.percentile_ms(0.99):.0f} ms (the crash included)"
    )
    console.print(
        f"The orchestrator was killed and brought back {_DOWN_S:.0f} s later; it completed its "
        f"next transfer {crash.back_s:.1f} s after that"
    )
    console.print(
        f"The same file again: {again.replayed:,} lines were known already, "
        f"{again.lines / again_s:,.0f} a second"
    )


def _unexpected(first: Summary, again: Summary, others: int, report: Report) -> list[str]:
    """What did not come out as it must; `others`: sagas of other shapes."""
    told = expected()
    wanted = {
        "completed": told.completed,
        "compensated": told.compensated,
        "refused": told.refused,
        "broken": told.broken,
    }
    wrong: list[str] = []
    for summary, name in ((first, "first run"), (again, "second run")):
        if dict(summary.outcomes) != wanted:
            wrong.append(f"{name}: {dict(summary.outcomes)} instead of {wanted}")
    # A request whose answer the crash swallowed was repeated by the client, and is counted too.
    if first.replayed < told.replayed:
        wrong.append(f"first run: {first.replayed} replayed, at least {told.replayed} were sent")
    if again.replayed != told.completed + told.compensated:
        wrong.append(f"second run: only {again.replayed} lines were known already")
    sagas = told.completed + told.compensated - told.replayed + others
    if sum(report.counts.sagas.values()) != sagas:
        wrong.append(f"sagas: {report.counts.sagas}, {sagas} in all are due")
    if not report.ok:
        wrong.append(f"the audit found {report.violation_count} violations")
    return wrong
