"""One process dies, or hangs, in quiet times: how long until the work goes on as before?"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from chaos import throughput
from chaos.surroundings import Surroundings
from chaos.workload import Workload

_CALM_S: Final = 6.0
"""So long the rate before the death is measured."""
_WATCHED_S: Final = 14.0
"""What goes wrong late is seen too: groups miss a member after 10 s."""
_STEADY_S: Final = 5.0
_PATIENCE_S: Final = 60.0
_AWAY_S: Final = 20.0


class Death(NamedTuple):
    """`back_s`: from the death until transfers ended at half the former rate or more for good.
    `gap_s`: the longest time meanwhile in which none ended."""

    whom: str
    at_s: float
    back_s: float
    gap_s: float
    calm_per_s: float


class Deaths:
    """`one` after the other; `many` says how many different ones there are."""

    def __init__(
        self, around: Surroundings, workload: Workload, now_s: Callable[[], float]
    ) -> None:
        self._around = around
        self._workload = workload
        self._now_s = now_s
        self._ways: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("orchestrator-0", lambda: self._role("orchestrator-0")),
            ("broker-1", self._broker),
            ("broker-2, frozen for 20 s", self._frozen_broker),
            ("account-service-0", lambda: self._role("account-service-0")),
            ("orchestrator-1, away for 20 s", lambda: self._away("orchestrator-1")),
            ("account-service-1, away for 20 s", lambda: self._away("account-service-1")),
            ("claims-0", lambda: self._role("claims-0")),
            ("projector-0", lambda: self._role("projector-0")),
            ("postgres", self._postgres),
            ("api-0", lambda: self._role("api-0")),
        ]
        self.many = len(self._ways)

    async def one(self, number: int) -> Death:
        """The death of this number, from 0. Returns when the work goes on again, or after 60 s."""
        whom, die = self._ways[number]
        await asyncio.sleep(_CALM_S)
        at_s = self._now_s()
        ends_s = self._workload.ends_s
        calm_per_s = throughput.rate(ends_s, at_s - _CALM_S, at_s)
        await die()
        while (now_s := self._now_s()) < at_s + _PATIENCE_S:
            back_s = throughput.low_for_s(ends_s, at_s, now_s, calm_per_s)
            if now_s > at_s + max(_WATCHED_S, back_s + _STEADY_S):
                break
            await asyncio.sleep(0.5)
        now_s = self._now_s()
        return Death(
            whom,
            at_s,
            throughput.low_for_s(ends_s, at_s, now_s, calm_per_s),
            throughput.longest_gap_s([at_s, *(end for end in ends_s if end >= at_s), now_s]),
            calm_per_s,
        )

    async def _role(self, name: str) -> None:
        # Whoever watches the processes, as in production, brings it back: `kill` would wait for an
        # end that is not to be seen.
        self._around.bank.child(name).signal_tree(signal.SIGKILL)

    async def _away(self, name: str) -> None:
        await self._around.bank.kill(name)
        await asyncio.sleep(_AWAY_S)
        self._around.bank.revive(name)

    async def _broker(self) -> None:
        broker = self._around.stack.kafka.brokers[0]
        await broker.kill()
        await broker.start()

    async def _frozen_broker(self) -> None:
        broker = self._around.stack.kafka.brokers[1]
        broker.suspend()
        await asyncio.sleep(_AWAY_S)
        broker.resume()

    async def _postgres(self) -> None:
        await self._around.stack.postgres.kill()
        await self._around.stack.postgres.start()
