"""What happened to a saga: its history page by page, or folded to where its steps stand."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, cast

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from messages.child import START_CHILD
from messages.saga import SagaStarted, StepRequested
from messages.wire import Undecodable
from orchestrator.progress import EventOutOfPlace, Saga, evolve
from read_model import queries, tables
from read_model.history import decode_event, decode_piece
from read_model.queries import SagaRow
from read_model.shortening import shortened

_PIECES: Final = 8
"""Pieces read at a time, each of at most `history.MAX_PIECE` events."""


class HistoryUnreadable(Exception):
    """What is stored of a saga's history can't be read or folded."""

    def __init__(self, saga_id: str, offset: int, cause: str) -> None:
        super().__init__(
            f"the history of saga {saga_id} can't be read at offset {offset} ({cause}). Audit the "
            "bank (makegood audit): it says whether the journal or the read model is at fault."
        )
        self.saga_id = saga_id
        self.offset = offset


class Entry(msgspec.Struct, frozen=True):
    """One event: its offset in the journal partition of its saga, and its fields as in the journal;
    `plan` of SagaStarted is the plan's digest, and its long lists are cut off."""

    offset: int
    event: dict[str, Any]


class Page(msgspec.Struct, frozen=True):
    """`next`: the offset that the next page begins with; None: this is the last one."""

    saga: SagaRow
    entries: list[Entry]
    next: int | None


async def page(
    engine: AsyncEngine, saga_id: str, *, first: int = 0, limit: int = 100
) -> Page | None:
    """At most `limit` events from offset `first` on. None: no such saga.

    Raises HistoryUnreadable.
    """
    entries: list[Entry] = []
    async with _snapshot(engine) as connection:
        saga = await queries.saga_in(connection, saga_id)
        if saga is None:
            return None
        async for offset, event in _events(connection, saga_id, first):
            if len(entries) == limit:
                return Page(saga, entries, offset)
            try:
                entries.append(Entry(offset, _fields(event)))
            except msgspec.MsgspecError as error:
                raise HistoryUnreadable(saga_id, offset, str(error)) from error
    return Page(saga, entries, None)


def _fields(event: msgspec.Raw) -> dict[str, Any]:
    fields = msgspec.json.decode(event, type=dict[str, Any])
    # The parameters of a saga; and those that it gives to a saga that is one of its steps.
    for part in (fields, fields.get("command")):
        if isinstance(part, dict) and isinstance(params := part.get("params"), dict):
            part["params"] = shortened(cast("dict[str, Any]", params))
    return fields


class Folded(NamedTuple):
    """A saga's row, and its state as the engine folds it. `children`: step, or leg of one -> the
    saga that it is, for those that are sagas and were asked for."""

    row: SagaRow
    saga: Saga
    children: dict[str, str]


class _Child(msgspec.Struct, frozen=True):
    """What is looked at of a `StartChild`."""

    child_id: str


_child = msgspec.json.Decoder(_Child)


async def folded(engine: AsyncEngine, saga_id: str) -> Folded | None:
    """O(the saga's events). None: no such saga.

    Raises HistoryUnreadable.
    """
    state: Saga | None = None
    children: dict[str, str] = {}
    async with _snapshot(engine) as connection:
        row = await queries.saga_in(connection, saga_id)
        if row is None:
            return None
        stored = await connection.execute(select(tables.plans.c.digest, tables.plans.c.plan))
        plans = {digest: plan for digest, plan in stored}  # noqa: C416
        async for offset, event in _events(connection, saga_id, 0):
            try:
                happened = decode_event(event, plans)
                state = evolve(state, happened)
                if isinstance(happened, SagaStarted):
                    # It begins anew: what it asked for in an earlier life is another saga's.
                    children.clear()
                elif isinstance(happened, StepRequested) and happened.command_type == START_CHILD:
                    children[happened.step] = _child.decode(happened.command).child_id
            except (msgspec.MsgspecError, Undecodable, EventOutOfPlace) as error:
                raise HistoryUnreadable(saga_id, offset, str(error)) from error
    if state is None:
        raise HistoryUnreadable(saga_id, 0, "no SagaStarted")
    return Folded(row, state, children)


@asynccontextmanager
async def _snapshot(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A row and its history as of one moment."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


async def _events(
    connection: AsyncConnection, saga_id: str, first: int
) -> AsyncGenerator[tuple[int, msgspec.Raw]]:
    """In order, from offset `first` on."""
    table = tables.history
    while True:
        query = (
            select(table.c.last_offset, table.c.events)
            .where(table.c.saga_id == saga_id, table.c.last_offset >= first)
            .order_by(table.c.last_offset)
            .limit(_PIECES)
        )
        pieces = (await connection.execute(query)).all()
        for last_offset, piece in pieces:
            try:
                items = decode_piece(piece)
            except msgspec.MsgspecError as error:
                raise HistoryUnreadable(saga_id, last_offset, str(error)) from error
            for offset, event in items:
                if offset >= first:
                    yield offset, event
            # A long history leaves the loop to others.
            await asyncio.sleep(0)
        if len(pieces) < _PIECES:
            return
        first = pieces[-1].last_offset + 1
