import asyncio
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from messages.saga import SagaCompleted, SagaParked
from read_model import position, queries
from tests.read_model.history import (
    ACCOUNTS,
    AT_MS,
    SAGAS,
    Journals,
    caught_up,
    debited,
    deposited,
    opened,
    projecting,
    started,
)


async def test_a_saga_is_shown_with_the_position_it_was_seen_at(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    journals.write(
        SAGAS,
        started("s1"),
        SagaParked(saga_id="s1", at_ms=AT_MS + 1, reason="timed_out", step="credit"),
    )
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    saga = await queries.saga(engine, "s1")
    assert saga is not None
    assert saga == queries.SagaRow(
        saga_id="s1",
        tenant="acme",
        definition="transfer",
        version=1,
        state="parked",
        reason="timed_out",
        step="credit",
        params={"source": "alice", "target": "bob", "amount_minor": 500, "currency": "EUR"},
        source="alice",
        target="bob",
        amount_minor=500,
        currency="EUR",
        started_at=datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC),
        updated_at=datetime(2023, 11, 14, 22, 13, 20, 124_000, tzinfo=UTC),
        finished_at=None,
        as_of="orchestrator.journal/1@4",
    )
    assert position.parse(saga.as_of) == (SAGAS, 4)


async def test_an_account_is_shown_with_what_is_available(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    journals.write(
        ACCOUNTS,
        opened("alice", overdraft_limit_minor=50, transfer_limit_minor=2**63 - 1),
        deposited("alice", 2, 2**63 - 1, 2**63 - 1),
        debited("alice", 3, 2**63 - 1, 0),
    )
    async with projecting(journals, database_of_test):
        await caught_up(engine, journals)
    account = await queries.account(engine, "alice")
    assert account is not None
    assert (account.version, account.balance_minor, account.available_minor) == (3, 0, 50)
    assert account.transfer_limit_minor == 2**63 - 1
    assert account.as_of == "account.journal/0@5"
    assert await queries.world_balances(engine) == {"EUR": -(2**63 - 1)}


async def test_what_is_not_there_is_none(engine: AsyncEngine) -> None:
    assert await queries.saga(engine, "nobody") is None
    assert await queries.account(engine, "nobody") is None
    assert await queries.unfinished_sagas(engine) == {}
    assert await queries.world_balances(engine) == {}
    assert await queries.positions(engine) == {}


async def test_a_saga_id_used_anew_shows_the_later_saga(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    async with projecting(journals, database_of_test):
        journals.write(SAGAS, started("s1"), SagaCompleted(saga_id="s1", at_ms=AT_MS))
        await caught_up(engine, journals)
        journals.write(SAGAS, started("s1", at_ms=AT_MS + 9 * 86_400_000, source="carol"))
        await caught_up(engine, journals)
    saga = await queries.saga(engine, "s1")
    assert saga is not None
    assert (saga.state, saga.source, saga.target, saga.finished_at) == (
        "running",
        "carol",
        None,
        None,
    )


async def test_waiting_ends_when_the_position_is_reached(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    async with projecting(journals, database_of_test):
        waiting = asyncio.create_task(queries.wait_for(engine, SAGAS, 2, 20))
        await asyncio.sleep(0)
        journals.write(SAGAS, started("s1"))
        assert await waiting


async def test_waiting_for_what_does_not_come_ends_in_time(engine: AsyncEngine) -> None:
    assert not await queries.wait_for(engine, SAGAS, 1, 0.02)
    assert not await queries.wait_for(engine, SAGAS, 1, 0)
