"""What queries read to answer: by an index, not the whole table, also when the tables are large."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from read_model import database, queries
from read_model.queries import SagaFilter

SAGAS = 20_000
ACCOUNTS = 1_000

_FILL = (
    "INSERT INTO positions VALUES ('orchestrator.journal', 0, 1, 0)",
    "INSERT INTO sagas SELECT 's' || n, 0, 'acme', 'transfer', 1, 'completed', '', '', '{}', "
    f"'a' || n % {ACCOUNTS}, 'a' || (n * 7 + 1) % {ACCOUNTS}, 1, 'EUR', "
    "timestamptz 'epoch' + n * interval '1 second', now(), now() "
    f"FROM generate_series(1, {SAGAS}) AS n",
    f"INSERT INTO history SELECT 's' || n, n, '[]' FROM generate_series(1, {SAGAS}) AS n",
    # Not of the histories: a model that has just been folded anew has none of its statistics yet.
    "ANALYZE sagas",
)
_READ = text(
    "SELECT relname, seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables "
    "UNION ALL SELECT indexrelname, 0, idx_tup_read FROM pg_stat_user_indexes"
)


@pytest.fixture
async def full(database_of_test: str) -> AsyncIterator[AsyncEngine]:
    """One connection, so that what it has read can be asked for."""
    engine = database.engine(database_of_test, pool_size=1)
    async with engine.begin() as connection:
        for statement in _FILL:
            await connection.execute(text(statement))
    yield engine
    await engine.dispose()


async def rows_read(engine: AsyncEngine) -> dict[str, int]:
    """Table or index -> rows or entries that were read so far."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
    async with engine.connect() as connection:
        found = await connection.execute(_READ)
        return {name: whole + by_index for name, whole, by_index in found}


async def test_the_sagas_of_an_account_are_found_by_it(full: AsyncEngine) -> None:
    before = await rows_read(full)
    which = SagaFilter(account="a7")
    listed = await queries.list_sagas(full, which, 50)
    counted = await queries.count_sagas(full, which)
    after = await rows_read(full)
    assert len(listed) == counted[0].count == 40
    assert [row.started_at for row in listed] == sorted(
        (row.started_at for row in listed), reverse=True
    )
    assert after["sagas"] - before["sagas"] <= 2 * 40
    for index in ("sagas_source", "sagas_target"):
        assert after[index] - before[index] == 2 * 20


async def test_how_far_sagas_have_come_is_read_off_the_index_however_often_it_is_asked(
    full: AsyncEngine,
) -> None:
    before = await rows_read(full)
    asked = [f"s{number}" for number in range(1, SAGAS, SAGAS // 200)]
    for _ in range(10):
        found = await queries.last_offsets(full, [*asked, "nobody"])
        assert found == {saga_id: int(saga_id[1:]) for saga_id in asked}
    after = await rows_read(full)
    assert after["history_pkey"] - before["history_pkey"] <= 10 * len(asked)
    assert after["history"] - before["history"] <= 10 * len(asked)
