"""What can be asked of the read model. Every function reads one consistent snapshot.

Rows come with `as_of`: the position (see `read_model.position`) of the journal partition they are
folded from, read in the same statement.
"""

import asyncio
import time
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

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
    found = tables.sagas.c.saga_id == saga_id
    fields = await _one(engine, tables.sagas, found, SAGA_JOURNAL)
    return None if fields is None else SagaRow(**fields)


async def account(engine: AsyncEngine, account_id: str) -> AccountRow | None:
    fields = await _one(
        engine, tables.accounts, tables.accounts.c.account_id == account_id, ACCOUNT_JOURNAL
    )
    return None if fields is None else AccountRow(**fields)


async def _one(
    engine: AsyncEngine, table: Any, condition: Any, topic: str
) -> dict[str, Any] | None:
    """The columns of one row, and `as_of`."""
    at = tables.positions
    query = (
        select(table, at.c.next_offset)
        .select_from(table.join(at, (at.c.topic == topic) & (at.c.partition == table.c.partition)))
        .where(condition)
    )
    async with engine.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    fields = dict(row)
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


class SagaCount(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    definition: str
    reason: str
    count: int


async def list_sagas(
    engine: AsyncEngine, which: SagaFilter, limit: int, after: tuple[datetime, str] | None = None
) -> list[SagaRow]:
    """The newest first; `after`: the start and id of the last one of the page before."""
    table, at = tables.sagas, tables.positions
    query = (
        select(table, at.c.next_offset)
        .select_from(
            table.join(at, (at.c.topic == SAGA_JOURNAL) & (at.c.partition == table.c.partition))
        )
        .where(*_conditions(which))
        .order_by(table.c.started_at.desc(), table.c.saga_id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(table.c.started_at, table.c.saga_id) < tuple_(*after))
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).mappings().all()
    found: list[SagaRow] = []
    for row in rows:
        fields = dict(row)
        place = Place(SAGA_JOURNAL, fields.pop("partition"))
        fields["as_of"] = position.format(place, fields.pop("next_offset"))
        found.append(SagaRow(**fields))
    return found


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
    return conditions


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
