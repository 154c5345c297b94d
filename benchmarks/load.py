"""Load on a running Makegood: many transfers at once through Kafka, or some clients over HTTP.

The many speak to the engine as the API does (`api.gateway`), without HTTP, as the peer's clients
call its workflow without HTTP. A figure is given only when every transfer was seen to complete.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from account_service.service import TOPICS as ACCOUNT
from api.gateway import Gateway, Refused
from api.server import follow
from journal.kafka_log import KafkaAddress, KafkaLog
from journal.requests import Requests
from makegood.bank import Corner
from makegood.client import Client
from messages.account import CommandRefused, Deposit, OpenAccount
from messages.identity import fingerprint, saga_id
from messages.saga import StartSaga
from orchestrator.service import TOPICS as ORCHESTRATOR

OPENING_MINOR = 1_000_000_000
_READY_S = 60.0


class Load(NamedTuple):
    """What a run gave. Latencies in ms, of each transfer from its start to its end."""

    transfers: int
    elapsed_s: float
    latencies_ms: list[float]

    @property
    def transfers_per_s(self) -> float:
        return self.transfers / self.elapsed_s

    def percentile_ms(self, percent: int) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


class NotDone(Exception):
    """A transfer did not complete, so there is no figure."""


def account_names(count: int) -> list[str]:
    return [f"bench-{number}" for number in range(count)]


@asynccontextmanager
async def gateway(corner: Corner, partitions: int) -> AsyncGenerator[Gateway]:
    """A gateway of this process's own to the bank in `corner`."""
    log = KafkaLog(KafkaAddress(bootstrap=corner.bootstrap, prefix=corner.prefix))
    await log.connect(30)
    counts = {ORCHESTRATOR.name: partitions, ACCOUNT.name: partitions}
    follower = follow(log, counts)
    following = asyncio.create_task(follower.run())
    requests = Requests(log)
    try:
        async with asyncio.timeout(_READY_S):
            while follower.status != "ok":
                await asyncio.sleep(0.05)
        yield Gateway(
            requests,
            follower,
            saga_partitions=partitions,
            account_partitions=partitions,
            answer_s=60,
        )
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await requests.close()
        await log.close()


async def open_accounts(gate: Gateway, names: Sequence[str]) -> None:
    """Each with plenty of money. Raises NotDone."""

    async def one(name: str) -> None:
        now_ms = time.time_ns() // 1_000_000
        for command in (
            OpenAccount(
                account_id=name, effect_id=f"open-{name}", issued_at_ms=now_ms, currency="EUR"
            ),
            Deposit(
                account_id=name,
                effect_id=f"fund-{name}",
                issued_at_ms=now_ms,
                amount_minor=OPENING_MINOR,
                currency="EUR",
            ),
        ):
            heard = await gate.ask(command)
            if isinstance(heard.event, CommandRefused):
                raise NotDone(f"account {name}: {heard.event.reason}")

    await asyncio.gather(*(one(name) for name in names))


async def through_kafka(
    gate: Gateway, names: Sequence[str], transfers: int, concurrency: int, seed: int
) -> Load:
    """Raises NotDone."""
    rng = random.Random(seed)
    run = uuid.uuid4().hex
    orders = iter([(i, *rng.sample(names, 2), rng.randint(1, 1000)) for i in range(transfers)])
    latencies_ms: list[float] = []

    async def client() -> None:
        for number, source, target, amount in orders:
            params = {
                "source": source,
                "target": target,
                "amount_minor": amount,
                "currency": "EUR",
            }
            command = StartSaga(
                saga_id=saga_id("bench", f"{run}-{number}"),
                tenant="bench",
                definition="transfer",
                params=params,
                fingerprint=fingerprint("transfer", params),
                request_id=f"{run}-{number}",
                issued_at_ms=time.time_ns() // 1_000_000,
            )
            began = time.perf_counter()
            news = await gate.start(command, wait_s=60)
            if isinstance(news, Refused) or news.state != "completed":
                raise NotDone(f"transfer {number}: {news}")
            latencies_ms.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(client())
    return Load(transfers, time.perf_counter() - began, latencies_ms)


async def over_http(
    url: str, names: Sequence[str], transfers: int, seed: int, *, clients: int = 1
) -> Load:
    """Each client has a connection of its own, and starts a transfer when the one before has ended.
    Raises NotDone."""
    rng = random.Random(seed)
    run = uuid.uuid4().hex
    orders = iter([(i, *rng.sample(names, 2), rng.randint(1, 1000)) for i in range(transfers)])
    latencies_ms: list[float] = []

    async def one(client: Client) -> None:
        for number, source, target, amount in orders:
            body = {
                "source": source,
                "target": target,
                "amount_minor": amount,
                "currency": "EUR",
            }
            asked = time.perf_counter()
            transfer = await client.transfer(f"{run}-{number}", body)
            if transfer.state != "completed":
                raise NotDone(f"transfer {number}: {transfer}")
            latencies_ms.append((time.perf_counter() - asked) * 1000)

    async with Client(url, connections=clients) as client:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(one(client))
        return Load(transfers, time.perf_counter() - began, latencies_ms)
