"""Clients that move money among a few hot accounts and many cold ones, and write down what they
were told; readers that look at balances meanwhile and write down what they saw.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.looks import ALL, Look
from chaos.orders import INITIATOR, LIQUIDITY, SLOW, Orders
from chaos.promises import OWN_WORD
from chaos.roles import SETTLEMENT, SILENCE_S
from makegood.client import ApiAway, ApiError, Client, Transfer
from read_model import database, position, tables
from read_model.batch import ACCOUNT_JOURNAL

HOT: Final = 8
OPENING_MINOR: Final = 1_000_000
_PATIENCE_S: Final = 180.0
_READ_EVERY_S: Final = 0.5
_OPENERS: Final = 32
_DOLLARS: Final = 16
_BREATH_S: Final = 0.02
_MOST_SLOW: Final = 48
"""Transfers at once that wait for somebody or something."""


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
        self.words: dict[str, str] = {}
        """Saga -> `approve`, `reject` or `own`, where the bank has accepted it."""
        self.accounts = [f"hot-{n}" for n in range(HOT)] + [f"cold-{n}" for n in range(cold)]
        self._dollars = [f"dollars-{n}" for n in range(_DOLLARS)]
        self.banks_minor = dict.fromkeys(LIQUIDITY.values(), 1000 * OPENING_MINOR)
        """The bank's own accounts, and what they begin with."""
        self.banks_minor[SETTLEMENT] = 0
        self._orders = Orders(
            self._rng, self.accounts, HOT, self._dollars, OPENING_MINOR * 1_000_000
        )
        self._slow = 0
        """How many slow ones are under way."""

    @property
    def money_minor(self) -> dict[str, int]:
        """Currency -> what its accounts hold together, as long as nothing is under way."""
        found = Counter[str]()
        for _, currency, minor in self._openings():
            found[currency] += minor
        return found

    def _openings(self) -> list[tuple[str, str, int]]:
        """Account, currency, and what is paid in."""
        currencies = {account: currency for currency, account in LIQUIDITY.items()}
        return [
            *((name, "EUR", OPENING_MINOR) for name in self.accounts),
            *((name, "USD", OPENING_MINOR) for name in self._dollars),
            *((name, currencies.get(name, "EUR"), own) for name, own in self.banks_minor.items()),
        ]

    async def open_accounts(self) -> None:
        waiting = iter(self._openings())

        async def work() -> None:
            async with Client(self._url, connections=1, patience_s=_PATIENCE_S) as client:
                for name, currency, minor in waiting:
                    body = {"id": name, "currency": currency}
                    await client.order("/accounts", f"open-{name}", body)
                    if minor:
                        money = {"amount_minor": minor, "currency": currency}
                        await client.order(f"/accounts/{name}/deposits", f"fund-{name}", money)

        await asyncio.gather(*(work() for _ in range(_OPENERS)))

    async def run(self) -> None:
        engine = database.engine(self._database_url, application_name="makegood-chaos-reader")
        try:
            async with (
                Client(self._url, connections=_MOST_SLOW, patience_s=_PATIENCE_S) as patient,
                asyncio.TaskGroup() as tasks,
            ):
                for _ in range(self._clients):
                    tasks.create_task(self._pay(tasks, patient))
                tasks.create_task(self._read_hot())
                tasks.create_task(self._read_all(engine))
        finally:
            await engine.dispose()

    def stop(self) -> None:
        """No new transfers; those under way are waited for."""
        self._stopping = True

    async def _pay(self, tasks: asyncio.TaskGroup, patient: Client) -> None:
        """One order after the other; but it does not wait for the end of a slow one, which is left
        to `patient` in a task of its own."""
        async with Client(self._url, connections=1, patience_s=_PATIENCE_S) as client:
            while not self._stopping:
                self._number += 1
                key = f"chaos-{self._number}"
                body, after = self._orders.next(slow=self._slow < _MOST_SLOW)
                if body["definition"] in SLOW:
                    tasks.create_task(self._slowly(patient, key, body, after))
                    await asyncio.sleep(_BREATH_S)
                else:
                    await self._one(client, key, body, after)

    async def _slowly(self, client: Client, key: str, body: dict[str, Any], after: str) -> None:
        self._slow += 1
        try:
            await self._one(client, key, body, after)
        finally:
            self._slow -= 1

    async def _one(self, client: Client, key: str, body: dict[str, Any], after: str) -> None:
        asked_s = self._now_s()
        try:
            transfer = await client.transfer(key, body, after)
            if transfer.state == "running":
                await self._say(client, key, body, transfer)
            while transfer.state == "running":
                # It waits for its time, or a person.
                await asyncio.sleep(_READ_EVERY_S)
                transfer = await client.transfer(key, body, after)
            if self._rng.random() < 0.05:
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

    async def _say(
        self, client: Client, key: str, body: dict[str, Any], transfer: Transfer
    ) -> None:
        """A person's word, if anybody says it. Raises ApiAway."""
        verdict, who = self._orders.word(body)
        if not verdict:
            return
        await asyncio.sleep(self._rng.uniform(0, SILENCE_S / 2))
        path = f"/sagas/{transfer.id}/signals/approval"
        said = {"verdict": verdict, "who": who, "why": "chaos"}
        try:
            await client.order(path, f"{key}-word", said)
        except ApiError as error:
            if error.kind != "signal-refused":
                raise
            self.kinds[f"word refused: {error.reason}"] += 1
        else:
            own = who == INITIATOR and verdict == "approve"
            self.words[transfer.id] = OWN_WORD if own else verdict
            self.kinds[f"word accepted: {verdict}"] += 1

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
