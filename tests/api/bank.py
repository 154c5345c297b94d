"""A whole bank in one event loop: its services on a log in memory, the real projector, the app."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from httpx import ASGITransport, AsyncClient, Response
from litestar import Litestar

from account_service.ledger import DEFAULT_HORIZON_MS
from account_service.service import TOPICS as ACCOUNT
from account_service.service import account_service
from api.app import create_app
from api.follower import Follower
from api.gateway import Gateway
from api.server import checks, follow
from claims.service import TOPICS as CLAIMS
from claims.service import claims_service
from journal.clock import SystemClock
from journal.host import Host
from journal.log import Place
from journal.memory_log import MemoryLog
from journal.records import request_entry
from journal.requests import Requests
from journal.topics import dead_letter_spec
from messages.routing import partition_of
from messages.saga import StepDeclined
from messages.wire import encode, type_name
from orchestrator.service import TOPICS as ORCHESTRATOR
from orchestrator.service import orchestrator
from read_model import database
from read_model.projector import Projector, ProjectorTuning

PARTITIONS = 2


class Bank(NamedTuple):
    """`client` speaks HTTP to the app; the parts are there to be disturbed."""

    client: AsyncClient
    app: Litestar
    log: MemoryLog
    follower: Follower
    accounts: Host[Any, Any]
    claims: Host[Any, Any]
    sagas: Host[Any, Any]
    following: asyncio.Task[None]

    async def post(
        self, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> Response:
        """POST under `key`, a fresh one if None."""
        named = {"Idempotency-Key": key or new_key()}
        named.update({name.replace("_", "-"): value for name, value in headers.items()})
        return await self.client.post(path, json=body, headers=named)

    async def open(self, balance_minor: int = 0, currency: str = "EUR", **limits: int) -> str:
        """A new account with a balance; gives its id."""
        opened = await self.post("/accounts", {"currency": currency, **limits})
        assert opened.status_code == 201, opened.text
        account_id: str = opened.json()["account_id"]
        if balance_minor:
            order = {"amount_minor": balance_minor, "currency": currency}
            paid = await self.post(f"/accounts/{account_id}/deposits", order)
            assert paid.status_code == 201, paid.text
        return account_id

    async def transfer(
        self, source: str, target: str, amount_minor: Any = 100, key: str | None = None, **more: Any
    ) -> Response:
        """A transfer in EUR, waited for."""
        body = {
            "source": source,
            "target": target,
            "amount_minor": amount_minor,
            "currency": "EUR",
            **more,
        }
        return await self.post("/transfers", body, key, Prefer="wait=10")

    async def park(self, source: str, target: str, amount_minor: int, **more: Any) -> str:
        """A transfer that is parked, for nobody knows whether its debit is applied; its id. The
        account service is away from now on: `bank.accounts.own(...)` brings it back."""
        self.accounts.own(frozenset())
        body = {"source": source, "target": target, "amount_minor": amount_minor, "currency": "EUR"}
        asked = await self.post("/transfers", {**body, **more})
        assert asked.status_code == 202, asked.text
        saga_id: str = asked.json()["id"]
        doubt = StepDeclined(
            saga_id=saga_id, step="debit", direction="do", attempt=1, reason="effect_expired"
        )
        place = Place(ORCHESTRATOR.input, partition_of(saga_id, PARTITIONS))
        entry = request_entry(saga_id, encode(doubt), type_name(doubt), "test", "d")
        self.log.land(place, [entry])
        async with asyncio.timeout(15):
            while (await self.client.get(f"/sagas/{saga_id}")).json().get("state") != "parked":
                await asyncio.sleep(0.01)
        return saga_id

    async def look(self, path: str, answer: Response) -> dict[str, Any]:
        """GET `path` as of `answer` or later."""
        found = await self.client.get(path, params={"after": answer.json()["as_of"]})
        assert found.status_code == 200, found.text
        content: dict[str, Any] = found.json()
        return content


def new_key() -> str:
    return uuid.uuid4().hex


@asynccontextmanager
async def open_bank(database_url: str, answer_s: float = 10.0) -> AsyncGenerator[Bank]:
    """`database_url`: of a migrated, empty database."""
    log = MemoryLog()
    await log.create(
        [
            *(spec for one in (ACCOUNT, CLAIMS, ORCHESTRATOR) for spec in one.specs(PARTITIONS)),
            dead_letter_spec(1),
        ]
    )
    clock = SystemClock()
    accounts = Host(
        log, account_service(PARTITIONS, {ORCHESTRATOR.input: PARTITIONS}), "accounts", clock
    )
    claims = Host(
        log,
        claims_service(
            PARTITIONS, {ORCHESTRATOR.input: PARTITIONS}, effect_horizon_ms=DEFAULT_HORIZON_MS
        ),
        "claims",
        clock,
    )
    routes = {ACCOUNT.input: PARTITIONS, CLAIMS.input: PARTITIONS}
    sagas = Host(log, orchestrator(PARTITIONS, routes), "sagas", clock)
    every = set(range(PARTITIONS))
    accounts.own(frozenset(every))
    claims.own(frozenset(every))
    sagas.own(frozenset(every))
    engine = database.engine(database_url)
    partitions = {ORCHESTRATOR.name: PARTITIONS, ACCOUNT.name: PARTITIONS}
    follower = follow(log, partitions)
    requests = Requests(log)
    gateway = Gateway(
        requests,
        follower,
        saga_partitions=PARTITIONS,
        account_partitions=PARTITIONS,
        answer_s=answer_s,
    )
    projector = Projector(log, database_url, tuning=ProjectorTuning(lag_every_s=60))
    app = create_app(gateway, engine, clock, checks(log, engine, follower))
    following = asyncio.create_task(follower.run())
    background = [asyncio.create_task(projector.run()), following]
    try:
        # Litestar's own test client runs the app on another thread's loop; the bank is on this one.
        transport = ASGITransport(app)  # pyright: ignore[reportArgumentType]
        async with AsyncClient(transport=transport, base_url="http://bank") as client:
            async with asyncio.timeout(15):
                while (
                    follower.status != "ok" or accounts.working != every or sagas.working != every
                ):
                    await asyncio.sleep(0.01)
            yield Bank(client, app, log, follower, accounts, claims, sagas, following)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await requests.close()
        await accounts.close()
        await claims.close()
        await sagas.close()
        await engine.dispose()
