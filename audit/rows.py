"""The read model, held against the fold: every row of PostgreSQL has to say what the journals say
up to the position that was stored with it.

Rows and positions are read in one snapshot of the database, so a projector may be at work.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.accounts import Accounts, Book
from audit.case import Case, Closed
from audit.cases import Cases
from audit.history import UNREADABLE, Histories, Stored, count
from audit.journals import ACCOUNTS, SAGAS
from audit.report import Findings
from journal.log import Place
from read_model import tables
from read_model.position import Position

_PAGE: Final = 2_000
_PIECES: Final = 200
"""Pieces of histories read at a time, each of up to 250 events."""
_ACCOUNT: Final = (
    "partition",
    "version",
    "status",
    "credits",
    "currency",
    "balance_minor",
    "held_minor",
    "overdraft_limit_minor",
    "transfer_limit_minor",
    "daily_limit_minor",
)
_SAGA: Final = ("partition", "definition", "version", "state", "reason", "step")


class Rows:
    """The read model as of one moment. `positions`: how far each partition is projected."""

    def __init__(self, connection: AsyncConnection, positions: Mapping[Place, Position]) -> None:
        self.positions = positions
        self.compared = 0
        self._connection = connection

    async def compare(
        self, accounts: Accounts, cases: Cases, histories: Histories, findings: Findings
    ) -> None:
        """Call it when everything before the positions is folded, and nothing behind them."""
        await self._accounts(accounts, findings)
        await self._sagas(cases, findings)
        await self._history(histories, findings)
        await self._world(accounts, findings)

    async def _accounts(self, accounts: Accounts, findings: Findings) -> None:
        table = tables.accounts
        seen: Counter[int] = Counter()
        query = select(table.c.account_id, *(table.c[name] for name in _ACCOUNT))
        async for row in self._all(query):
            account_id, *told = row
            seen[row.partition] += 1
            book = accounts.books.get(account_id)
            _differ(findings, "accounts", f"account {account_id}", _ACCOUNT, _book(book), told)
        _count(findings, "accounts", ACCOUNTS, accounts.opened, seen)

    async def _sagas(self, cases: Cases, findings: Findings) -> None:
        table = tables.sagas
        seen: Counter[int] = Counter()
        query = select(table.c.saga_id, *(table.c[name] for name in _SAGA))
        async for row in self._all(query):
            saga_id, *told = row
            seen[row.partition] += 1
            saga = cases.sagas.get(saga_id)
            _differ(findings, "sagas", f"saga {saga_id}", _SAGA, _outcome(saga), told)
        _count(findings, "sagas", SAGAS, cases.started, seen)

    async def _history(self, histories: Histories, findings: Findings) -> None:
        plans: set[str] = set()
        async for row in self._all(select(tables.plans)):
            plans.add(row.digest)
            digest = hashlib.sha256(row.plan).hexdigest()[:32]
            if digest != row.digest:
                findings.add("projection", "plans", None, row.digest, row.digest, digest)
        missing = dict(histories.found)
        async for stored in self._stored():
            expected = missing.pop(stored.saga_id, 0)
            if stored.told != expected:
                _history_differs(findings, stored.saga_id, expected, stored.told)
            for plan in stored.plans - plans:
                findings.add("projection", "plans", None, f"saga {stored.saga_id}", plan, "no row")
        for saga_id, expected in missing.items():
            _history_differs(findings, saga_id, expected, 0)

    async def _stored(self) -> AsyncGenerator[Stored]:
        """Each saga's history. It may be long: its pieces are not held, and few come at a time."""
        table = tables.history
        stored = Stored("")
        query = select(table).order_by(table.c.saga_id, table.c.last_offset)
        async for row in self._all(query, _PIECES):
            if row.saga_id != stored.saga_id:
                if stored.saga_id:
                    yield stored
                stored = Stored(row.saga_id)
            stored.add(row.events)
        if stored.saga_id:
            yield stored

    async def _world(self, accounts: Accounts, findings: Findings) -> None:
        table = tables.world
        told: dict[tuple[str, int], int] = {}
        async for row in self._all(select(table)):
            told[row.currency, row.partition] = int(row.balance_minor)
        for key in sorted(told.keys() | accounts.world.keys()):
            expected, found = accounts.world.get(key, 0), told.get(key, 0)
            if expected != found:
                subject = f"{key[0]} of partition {key[1]}"
                findings.add("projection", "world", None, subject, str(expected), str(found))

    async def _all(self, query: Select[Any], page: int = _PAGE) -> AsyncGenerator[Any]:
        async with self._connection.stream(query.execution_options(yield_per=page)) as found:
            async for row in found:
                self.compared += 1
                yield row


@asynccontextmanager
async def rows(engine: AsyncEngine) -> AsyncGenerator[Rows]:
    """The read model as of now, for as long as the block lasts."""
    async with engine.connect() as connection:
        await connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        stored = await connection.execute(select(tables.positions))
        yield Rows(connection, {Place(t, p): Position(at, epoch) for t, p, at, epoch in stored})


def _book(book: Book | None) -> list[Any] | None:
    if book is None:
        return None
    return [
        book.partition,
        book.version,
        book.status,
        book.credits,
        book.currency,
        book.balance,
        book.held,
        book.overdraft,
        book.transfer_limit,
        book.daily_limit,
    ]


def _outcome(saga: Case | Closed | None) -> list[Any] | None:
    if saga is None or (isinstance(saga, Case) and saga.started_at < 0):
        return None
    told = saga.outcome
    return [told.partition, told.definition, told.version, told.state, told.reason, told.step]


def _history_differs(findings: Findings, saga_id: str, expected: int, told: int) -> None:
    found = "rows that can't be read" if told == UNREADABLE else f"{count(told)}"
    if count(expected) == count(told):
        found += ", with other contents"
    findings.add(
        "projection",
        "history",
        None,
        f"saga {saga_id}",
        f"{count(expected)} events",
        found,
    )


def _differ(
    findings: Findings,
    table: str,
    subject: str,
    names: tuple[str, ...],
    expected: list[Any] | None,
    told: list[Any],
) -> None:
    if expected is None:
        findings.add("projection", table, None, subject, "no row: no event tells of it", "a row")
    elif told != expected:
        wrong = [
            (name, left, right)
            for name, left, right in zip(names, expected, told, strict=True)
            if left != right
        ]
        findings.add(
            "projection",
            table,
            None,
            subject,
            ", ".join(f"{name} {left}" for name, left, _ in wrong),
            ", ".join(f"{name} {right}" for name, _, right in wrong),
        )


def _count(
    findings: Findings,
    table: str,
    topic: str,
    expected: Mapping[int, int],
    seen: Mapping[int, int],
) -> None:
    for partition in sorted(expected.keys() | seen.keys()):
        if expected.get(partition, 0) != seen.get(partition, 0):
            findings.add(
                "projection",
                table,
                None,
                f"rows of {Place(topic, partition)}",
                f"{expected.get(partition, 0)} rows",
                f"{seen.get(partition, 0)}",
            )
