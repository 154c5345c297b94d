"""The projector on a real PostgreSQL: every record is projected once, whatever happens."""

import asyncio
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from journal.log import Place, PositionLost
from journal.opening import JournalCorrupt, PartitionsChanged
from messages.saga import SagaCompleted, SagaParked
from read_model import queries, store
from read_model.batch import ACCOUNT_JOURNAL, Batch, Cursor
from read_model.position import Position
from read_model.projector import ProjectorTuning
from read_model.store import PositionsMoved, RowsMissing
from tests.read_model.history import (
    ACCOUNTS,
    AT_MS,
    PARTITIONS,
    SAGAS,
    SMALL,
    Journals,
    caught_up,
    deposited,
    deposits,
    projecting,
    started,
)

DEPOSITS = 120


async def journals_with_deposits() -> Journals:
    journals = await Journals().create()
    for event in deposits(DEPOSITS):
        journals.write(ACCOUNTS, event)
    journals.write(Place(ACCOUNT_JOURNAL, 1), *deposits(DEPOSITS, "bob"))
    return journals


async def assert_each_counted_once(engine: AsyncEngine) -> None:
    # The world's balance is added up, so it is what shows a batch that was applied twice.
    assert await queries.world_balances(engine) == {"EUR": -2 * DEPOSITS}
    for account_id in ("alice", "bob"):
        account = await queries.account(engine, account_id)
        assert account is not None
        assert (account.version, account.balance_minor) == (DEPOSITS + 1, DEPOSITS)


async def test_both_journals_become_rows(engine: AsyncEngine, database_of_test: str) -> None:
    journals = await Journals().create()
    async with projecting(journals, database_of_test):
        journals.write(SAGAS, started("s1"))
        journals.write(ACCOUNTS, *deposits(3))
        await caught_up(engine, journals)
        saga = await queries.saga(engine, "s1")
        assert saga is not None and saga.state == "running"
        journals.write(SAGAS, SagaCompleted(saga_id="s1", at_ms=1_700_000_001_000))
        await caught_up(engine, journals)
        saga = await queries.saga(engine, "s1")
        assert saga is not None and saga.state == "completed" and saga.finished_at is not None
    assert await queries.world_balances(engine) == {"EUR": -3}


async def test_a_projector_that_crashes_again_and_again_counts_everything_once(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await journals_with_deposits()
    crashes, in_vain, before = 0, 0, await queries.positions(engine)
    while before != {
        **{place: Position(0, -1) for place in journals.ends()},
        **{p: Position(end, 0) for p, end in journals.ends().items() if end},
    }:
        async with projecting(journals, database_of_test):
            # Anywhere: while connecting, between two batches, within a transaction. The longer
            # nothing comes of it the longer it lives: a machine may be slow.
            await asyncio.sleep(0.02 + crashes % 7 * 0.005 + 0.01 * in_vain)
        crashes += 1
        assert crashes < 500
        after = await queries.positions(engine)
        in_vain, before = in_vain + 1 if after == before else 0, after
    assert crashes > 3
    await assert_each_counted_once(engine)


async def test_a_commit_whose_answer_is_lost_is_not_repeated(
    engine: AsyncEngine, database_of_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lost = store.write, 0

    async def write_and_lose(connection: AsyncConnection, batch: Batch) -> None:
        nonlocal lost
        await write(connection, batch)
        if lost < 10:
            lost += 1
            await connection.exec_driver_sql("COMMIT")
            raise ConnectionResetError("the answer to COMMIT is lost")

    monkeypatch.setattr(store, "write", write_and_lose)
    journals = await journals_with_deposits()
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    assert lost == 10
    await assert_each_counted_once(engine)


async def test_two_projectors_at_once_count_everything_once(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await journals_with_deposits()
    async with (
        projecting(journals, database_of_test) as one,
        projecting(journals, database_of_test) as other,
    ):
        await caught_up(engine, journals)
        assert not one.done() and not other.done()
    await assert_each_counted_once(engine)


async def test_of_two_batches_from_the_same_positions_one_is_given_up_whole(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await journals_with_deposits()
    places = list(journals.ends())
    async with engine.begin() as connection:
        await store.load_positions(connection, places)

    async def write_all() -> None:
        batch = Batch()
        for place in places:
            Cursor(place, Position(), PARTITIONS).fold(journals.log.records[place], batch)
        async with engine.begin() as connection:
            await store.write(connection, batch)

    outcomes = await asyncio.gather(write_all(), write_all(), write_all(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [PositionsMoved, PositionsMoved]
    await assert_each_counted_once(engine)


async def test_records_of_a_deposed_writer_are_not_projected(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    old = journals.open(ACCOUNTS)
    journals.write(ACCOUNTS, *deposits(1))
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    # The rule holds over a restart too: the epoch in force is stored.
    journals.open(ACCOUNTS)
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    journals.write_as(old, ACCOUNTS, deposited("alice", 3, 1_000, 1_001))
    journals.write(ACCOUNTS, deposited("alice", 3, 1, 2))
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    assert await queries.world_balances(engine) == {"EUR": -2}
    account = await queries.account(engine, "alice")
    assert account is not None and account.balance_minor == 2


async def test_a_restarted_projector_goes_on_where_it_was(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    journals.write(ACCOUNTS, *deposits(5))
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    read = (await queries.positions(engine))[ACCOUNTS].next_offset
    journals.write(ACCOUNTS, deposited("alice", 7, 1, 6))
    end = journals.ends()[ACCOUNTS]
    # What has been read is gone: a projector that began again would miss it.
    journals.log.truncate(ACCOUNTS, read)
    async with projecting(journals, database_of_test):
        assert await queries.wait_for(engine, ACCOUNTS, end, 20)
    assert await queries.world_balances(engine) == {"EUR": -6}


async def test_records_deleted_before_they_were_read_stop_it(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    journals.write(ACCOUNTS, *deposits(5))
    journals.log.truncate(ACCOUNTS, 2)
    async with projecting(journals, database_of_test) as projector:
        with pytest.raises(PositionLost, match=r"account\.journal/0"):
            await asyncio.wait_for(projector, 20)


async def test_an_undecodable_record_stops_it_and_what_came_before_is_projected(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    entries = journals.open(ACCOUNTS)
    journals.write(ACCOUNTS, *deposits(4))
    bad = journals.ends()[ACCOUNTS]
    journals.write_raw(entries, ACCOUNTS, b'{"type":"account.FromTheFuture.v9"}')
    journals.write(ACCOUNTS, deposited("alice", 6, 1, 5))
    for _ in range(2):
        async with projecting(journals, database_of_test) as projector:
            with pytest.raises(JournalCorrupt, match=f"offset {bad}"):
                await asyncio.wait_for(projector, 20)
        assert (await queries.positions(engine))[ACCOUNTS].next_offset == bad
        assert await queries.world_balances(engine) == {"EUR": -4}


async def test_a_changed_partition_count_stops_it(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    journals.write(ACCOUNTS, *deposits(1))
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    larger = await Journals().create(partitions=PARTITIONS + 1)
    async with projecting(larger, database_of_test) as projector:
        with pytest.raises(PartitionsChanged):
            await asyncio.wait_for(projector, 20)


async def test_a_read_model_of_other_journals_is_noticed(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    journals.write(ACCOUNTS, deposited("nobody", 2, 1, 1))
    async with projecting(journals, database_of_test) as projector:
        with pytest.raises(RowsMissing, match="accounts"):
            await asyncio.wait_for(projector, 20)


async def test_it_waits_for_journals_that_do_not_exist_yet(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = Journals()
    async with projecting(journals, database_of_test):
        await asyncio.sleep(0)
        await journals.create()
        journals.write(ACCOUNTS, *deposits(2))
        await caught_up(engine, journals)


async def test_it_goes_on_when_its_sessions_are_killed(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    kill = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'makegood-projector' AND datname = current_database()"
    )
    killed = 0
    async with projecting(journals, database_of_test) as projector:
        for number, event in enumerate(deposits(60)):
            journals.write(ACCOUNTS, event)
            if number % 10 == 9:
                async with engine.connect() as connection:
                    killed += int(await connection.scalar(kill) or 0)
            await asyncio.sleep(0.002)
        await caught_up(engine, journals)
        assert not projector.done()
    assert killed > 0
    assert await queries.world_balances(engine) == {"EUR": -60}


@pytest.mark.parametrize("tuning", [SMALL, ProjectorTuning()])
async def test_every_bound_gives_the_same_rows(
    engine: AsyncEngine, database_of_test: str, tuning: ProjectorTuning
) -> None:
    journals = await journals_with_deposits()
    finished: list[Any] = [SagaCompleted(saga_id=f"s{n}", at_ms=n + 1) for n in range(30)]
    for number, done in enumerate(finished):
        journals.write(SAGAS, started(f"s{number}"))
        journals.write(SAGAS, *([done] if number % 2 else []))
    async with projecting(journals, database_of_test, tuning):
        await caught_up(engine, journals)
    assert await queries.unfinished_sagas(engine) == {"running": 15}
    await assert_each_counted_once(engine)


async def test_parked_sagas_show_in_the_metrics(engine: AsyncEngine, database_of_test: str) -> None:
    journals = await Journals().create()
    parked = SagaParked(saga_id="s1", at_ms=AT_MS + 1, reason="timed_out", step="credit")
    journals.write(SAGAS, started("s1"), parked, started("s2"))
    tuning = msgspec.structs.replace(SMALL, lag_every_s=0.01)
    async with projecting(journals, database_of_test, tuning):
        await caught_up(engine, journals)
        async with asyncio.timeout(10):
            while REGISTRY.get_sample_value("makegood_sagas", {"state": "parked"}) != 1:
                await asyncio.sleep(0.01)
    assert REGISTRY.get_sample_value("makegood_sagas", {"state": "running"}) == 1


@pytest.mark.parametrize("per_s", [100, 1_000, 4_500])
def test_rows_are_milliseconds_behind_while_there_is_little_to_do(per_s: int) -> None:
    """What comes in one interval is the next transaction, so its interval settles."""
    assert settled_interval_s(per_s) == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("per_s", [5_500, 50_000, 1_000_000])
def test_rows_are_written_seldom_while_there_is_much_to_do(per_s: int) -> None:
    assert settled_interval_s(per_s) == 0.5


def test_reads_rest_by_what_they_found_and_not_at_all_when_there_is_more() -> None:
    tuning = ProjectorTuning()
    full = tuning.max_read_records
    assert tuning.rest_s(0, 0.05) == 0
    assert tuning.rest_s(9, 0.05) < tuning.min_interval_s
    assert tuning.rest_s(full - 1, 0.05) == pytest.approx(0.1, abs=0.001)
    assert tuning.rest_s(full, 0.05) == tuning.rest_s(9, 60) == 0


def settled_interval_s(per_s: int) -> float:
    tuning, interval_s = ProjectorTuning(), 0.05
    for _ in range(100):
        interval_s = tuning.interval_s(round(per_s * interval_s))
    return interval_s
