"""Clients that move money among a few hot accounts and many cold ones, and write down what they
were told; readers that look at all balances meanwhile.
"""

import asyncio
import random
import time
from collections import Counter
from typing import Final, NamedTuple

from makegood.client import ApiAway, ApiError, Client

HOT: Final = 8
COLD: Final = 200
OPENING_MINOR: Final = 1_000_000
_PATIENCE_S: Final = 180.0


class Told(NamedTuple):
    """What a client was told about a transfer, and when (s since the workload began)."""

    key: str
    id: str
    state: str
    asked_s: float
    told_s: float


class Workload:
    """`run` until `stop`; `told` grows, `unanswered` are keys whose client lost patience."""

    def __init__(self, url: str, clients: int, seed: int) -> None:
        self._url = url
        self._clients = clients
        self._rng = random.Random(seed)
        self._stopping = False
        self._number = 0
        self._began = time.monotonic()
        self.told: list[Told] = []
        self.unanswered: list[str] = []
        self.refused: Counter[str] = Counter()
        self.reads = 0
        self.accounts = [f"hot-{n}" for n in range(HOT)] + [f"cold-{n}" for n in range(COLD)]

    async def open_accounts(self) -> None:
        waiting = iter(self.accounts)

        async def work() -> None:
            async with Client(self._url, patience_s=_PATIENCE_S) as client:
                for name in waiting:
                    body = {"id": name, "currency": "EUR"}
                    await client.order("/accounts", f"open-{name}", body)
                    money = {"amount_minor": OPENING_MINOR, "currency": "EUR"}
                    await client.order(f"/accounts/{name}/deposits", f"fund-{name}", money)

        await asyncio.gather(*(work() for _ in range(20)))

    async def run(self) -> None:
        self._began = time.monotonic()
        await asyncio.gather(*(self._pay() for _ in range(self._clients)), self._read())

    def stop(self) -> None:
        """No new transfers; those under way are waited for."""
        self._stopping = True

    async def _pay(self) -> None:
        rng = self._rng
        async with Client(self._url, connections=1, patience_s=_PATIENCE_S) as client:
            while not self._stopping:
                self._number += 1
                key = f"chaos-{self._number}"
                among = self.accounts[:HOT] if rng.random() < 0.5 else self.accounts
                source, target = rng.sample(among, 2)
                body = {
                    "source": source,
                    "target": target if rng.random() < 0.95 else "nobody",
                    "amount_minor": rng.choice((1, 100, 5_000, OPENING_MINOR * 1_000)),
                    "currency": "EUR",
                    "definition": rng.choice(("transfer", "reserved_transfer")),
                }
                asked_s = time.monotonic() - self._began
                try:
                    transfer = await client.transfer(key, body)
                    if rng.random() < 0.05:
                        # A client that forgot that it was answered.
                        transfer = await client.transfer(key, body)
                except ApiAway:
                    self.unanswered.append(key)
                except ApiError as error:
                    self.refused[error.kind] += 1
                else:
                    told_s = time.monotonic() - self._began
                    self.told.append(Told(key, transfer.id, transfer.state, asked_s, told_s))

    async def _read(self) -> None:
        async with Client(self._url, connections=1, patience_s=_PATIENCE_S) as client:
            while not self._stopping:
                for name in self.accounts[:HOT]:
                    try:
                        await client.get(f"/accounts/{name}")
                        self.reads += 1
                    except (ApiError, ApiAway):
                        # The read model may be away; what it says is checked at the end.
                        break
                await asyncio.sleep(0.5)
