"""One bank for all tests of the API, on a database of its own that is dropped afterwards."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

import migrations
from read_model import database
from tests.api.bank import Bank, open_bank
from tests.conftest import Addresses


@asynccontextmanager
async def _database(server_url: str) -> AsyncGenerator[str]:
    """The address of a migrated, empty database."""
    name = f"test_api_{uuid4().hex}"
    await _alone(server_url, f"CREATE DATABASE {name}")
    address = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    await migrations.upgrade(address)
    yield address
    await _alone(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _alone(server_url: str, statement: str) -> None:
    # CREATE and DROP DATABASE can't be in a transaction.
    engine = database.engine(server_url)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture(scope="session")
async def bank(stack: Addresses) -> AsyncIterator[Bank]:
    """Shared: every test opens accounts of its own in it."""
    async with _database(stack.database_url) as address, open_bank(address) as opened:
        yield opened


@pytest.fixture
async def impatient(stack: Addresses) -> AsyncIterator[Bank]:
    """A bank for one test alone, whose API waits 0.3 s for an answer."""
    async with (
        _database(stack.database_url) as address,
        open_bank(address, answer_s=0.3) as opened,
    ):
        yield opened
