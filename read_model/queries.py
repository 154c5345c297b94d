"""What can be asked of the read model. Every function reads one consistent snapshot.

Rows come with `as_of`: the position (see `read_model.position`) of the journal partition they are
folded from, read in the same statement.
"""

import asyncio
import time
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    RowMapping,
    Select,
    Table,
    Text,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from journal.log import Place
from read_model import position, tables
from read_model.batch import ACCOUNT_JOURNAL, SAGA_JOURNAL
from read_model.position import Position

_FIRST_PAUSE_S: Final = 0.005
_MAX_PAUSE_S: Final = 0.1


class SagaRow(msgspec.Struct, frozen=True, kw_only=True):
    """A saga; columns as in `read_model.tables.sagas`, times in UTC."""

    saga_id: str
    tenant: str
    definition: str
    version: int
    state: str
    reason: str
    step: str
    params: dict[str, Any]
    source: str | None
    target: str | None
    amount_minor: int | None
    currency: str | None
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    as_of: str


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account; amounts in minor units of `currency`. `credits` counts while it is frozen."""

    account_id: str
    version: int
    status: str
    credits: str
    currency: str
    balance_minor: int
    held_minor: int
    overdraft_limit_minor: int
    transfer_limit_minor: int | None
    daily_limit_minor: int | None
    updated_at: datetime
    as_of: str

    @property
    def available_minor(self) -> int:
        return self.balance_minor + self.overdraft_limit_minor - self.held_minor


async def saga(engine: AsyncEngine, saga_id: str) -> SagaRow | None:
    async with engine.connect() as connection:
        return await saga_in(connection, saga_id)


async def saga_in(connection: AsyncConnection, saga_id: str) -> SagaRow | None:
    """As `saga`, in the caller's transaction."""
    query = _with_position(tables.sagas, SAGA_JOURNAL).where(tables.sagas.c.saga_id == saga_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else SagaRow(**_fields(row, SAGA_JOURNAL))


async def last_offsets(engine: AsyncEngine, saga_ids: Collection[str]) -> dict[str, int]:
    """Saga id -> the journal offset of the last event of its history; without those that have none.
    One statement, O(sagas)."""
    table = tables.history
    asked = func.unnest(literal(list(saga_ids), ARRAY(Text))).column_valued("asked")
    # The end of the index for each. In one group, a plan that is kept reads the whole table.
    last = select(func.max(table.c.last_offset)).where(table.c.saga_id == asked).scalar_subquery()
    async with engine.connect() as connection:
        found = await connection.execute(select(asked, last))
        return {saga_id: last for saga_id, last in found if last is not None}


async def account(engine: AsyncEngine, account_id: str) -> AccountRow | None:
    table = tables.accounts
    query = _with_position(table, ACCOUNT_JOURNAL).where(table.c.account_id == account_id)
    async with engine.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else AccountRow(**_fields(row, ACCOUNT_JOURNAL))


def _with_position(table: Table, topic: str) -> Select[Any]:
    at = tables.positions
    here = (at.c.topic == topic) & (at.c.partition == table.c.partition)
    return select(table, at.c.next_offset).select_from(table.join(at, here))


def _fields(row: RowMapping, topic: str) -> dict[str, Any]:
    """The columns of a row of `_with_position`, with `as_of` instead of the position."""
    fields: dict[str, Any] = {**row}
    place = Place(topic, fields.pop("partition"))
    fields["as_of"] = position.format(place, fields.pop("next_offset"))
    return fields


class SagaFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which sagas; a field of None: any."""

    state: str | None = None
    definition: str | None = None
    reason: str | None = None
    account: str | None = None
    """Its source or its target."""
    id: str | None = None
    """What its id begins with."""


class SagaCount(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    definition: str
    reason: str
    count: int


async def list_sagas(
    engine: AsyncEngine, which: SagaFilter, limit: int, after: tuple[datetime, str] | None = None
) -> list[SagaRow]:
    """The newest first; `after`: the start and id of the last one of the page before."""
    table = tables.sagas
    query = (
        _with_position(table, SAGA_JOURNAL)
        .where(*_conditions(which))
        .order_by(table.c.started_at.desc(), table.c.saga_id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(table.c.started_at, table.c.saga_id) < tuple_(*after))
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).mappings()
        return [SagaRow(**_fields(row, SAGA_JOURNAL)) for row in rows]


async def count_sagas(engine: AsyncEngine, which: SagaFilter) -> list[SagaCount]:
    """How many by state, definition and reason. O(sagas that match)."""
    table = tables.sagas
    keys = (table.c.state, table.c.definition, table.c.reason)
    query = select(*keys, func.count()).where(*_conditions(which)).group_by(*keys).order_by(*keys)
    async with engine.connect() as connection:
        return [
            SagaCount(state=state, definition=definition, reason=reason, count=count)
            for state, definition, reason, count in await connection.execute(query)
        ]


def _conditions(which: SagaFilter) -> list[ColumnElement[bool]]:
    table = tables.sagas
    conditions: list[ColumnElement[bool]] = []
    if which.state is not None:
        conditions.append(table.c.state == which.state)
    if which.definition is not None:
        conditions.append(table.c.definition == which.definition)
    if which.reason is not None:
        conditions.append(table.c.reason == which.reason)
    if which.account is not None:
        conditions.append((table.c.source == which.account) | (table.c.target == which.account))
    if which.id is not None:
        conditions += _begins(table.c.saga_id, which.id)
    return conditions


def _begins(column: ColumnElement[str], beginning: str) -> list[ColumnElement[bool]]:
    """A range, which an index answers whatever the planner knows; ids are printable ASCII."""
    return [column >= beginning, column < beginning + "\x7f"]


async def list_accounts(
    engine: AsyncEngine, *, beginning: str = "", first: str = "", limit: int
) -> list[AccountRow]:
    """By id, from `first` on; `beginning`: only those whose id begins so."""
    table = tables.accounts
    query = (
        _with_position(table, ACCOUNT_JOURNAL)
        .where(table.c.account_id >= first, *_begins(table.c.account_id, beginning))
        .order_by(table.c.account_id)
        .limit(limit)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).mappings()
        return [AccountRow(**_fields(row, ACCOUNT_JOURNAL)) for row in rows]


UNFINISHED: Final = ("running", "compensating", "parked")


async def unfinished_sagas(engine: AsyncEngine) -> dict[str, int]:
    """State -> how many sagas that have not ended; states without any are left out. Counts the
    index: O(those sagas), however many have ended."""
    state = tables.sagas.c.state
    query = select(state, func.count()).where(state.in_(UNFINISHED)).group_by(state)
    async with engine.connect() as connection:
        return {state: count for state, count in await connection.execute(query)}  # noqa: C416


async def world_balances(engine: AsyncEngine) -> dict[str, int]:
    """Currency -> withdrawals minus deposits, in minor units."""
    world = tables.world
    query = select(world.c.currency, func.sum(world.c.balance_minor)).group_by(world.c.currency)
    async with engine.connect() as connection:
        return {currency: int(total) for currency, total in await connection.execute(query)}


async def positions(engine: AsyncEngine) -> dict[Place, Position]:
    """Every projected partition: next offset and epoch."""
    async with engine.connect() as connection:
        rows = await connection.execute(select(tables.positions))
        return {Place(topic, number): Position(at, epoch) for topic, number, at, epoch in rows}


async def wait_for(engine: AsyncEngine, place: Place, next_offset: int, timeout_s: float) -> bool:
    """Wait until everything before `next_offset` of `place` is projected, at most `timeout_s`.

    False when it was not to be seen in time; at least one look is taken.
    """
    query = select(tables.positions.c.next_offset).where(
        tables.positions.c.topic == place.topic, tables.positions.c.partition == place.partition
    )
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        async with engine.connect() as connection:
            reached = await connection.scalar(query)
        if reached is not None and reached >= next_offset:
            return True
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, _MAX_PAUSE_S)
