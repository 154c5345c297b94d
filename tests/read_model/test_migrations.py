import asyncio
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

import migrations
from devstack import ports
from read_model import database
from read_model.database import DatabaseUnreachable
from read_model.tables import metadata


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_migrations_make_the_tables_that_queries_expect(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_processes_that_start_at_once_do_not_disturb_each_other(database_url: str) -> None:
    await asyncio.gather(*(migrations.upgrade(database_url) for _ in range(4)))
    engine = database.engine(database_url)
    async with engine.connect() as connection:
        found = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    assert set(found) == {*metadata.tables, "alembic_version"}


async def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    (port,) = ports.choose(1)
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable) as caught:
        await migrations.upgrade(f"postgresql://bank:secret@127.0.0.1:{port}/bank", wait_s=0.3)
    assert time.monotonic() - began < 5
    assert f"127.0.0.1:{port}/bank" in str(caught.value)
    assert "MAKEGOOD_DATABASE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_what_waiting_cannot_cure_is_raised_at_once(database_url: str) -> None:
    began = time.monotonic()
    with pytest.raises(Exception, match="does not exist"):
        await migrations.upgrade(database_url + "_not_there", wait_s=30)
    assert time.monotonic() - began < 10
