"""How the bank does at the moment: sagas by the minute, and how long they took."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ARRAY, Double, Select, func, literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from read_model.tables import sagas

MINUTES: Final = 10
SAMPLE: Final = 10_000
"""Durations are of the newest so many sagas of those minutes, else all had to be sorted."""


_PERCENTILES: Final = literal([0.5, 0.95, 0.99], ARRAY(Double))


class Minute(msgspec.Struct, frozen=True):
    """Of the sagas started in the minute that begins `at`."""

    at: datetime
    started: int
    completed: int
    compensated: int


class Activity(msgspec.Struct, frozen=True):
    """`minutes` without any saga are left out. Durations in ms, from start to end; None: none has
    ended. `sample`: how many ended sagas they are of."""

    minutes: list[Minute]
    sample: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


async def activity(engine: AsyncEngine, now: datetime) -> Activity:
    """The last `MINUTES` minutes before `now`. O(sagas started in them), by an index."""
    since = now - timedelta(minutes=MINUTES)
    async with engine.connect() as connection:
        minutes = [Minute(*row) for row in await connection.execute(_minutes(since))]
        row = (await connection.execute(_durations(since))).one()
    p50, p95, p99 = row.percentiles or (None, None, None)
    return Activity(minutes, row.sample, p50, p95, p99)


def _minutes(since: datetime) -> Select[*tuple[Any, ...]]:
    # Not date_trunc: that asks for the time zone row by row and takes half as long again.
    minute = func.date_bin(timedelta(minutes=1), sagas.c.started_at, datetime.fromtimestamp(0, UTC))
    return (
        select(
            minute,
            func.count(),
            func.count().filter(sagas.c.state == "completed"),
            func.count().filter(sagas.c.state == "compensated"),
        )
        .where(sagas.c.started_at >= since)
        .group_by(minute)
        .order_by(minute)
    )


def _durations(since: datetime) -> Select[*tuple[Any, ...]]:
    newest = (
        select(sagas.c.started_at, sagas.c.finished_at)
        .where(sagas.c.started_at >= since)
        .order_by(sagas.c.started_at.desc(), sagas.c.saga_id.desc())
        .limit(SAMPLE)
        .subquery()
    )
    took_ms = func.extract("epoch", newest.c.finished_at - newest.c.started_at) * 1_000
    percentiles = func.percentile_cont(_PERCENTILES).within_group(took_ms)
    return select(func.count().label("sample"), percentiles.label("percentiles")).where(
        newest.c.finished_at.is_not(None)
    )
