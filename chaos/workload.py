"""Clients that move money among a few hot accounts and many cold ones, and write down what they
were told; readers that look at balances meanwhile and write down what they saw.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.looks import ALL, Look
from chaos.orders import Orders
from makegood.client import ApiAway, ApiError, Client
from read_model import database, position, tables
from read_model.batch import ACCOUNT_JOURNAL

HOT: Final = 8
OPENING_MINOR: Final = 1_000_000
_PATIENCE_S: Final = 180.0
_READ_EVERY_S: Final = 0.5
_OPENERS: Final = 32


class Told(NamedTuple):
    """What a client was told about a transfer, and when (s since the run began)."""

    key: str
    id: str
    state: str
    asked_s: float
    told_s: float


class Workload:
    """`run` until `stop`. `told` and `ends_s` grow, in the order of time; `unanswered` are keys
    whose client lost patience. `now_s`: the run's time. `cold`: accounts beside the hot ones."""

    def __init__(
        self,
        url: str,
        database_url: str,
        now_s: Callable[[], float],
        *,
        clients: int,
        cold: int,
        seed: int,
    ) -> None:
        self._url = url
        self._database_url = database_url
        self._now_s = now_s
        self._clients = clients
        self._rng = random.Random(seed)
        self._stopping = False
        self._number = 0
        self.told: list[Told] = []
        self.ends_s: list[float] = []
        self.unanswered: list[str] = []
        self.refused: Counter[str] = Counter()
        self.looks: list[Look] = []
        self.kinds: Counter[str] = Counter()
        """Ends by definition."""
        self.accounts = [f"hot-{n}" for n in range(HOT)] + [f"cold-{n}" for n in range(cold)]
        self._orders = Orders(self._rng, self.accounts, HOT, OPENING_MINOR * 1_000)

    @property
    def money_minor(self) -> int:
        """What all accounts hold together, as long as nothing is under way."""
        return OPENING_MINOR * len(self.accounts)

    async def open_accounts(self) -> None:
        waiting = iter(self.accounts)

        async def work() -> None:
            async with Client(self._url, connections=1, patience_s=_PATIENCE_S) as client:
                for name in waiting:
                    body = {"id": name, "currency": "EUR"}
                    await client.order("/accounts", f"open-{name}", body)
                    money = {"amount_minor": OPENING_MINOR, "currency": "EUR"}
                    await client.order(f"/accounts/{name}/deposits", f"fund-{name}", money)

        await asyncio.gather(*(work() for _ in range(_OPENERS)))

    async def run(self) -> None:
        engine = database.engine(self._database_url, application_name="makegood-chaos-reader")
        try:
            await asyncio.gather(
                *(self._pay() for _ in range(self._clients)),
                self._read_hot(),
                self._read_all(engine),
            )
        finally:
            await engine.dispose()

    def stop(self) -> None:
        """No new transfers; those under way are waited for."""
        self._stopping = True

    async def _pay(self) -> None:
        rng = self._rng
        async with Client(self._url, connections=1, patience_s=_PATIENCE_S) as client:
            while not self._stopping:
                self._number += 1
                key = f"chaos-{self._number}"
                body, after = self._orders.next()
                asked_s = self._now_s()
                try:
                    transfer = await client.transfer(key, body, after)
                    while transfer.state == "running":
                        # It waits for its time.
                        await asyncio.sleep(_READ_EVERY_S)
                        transfer = await client.transfer(key, body, after)
                    if rng.random() < 0.05:
                        # A client that forgot that it was answered.
                        transfer = await client.transfer(key, body, after)
                except ApiAway:
                    self.unanswered.append(key)
                except ApiError as error:
                    self.refused[error.kind] += 1
                else:
                    told_s = self._now_s()
                    self.told.append(Told(key, transfer.id, transfer.state, asked_s, told_s))
                    self.ends_s.append(told_s)
                    self.kinds[f"{body['definition']} {transfer.state}"] += 1
                    if transfer.state == "completed":
                        self._orders.completed(body, transfer.id, transfer.as_of)

    async def _read_hot(self) -> None:
        async with Client(self._url, connections=1, patience_s=0) as client:
            while not self._stopping:
                for name in self.accounts[:HOT]:
                    try:
                        found = await client.get(f"/accounts/{name}")
                    except (ApiError, ApiAway):
                        # The API or the read model may be away.
                        break
                    at = position.parse(found["as_of"])
                    self.looks.append(
                        Look(
                            at.place.partition,
                            at.next_offset,
                            name,
                            found["balance_minor"],
                            found["held_minor"],
                        )
                    )
                await asyncio.sleep(_READ_EVERY_S)

    async def _read_all(self, engine: AsyncEngine) -> None:
        """All balances at one moment, as Jepsen's bank does: one statement, one snapshot."""
        accounts, at = tables.accounts, tables.positions
        query = (
            select(
                at.c.partition,
                at.c.next_offset,
                func.sum(accounts.c.balance_minor),
                func.sum(accounts.c.held_minor),
            )
            .select_from(at.join(accounts, accounts.c.partition == at.c.partition))
            .where(at.c.topic == ACCOUNT_JOURNAL)
            .group_by(at.c.partition, at.c.next_offset)
        )
        while not self._stopping:
            try:
                async with engine.connect() as connection:
                    rows = (await connection.execute(query)).all()
            except Exception as error:
                # `passes` knows which of a database's many errors go by themselves.
                if not database.passes(error):
                    raise
                await engine.dispose()
            else:
                self.looks += [
                    Look(partition, next_offset, ALL, int(balance), int(held))
                    for partition, next_offset, balance, held in rows
                ]
            await asyncio.sleep(_READ_EVERY_S)
