"""What is done to the bank. Each fault ends with everything running again, so that faults can
follow each other for as long as one likes; some happen at once.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from devstack.stack import Stack
from makegood.bank import Bank

_SHORT_S: Final = (0.0, 2.0)
_LONG_S: Final = (8.0, 16.0)
"""Longer than the 10 s after which a group takes a silent member for dead: it becomes a zombie."""


class Happened(NamedTuple):
    """A fault, from when to when (s since the faults began), and to whom."""

    kind: str
    whom: str
    from_s: float
    to_s: float


class Faults:
    """`run` makes faults until it is cancelled, always ending the one at hand."""

    def __init__(self, stack: Stack, bank: Bank, seed: int, pause_s: float) -> None:
        self._stack = stack
        self._bank = bank
        self._rng = random.Random(seed)
        self._pause_s = pause_s
        self._began = time.monotonic()
        self._busy: set[str] = set()
        self.happened: list[Happened] = []
        self._menu: list[tuple[str, float, Callable[[], Awaitable[str]]]] = [
            ("kill_role", 5, self._kill_role),
            ("freeze_role", 3, self._freeze_role),
            ("restart_role", 2, self._restart_role),
            ("restart_all_roles", 0.5, self._restart_all_roles),
            ("kill_broker", 2, self._kill_broker),
            ("freeze_broker", 2, self._freeze_broker),
            ("restart_broker", 1, self._restart_broker),
            ("kill_all_brokers", 0.4, self._kill_all_brokers),
            ("kill_postgres", 1, self._kill_postgres),
        ]

    @property
    def counts(self) -> Counter[str]:
        return Counter(fault.kind for fault in self.happened)

    async def run(self, until_s: float) -> None:
        """For `until_s` seconds; two strands, so that faults overlap."""
        self._began = time.monotonic()
        await asyncio.gather(self._strand(until_s), self._strand(until_s))

    async def _strand(self, until_s: float) -> None:
        names = [name for name, _, _ in self._menu]
        weights = [weight for _, weight, _ in self._menu]
        while (now := time.monotonic() - self._began) < until_s:
            (name,) = self._rng.choices(names, weights)
            act = next(act for known, _, act in self._menu if known == name)
            whom = await act()
            if whom:
                end = time.monotonic() - self._began
                self.happened.append(Happened(name, whom, now, end))
            await asyncio.sleep(self._rng.expovariate(1 / self._pause_s))

    def _take(self, among: list[str], alone: bool = False) -> str:
        """Somebody whom no other strand is busy with; "" if there is none. `alone`: nor with any
        other of them."""
        free = [one for one in among if one not in self._busy]
        if not free or (alone and len(free) < len(among)):
            return ""
        whom = self._rng.choice(free)
        self._busy.add(whom)
        return whom

    async def _a_while(self, bounds: tuple[float, float] | None = None) -> None:
        chosen = bounds or self._rng.choice((_SHORT_S, _SHORT_S, _LONG_S))
        await asyncio.sleep(self._rng.uniform(*chosen))

    async def _kill_role(self) -> str:
        whom = self._take(self._bank.processes)
        if whom:
            await self._bank.kill(whom)
            await self._a_while(_SHORT_S)
            self._bank.revive(whom)
            self._busy.discard(whom)
        return whom

    async def _freeze_role(self) -> str:
        whom = self._take(self._bank.processes)
        if whom:
            child = self._bank.child(whom)
            if child.running:
                child.suspend()
                await self._a_while()
                child.resume()
            self._busy.discard(whom)
        return whom

    async def _restart_role(self) -> str:
        whom = self._take(self._bank.processes)
        if whom:
            await self._restart(whom)
        return whom

    async def _restart(self, whom: str) -> None:
        await self._bank.restart(whom)
        self._busy.discard(whom)

    async def _restart_all_roles(self) -> str:
        free = [whom for whom in self._bank.processes if whom not in self._busy]
        for whom in free:
            self._busy.add(whom)
            await self._restart(whom)
        return " ".join(free)

    def _brokers(self) -> list[str]:
        # One at a time, or all: two of three down is no fault that writes are meant to survive.
        return [f"broker-{n}" for n in range(len(self._stack.kafka.brokers))]

    async def _kill_broker(self) -> str:
        whom = self._take(self._brokers(), alone=True)
        if whom:
            broker = self._stack.kafka.brokers[int(whom[-1])]
            await broker.kill()
            await self._a_while(_SHORT_S)
            await broker.start()
            self._busy.discard(whom)
        return whom

    async def _freeze_broker(self) -> str:
        whom = self._take(self._brokers(), alone=True)
        if whom:
            broker = self._stack.kafka.brokers[int(whom[-1])]
            broker.suspend()
            await self._a_while()
            broker.resume()
            self._busy.discard(whom)
        return whom

    async def _restart_broker(self) -> str:
        whom = self._take(self._brokers(), alone=True)
        if whom:
            broker = self._stack.kafka.brokers[int(whom[-1])]
            await broker.stop()
            await broker.start()
            self._busy.discard(whom)
        return whom

    async def _kill_all_brokers(self) -> str:
        free = [whom for whom in self._brokers() if whom not in self._busy]
        if len(free) < len(self._brokers()):
            return ""
        self._busy.update(free)
        brokers = self._stack.kafka.brokers
        await asyncio.gather(*(broker.kill() for broker in brokers))
        # One alone is no quorum of the controllers: they have to come back together.
        await asyncio.gather(*(broker.start() for broker in brokers))
        self._busy.difference_update(free)
        return "all brokers"

    async def _kill_postgres(self) -> str:
        whom = self._take(["postgres"])
        if whom:
            await self._stack.postgres.kill()
            await self._a_while(_SHORT_S)
            await self._stack.postgres.start()
            self._busy.discard(whom)
        return whom
