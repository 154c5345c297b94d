"""An audit's report for people: what was read, whether the books are right, what is wrong first."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from audit.report import Report
from messages.money import MINOR_DIGITS

MAX_SHOWN = 10
"""Violations and unfinished sagas shown; the JSON report lists 100 of each."""


def rendered(report: Report) -> RenderableType:
    parts: list[RenderableType] = [_totals(report), _counts(report)]
    if report.in_flight:
        parts.append(_in_flight(report))
    if report.violations:
        parts.append(_violations(report))
    parts.append(_verdict(report))
    return Group(*parts)


def money(amount_minor: int, currency: str) -> str:
    """`1,234.50` for 123450 EUR: exact, whatever the size."""
    digits = MINOR_DIGITS.get(currency, 0)
    sign, minor = "-" if amount_minor < 0 else "", abs(amount_minor)
    if not digits:
        return f"{sign}{minor:,}"
    return f"{sign}{minor // 10**digits:,}.{minor % 10**digits:0{digits}d}"


def _totals(report: Report) -> Table:
    table = Table(title="Double entry", title_justify="left")
    table.add_column("currency")
    for name in ("accounts", "in transit", "world", "sum"):
        table.add_column(name, justify="right")
    for currency, total in report.totals.items():
        parts = (total.balances, total.transit, total.world, total.sum)
        style = "bold red" if total.sum else ""
        table.add_row(currency, *(money(part, currency) for part in parts), style=style)
    return table


def _counts(report: Report) -> Text:
    counts = report.counts
    sagas = ", ".join(f"{count:,} {state}" for state, count in counts.sagas.items()) or "none"
    rows = f"{counts.rows:,} rows of the read model compared" if report.database else "no database"
    waiting = sum(link.sent - link.received for link in report.pending_links)
    return Text(
        f"{counts.records:,} journal records read from offset 0 ({counts.void:,} void), "
        f"{counts.accounts:,} accounts, {counts.postings:,} postings; sagas: {sagas}; {rows}; "
        f"{waiting:,} messages on their way; {report.duration_s:.1f} s"
    )


def _in_flight(report: Report) -> Text:
    lines = [f"{report.counts.in_flight:,} unfinished sagas hold money:"]
    for flight in report.in_flight[:MAX_SHOWN]:
        transit = ", ".join(f"{money(a, c)} {c}" for c, a in flight.transit.items()) or "none"
        lines.append(f"  {flight.saga_id} {flight.state}: transit {transit}, holds {flight.holds}")
    return Text("\n".join(lines))


def _violations(report: Report) -> Table:
    table = Table(title=f"{report.violation_count:,} violations, the first ones")
    for name in ("check", "where", "what", "expected", "found"):
        table.add_column(name, overflow="fold")
    for one in report.violations[:MAX_SHOWN]:
        where = one.place if one.offset is None else f"{one.place} offset {one.offset}"
        table.add_row(*map(Text, (one.check, where, one.subject, one.expected, one.found)))
    return table


def _verdict(report: Report) -> Text:
    if report.ok:
        return Text(
            "The books are right: double entry holds, every step had at most one effect.",
            style="bold green",
        )
    first = report.violations[0]
    where = first.place if first.offset is None else f"{first.place} offset {first.offset}"
    return Text(f"The books are NOT right; the first fault is at {where}.", style="bold red")
