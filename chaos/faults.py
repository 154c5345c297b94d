"""What is done to the bank. Each fault ends with everything running again, so that faults can
follow each other for as long as one likes; some happen at once.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from account_service.service import TOPICS as ACCOUNT
from chaos.proxy import Api, Disturbance, Harm
from chaos.strangers import come_and_go
from chaos.surroundings import ON_SMALL_DISK, Surroundings
from claims.service import TOPICS as CLAIMS
from devstack.errors import DevstackError
from devstack.kafka import Broker
from journal.topics import ServiceTopics
from messages.participants import PAYOUTS
from orchestrator.service import TOPICS as ORCHESTRATOR

_STRANDS: Final = 5
_BRIEF_STRANDS: Final = 1
_BRIEF_S: Final = (0.2, 1.2)
_BRIEF_PAUSES: Final = 2
"""A brief strand rests so many times longer than the others."""
_DRAWS: Final = 3
"""So often another fault is drawn when the first one's victims were busy, or did not notice."""
_IDLE_S: Final = 5.0
_STALLED_S: Final = 60.0
_SHORT_S: Final = (0.0, 2.0)
_LONG_S: Final = (8.0, 16.0)
"""Longer than the 10 s after which a group takes a silent member for dead: it becomes a zombie."""

_REQUESTS: Final = (
    (Api.PRODUCE,),
    (Api.PRODUCE,),
    (Api.FETCH,),
    (Api.FETCH,),
    (Api.METADATA,),
    (Api.FIND_COORDINATOR,),
    (Api.HEARTBEAT,),
    (Api.JOIN_GROUP, Api.SYNC_GROUP),
    (Api.LIST_OFFSETS, Api.INIT_PRODUCER_ID),
    tuple(Api),
)
_FREQUENT: Final = ((Api.PRODUCE,), (Api.FETCH,), (Api.METADATA,), (Api.HEARTBEAT,), tuple(Api))
"""What a brief disturbance is likely to meet."""
_DELAYS_S: Final = (0.05, 0.5, 2.0, 7.0)
_SMALL_STEPS_S: Final = (-50, -3, 3, 50)
_LARGE_STEPS_S: Final = (-172_800, -3_600, 3_600, 172_800)
"""The bank's clock believes a step of less than a minute, and doubts a larger one."""
_SHARED: Final = (ORCHESTRATOR, ACCOUNT, CLAIMS, ServiceTopics(PAYOUTS.name))
"""Services with several processes in a group."""
_STRANGERS: Final = 10
"""Each comes and goes: 20 rebalances."""
_STRANGER_PAUSE_S: Final = (0.2, 2.5)


Fault = Callable[[], Awaitable[str]]
"""Gives who suffered it; "" when nobody did."""


class Happened(NamedTuple):
    """A fault, from when to when (s since the run began), and to whom."""

    kind: str
    whom: str
    from_s: float
    to_s: float


class Faults:
    """`happened` grows. `requests` counts the requests that were disturbed, by kind and harm.
    `skipped`: the kinds that can't be had here, and why. `broken`: what did not come back. `ends_s`
    grows by the times at which transfers ended: no fault begins while none ends, since a bank that
    does no work can do nothing wrong. `stalls`: when that took a minute and more."""

    def __init__(
        self,
        around: Surroundings,
        ends_s: Sequence[float],
        now_s: Callable[[], float],
        seed: int,
        pause_s: float,
    ) -> None:
        self._around = around
        self._ends_s = ends_s
        self._now_s = now_s
        self._rng = random.Random(seed)
        self._pause_s = pause_s
        self._busy: set[str] = set()
        self.happened: list[Happened] = []
        self.requests: Counter[str] = Counter()
        self.broken: list[str] = []
        self.stalls: list[float] = []
        self._menu: dict[str, tuple[float, Fault]] = {
            "kill_role": (6, self._kill_role),
            "freeze_role": (4, self._freeze_role),
            "restart_role": (2, self._restart_role),
            "restart_all_roles": (0.3, self._restart_all_roles),
            "move_clock": (4, self._move_clock),
            "kill_broker": (1.5, self._kill_broker),
            "freeze_broker": (1.5, self._freeze_broker),
            "restart_broker": (0.8, self._restart_broker),
            "restart_brokers_in_turn": (0.2, self._restart_brokers_in_turn),
            "kill_all_brokers": (0.3, self._kill_all_brokers),
            "fill_disk": (1, self._fill_disk),
            "kill_postgres": (1, self._kill_postgres),
            "freeze_postgres": (1, self._freeze_postgres),
            "rebalance_20_times": (0.3, self._rebalance),
            **{f"net_{harm}": (4, self._disturbing(harm)) for harm in Harm},
        }
        self.skipped = {"fill_disk": around.disk.missing} if around.disk.missing else {}
        for kind in self.skipped:
            del self._menu[kind]
        self._due = list(self._menu)
        self._rng.shuffle(self._due)
        self._until_s = 0.0

    @property
    def never(self) -> list[str]:
        """The kinds that did not happen."""
        return sorted(self._menu.keys() - {fault.kind for fault in self.happened})

    async def run(self, until_s: float) -> None:
        """Until the run's time is `until_s`, in strands, so that faults overlap: each kind once,
        then at random. Each fault that has begun is ended."""
        self._until_s = until_s
        async with asyncio.TaskGroup() as strands:
            for _ in range(_STRANDS):
                strands.create_task(self._strand())
            for _ in range(_BRIEF_STRANDS):
                strands.create_task(self._brief_strand())

    async def _strand(self) -> None:
        while self._now_s() < self._until_s and not self.broken:
            kind = self._due.pop(0) if self._due else self._any()
            happened = await self._happens(kind)
            if not happened and kind in self.never:
                self._due.append(kind)
            for _ in range(_DRAWS):
                if happened or self._now_s() >= self._until_s:
                    break
                happened = await self._happens(self._any())
            await asyncio.sleep(self._rng.expovariate(1 / self._pause_s))
            await self._at_work()

    async def _brief_strand(self) -> None:
        """Short harm to the traffic with one broker: there is much of it, it needs nobody to be
        free, and the work hardly slows down."""
        brief = {harm: self._disturbing(harm, _BRIEF_S, brief=True) for harm in Harm}
        while self._now_s() < self._until_s and not self.broken:
            harm = self._rng.choice(list(Harm))
            await self._happens(f"net_{harm}", brief[harm])
            await asyncio.sleep(self._rng.expovariate(1 / (_BRIEF_PAUSES * self._pause_s)))
            await self._at_work()

    async def _at_work(self) -> None:
        """Wait until transfers end again, at most a minute."""
        from_s = self._now_s()
        while not self._ends_s or self._now_s() - self._ends_s[-1] > _IDLE_S:
            if self._now_s() - from_s > _STALLED_S:
                self.stalls.append(from_s)
                return
            await asyncio.sleep(0.1)

    def _any(self) -> str:
        weights = [weight for weight, _ in self._menu.values()]
        return self._rng.choices(list(self._menu), weights)[0]

    async def _happens(self, kind: str, fault: Fault | None = None) -> bool:
        """False: nobody was free to suffer it, or nobody noticed, and that is no fault."""
        from_s = self._now_s()
        try:
            whom = await (fault or self._menu[kind][1])()
        except (DevstackError, OSError) as error:
            self.broken.append(f"{kind}: {error}")
            return False
        if whom:
            self.happened.append(Happened(kind, whom, from_s, self._now_s()))
        return bool(whom)

    @contextmanager
    def _one(self, among: Iterable[str]) -> Generator[str, None, None]:
        """One whom no other fault is busy with; "" if there is none."""
        free = [name for name in among if name not in self._busy]
        with self._all([self._rng.choice(free)] if free else []) as taken:
            yield taken[0] if taken else ""

    @contextmanager
    def _all(self, names: list[str]) -> Generator[list[str], None, None]:
        """All of them, or none if another fault is busy with one."""
        taken = [] if self._busy.intersection(names) else names
        self._busy.update(taken)
        try:
            yield taken
        finally:
            self._busy.difference_update(taken)

    @contextmanager
    def _broker(self, node: int = 0) -> Generator[Broker | None, None, None]:
        """One broker, with the others left alone meanwhile: two of three that are down is no fault
        that writes are meant to survive. `node`: this one."""
        brokers = self._around.stack.kafka.brokers
        with self._all([_name(broker) for broker in brokers]) as taken:
            if not taken:
                yield None
            else:
                yield brokers[node - 1] if node else self._rng.choice(brokers)

    async def _a_while(self, bounds: tuple[float, float] | None = None) -> None:
        chosen = bounds or self._rng.choice((_SHORT_S, _SHORT_S, _LONG_S))
        await asyncio.sleep(self._rng.uniform(*chosen))

    async def _kill_role(self) -> str:
        bank = self._around.bank
        with self._one(bank.processes) as whom:
            if whom:
                await bank.kill(whom)
                await self._a_while(_SHORT_S)
                bank.revive(whom)
            return whom

    async def _freeze_role(self) -> str:
        with self._one(self._around.bank.processes) as whom:
            if whom:
                child = self._around.bank.child(whom)
                child.suspend()
                await self._a_while()
                child.resume()
            return whom

    async def _restart_role(self) -> str:
        with self._one(self._around.bank.processes) as whom:
            if whom:
                await self._around.bank.restart(whom)
            return whom

    async def _restart_all_roles(self) -> str:
        bank = self._around.bank
        with self._all(bank.processes) as taken:
            for whom in taken:
                await bank.restart(whom)
            return "all roles" if taken else ""

    async def _move_clock(self) -> str:
        clocks = self._around.clocks
        with self._one(self._around.bank.processes) as whom:
            if not whom:
                return ""
            large = clocks.settled(whom) and self._rng.random() < 0.5
            ahead_s = self._rng.choice(_LARGE_STEPS_S if large else _SMALL_STEPS_S)
            clocks.move(whom, ahead_s)
            # It is noticed within a second.
            await self._a_while((2.0, 8.0))
            clocks.move(whom, 0)
            return f"{whom} {ahead_s:+} s"

    async def _kill_broker(self) -> str:
        with self._broker() as broker:
            if broker is None:
                return ""
            await broker.kill()
            await self._a_while(_SHORT_S)
            await broker.start()
            return _name(broker)

    async def _freeze_broker(self) -> str:
        with self._broker() as broker:
            if broker is None:
                return ""
            broker.suspend()
            await self._a_while()
            broker.resume()
            return _name(broker)

    async def _restart_broker(self) -> str:
        with self._broker() as broker:
            if broker is None:
                return ""
            await broker.stop()
            await broker.start()
            return _name(broker)

    async def _restart_brokers_in_turn(self) -> str:
        with self._broker() as broker:
            if broker is None:
                return ""
            for one in self._around.stack.kafka.brokers:
                await one.stop()
                await one.start()
            return "all brokers"

    async def _kill_all_brokers(self) -> str:
        with self._broker() as broker:
            if broker is None:
                return ""
            brokers = self._around.stack.kafka.brokers
            await asyncio.gather(*(one.kill() for one in brokers))
            # One alone is no quorum of the controllers: they have to come back together.
            await asyncio.gather(*(one.start() for one in brokers))
            return "all brokers"

    async def _fill_disk(self) -> str:
        with self._broker(ON_SMALL_DISK) as broker:
            if broker is None:
                return ""
            disk = self._around.disk
            disk.fill()
            try:
                await self._a_while((2.0, 8.0))
            finally:
                disk.clear()
            # A broker that can't write gives up, sooner or later; it is no use before it begins
            # anew.
            await broker.kill()
            await broker.start()
            return _name(broker)

    async def _kill_postgres(self) -> str:
        with self._one(["postgres"]) as whom:
            if whom:
                await self._around.stack.postgres.kill()
                await self._a_while(_SHORT_S)
                await self._around.stack.postgres.start()
            return whom

    async def _freeze_postgres(self) -> str:
        with self._one(["postgres"]) as whom:
            if whom:
                self._around.stack.postgres.suspend()
                await self._a_while()
                self._around.stack.postgres.resume()
            return whom

    async def _rebalance(self) -> str:
        with self._one(["strangers"]) as taken:
            if not taken:
                return ""
            topics = self._rng.choice(_SHARED)
            rebalances = await come_and_go(
                self._around.bank.corner,
                f"{topics.name}.owners",
                topics.input,
                _STRANGERS,
                lambda: self._now_s() < self._until_s,
                lambda: self._rng.uniform(*_STRANGER_PAUSE_S),
            )
            return f"{topics.name}: {rebalances} rebalances" if rebalances else ""

    def _disturbing(
        self, harm: Harm, bounds: tuple[float, float] = (0.5, 5.0), *, brief: bool = False
    ) -> Fault:
        """`brief`: frequent requests to one broker, and no delay is longer than that lasts."""

        async def disturb() -> str:
            proxies = self._around.proxies
            node = self._rng.randrange(len(proxies) if brief else 2 * len(proxies))
            chosen = proxies if node >= len(proxies) else [proxies[node]]
            apis = self._rng.choice(_FREQUENT if brief else _REQUESTS)
            delays_s = [delay for delay in _DELAYS_S if delay <= bounds[1] or not brief]
            disturbance = Disturbance(harm, apis, self._rng.choice(delays_s))
            with ExitStack() as stack:
                for proxy in chosen:
                    stack.enter_context(proxy.disturbed(disturbance))
                await self._a_while(bounds)
            for api, hits in disturbance.hits.items():
                self.requests[f"{harm} {api.name}"] += hits
            if not disturbance.hits:
                return ""
            whom = "all brokers" if len(chosen) > 1 else f"broker-{node + 1}"
            what = " ".join(f"{api.name} x{hits}" for api, hits in disturbance.hits.items())
            return f"{whom}: {what}"

        return disturb


def _name(broker: Broker) -> str:
    return f"broker-{broker.node_id}"
