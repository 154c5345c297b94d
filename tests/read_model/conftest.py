"""A read model of the test's own."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import migrations
from read_model import database


@pytest.fixture
async def database_of_test(database_url: str) -> str:
    """The address of a database with an empty read model."""
    await migrations.upgrade(database_url)
    return database_url


@pytest.fixture
async def engine(database_of_test: str) -> AsyncIterator[AsyncEngine]:
    engine = database.engine(database_of_test)
    yield engine
    await engine.dispose()
