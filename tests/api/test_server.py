"""The API as a process, on the real Kafka and PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

import migrations
from account_service.service import TOPICS as ACCOUNT
from account_service.service import account_service
from api.server import CannotListen, serve
from journal.clock import SystemClock
from journal.host import Host
from journal.kafka_log import KafkaLog
from journal.log import Log
from journal.topics import dead_letter_spec
from orchestrator.service import TOPICS as ORCHESTRATOR
from orchestrator.service import orchestrator
from read_model.projector import run_projector

pytestmark = pytest.mark.stack

PARTITIONS = {ORCHESTRATOR.name: 1, ACCOUNT.name: 1}


@asynccontextmanager
async def services(log: Log, database_url: str) -> AsyncGenerator[None]:
    await migrations.upgrade(database_url)
    await log.create([*ACCOUNT.specs(1), *ORCHESTRATOR.specs(1), dead_letter_spec(1)])
    clock = SystemClock()
    accounts = Host(log, account_service(1, {ORCHESTRATOR.input: 1}), "a", clock)
    sagas = Host(log, orchestrator(1, {ACCOUNT.input: 1}), "s", clock)
    accounts.own(frozenset((0,)))
    sagas.own(frozenset((0,)))
    projecting = asyncio.create_task(run_projector(log, database_url))
    try:
        yield
    finally:
        projecting.cancel()
        await asyncio.gather(projecting, return_exceptions=True)
        await accounts.close()
        await sagas.close()


@asynccontextmanager
async def serving(
    log: Log, database_url: str
) -> AsyncGenerator[tuple[httpx.AsyncClient, asyncio.Task[None]]]:
    """A client of a server that is ready, and the server's task."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(log, database_url, PARTITIONS, port=0, on_listening=port.set_result)
    )
    try:
        url = f"http://127.0.0.1:{await asyncio.wait_for(port, 10)}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            async with asyncio.timeout(30):
                while (await client.get("/health/ready")).status_code != 200:
                    await asyncio.sleep(0.05)
            yield client, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_stop_lets_the_answers_under_way_go_out_and_ends_the_streams(
    kafka_log: KafkaLog, database_url: str
) -> None:
    async with services(kafka_log, database_url), serving(kafka_log, database_url) as served:
        client, server = served
        for key, account in (("1", "alice"), ("2", "bob")):
            opened = await client.post(
                "/accounts",
                json={"id": account, "currency": "EUR", "overdraft_limit_minor": 100},
                headers={"Idempotency-Key": key},
            )
            assert opened.status_code == 201
        order = {"source": "alice", "target": "bob", "amount_minor": 1, "currency": "EUR"}
        headers = {"Idempotency-Key": "3", "Prefer": "wait=10"}
        first = await client.post("/transfers", json=order, headers=headers)
        assert first.json()["state"] == "completed"
        seen = await client.get(first.headers["Location"])
        assert seen.json()["state"] == "completed"

        async def asked() -> httpx.Response:
            under = {"Idempotency-Key": "4", "Prefer": "wait=10"}
            return await client.post("/transfers", json=order, headers=under)

        waits = order | {"definition": "scheduled_transfer", "execute_at": "2999-01-01T00:00:00Z"}
        later = await client.post("/transfers", json=waits, headers={"Idempotency-Key": "5"})
        as_of, streaming = later.json()["as_of"], asyncio.Event()

        async def followed() -> str:
            path, told = f"/sagas/{later.json()['id']}/events", ""
            async with client.stream("GET", path, params={"after": as_of}) as stream:
                async for text in stream.aiter_text():
                    told += text
                    streaming.set()
            return told

        following = asyncio.create_task(followed())
        await asyncio.wait_for(streaming.wait(), 20)
        asking = asyncio.create_task(asked())
        # The response of a later request tells that the earlier one was read.
        await client.get("/health/live")
        server.cancel()
        assert (await asking).json()["state"] == "completed"
        assert "SagaStarted" in await following, "the stream ended whole"
        await asyncio.wait({server}, timeout=15)
        assert server.done()
        with pytest.raises(httpx.ConnectError):
            await client.get("/health/live")


async def test_an_address_that_is_taken_is_told(kafka_log: KafkaLog, database_url: str) -> None:
    async with services(kafka_log, database_url), serving(kafka_log, database_url) as served:
        port = served[0].base_url.port
        assert port is not None
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}"):
            await serve(kafka_log, database_url, PARTITIONS, port=port)
