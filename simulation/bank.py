"""The whole bank on the deterministic log: services of some processes, APIs, callers."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from account_service.service import TOPICS as ACCOUNT
from account_service.service import account_service
from claims.machine import ClaimsMachine
from claims.service import TOPICS as CLAIMS
from claims.service import claims_service
from journal.memory_log import MemoryLog
from journal.service import Service, Tuning
from journal.topics import dead_letter_spec
from messages.wire import Codec
from orchestrator.machine import SagaMachine
from orchestrator.progress import Saga, next_due_ms
from orchestrator.service import TOPICS as ORCHESTRATOR
from orchestrator.service import orchestrator
from participant.machine import EffectMachine
from simulation.api import Api
from simulation.callers import Callers
from simulation.carrier import Carrier, declared
from simulation.children import waiting_for_nobody
from simulation.conditions import Conditions, stream
from simulation.definitions import registry
from simulation.drawn import WORD, Drawn, drawn
from simulation.process import Process
from simulation.projection import Projector, Tables, places
from simulation.weather import MAX_DELAY_S, SeededWeather, SkewedClock

CALM_S: Final = 6.0
"""No new record for so long, and no timer set but of a saga that waits for a parked one: nothing
more will happen by itself."""

HEALED_WITHIN_S: Final = 1_800.0
"""In fair weather everything accepted ends within this bound (simulated seconds). A payout is
enquired after at most every 5 minutes."""

_RATHER_LONG_S: Final = 20.0


class NotSettled(Exception):
    """In fair weather the bank did not come to rest within the bound."""

    def __init__(self, what: str) -> None:
        super().__init__(what)


class _DecodedOnce(Codec[Any]):
    """A journal is read anew by every owner, and in the checks: its records are decoded once."""

    def __init__(self, codec: Codec[Any]) -> None:
        self._codec = codec
        self.types = codec.types
        self._decoded: dict[bytes, Any] = {}

    def decode(self, value: bytes | None) -> Any:
        event = self._decoded.get(value) if value is not None else None
        if event is None:
            event = self._codec.decode(value)
            assert value is not None
            self._decoded[value] = event
        return event


class Bank:
    """Made inside a simulated loop; `happened` counts faults and what they led to."""

    def __init__(self, seed: int, conditions: Conditions) -> None:
        self.seed = seed
        self.conditions = conditions
        self.happened: Counter[str] = Counter()
        self.notes: list[tuple[float, str]] = []
        self.incidents: list[int] = []
        """The numbers of those that happened."""
        self._rng = rng = stream(seed, "bank")
        self.weather = SeededWeather(stream(seed, "weather"), conditions, self.happened)
        self.log = MemoryLog(self.weather)
        self.outside = declared(conditions)
        self.carrier: Carrier | None = None
        if self.outside is not None:
            draws = stream(seed, "carrier")
            self.carrier = Carrier(self.outside, draws, conditions, self.happened)
        self.drawn = drawn(seed, self.outside, conditions.shapes)
        self.happened.update(what for one in self.drawn for what in one.drew)
        self.services = [
            msgspec.structs.replace(one, events=_DecodedOnce(one.events))
            for one in _services(conditions, self.drawn, self.carrier)
        ]
        counts = (
            conditions.orchestrators,
            conditions.account_processes,
            conditions.claims_processes,
            conditions.participant_processes,
        )
        self.processes: dict[str, list[Process]] = {}
        for service, count in zip(self.services, filter(None, counts), strict=False):
            outside = self.outside and service.topics.name == self.outside.name
            self.processes[service.topics.name] = [
                Process(
                    f"{service.topics.name}-{i}",
                    self.log,
                    self.weather,
                    service,
                    SkewedClock(rng.randint(-conditions.skew_ms, conditions.skew_ms)),
                    self.carrier.work if outside and self.carrier else None,
                )
                for i in range(count)
            ]
        self.apis: list[Api] = []
        self.tables = Tables(self.weather, places(conditions.partitions), self.happened)
        self.projectors: list[Projector] = []
        self.projected_before_healing = self.tables.rows

    @property
    def all_processes(self) -> list[Process]:
        return [process for processes in self.processes.values() for process in processes]

    def note(self, what: str) -> None:
        """A line of the story, with the simulated time."""
        self.notes.append((asyncio.get_running_loop().time(), what))

    async def start(self) -> Callers:
        conditions = self.conditions
        if conditions.skew_ms:
            self.happened["clock_skew"] += 1
        for service in self.services:
            await self.log.create(service.topics.specs(service.partitions))
        await self.log.create([dead_letter_spec(1)])
        for service in self.services:
            self.reassign(service.topics.name)
        for process in self.all_processes:
            process.start()
        self.apis = [
            Api(f"api-{i}", self.log, self.weather, conditions.partitions)
            for i in range(conditions.apis)
        ]
        self.projectors = [
            Projector(
                f"projector-{i}",
                self.log,
                self.weather,
                self.tables,
                conditions.partitions,
                self.happened,
            )
            for i in range(conditions.projectors)
        ]
        return Callers(
            stream(self.seed, "callers"),
            conditions,
            self.apis,
            self.drawn,
            self.happened,
            self._is_completed,
            stream(self.seed, "words"),
            self._waiting_children,
        )

    def _is_completed(self, saga: str) -> bool:
        """As far as the read model knows."""
        row = self.tables.rows.sagas.get(saga)
        return row is not None and row.state == "completed"

    def _waiting_children(self) -> list[str]:
        """Sagas that are steps of others and wait for a word."""
        return [
            saga.id
            for saga in self._live_sagas()
            if saga.parent is not None and saga.waiting_beside("") == WORD
        ]

    def reassign(self, service: str, among: list[Process] | None = None) -> None:
        """Deal the partitions out anew; each has one owner, as far as the membership knows."""
        processes = self.processes[service]
        dealt: dict[str, set[int]] = {process.name: set() for process in processes}
        for partition in range(self.partitions_of(service)):
            dealt[self._rng.choice(among or processes).name].add(partition)
        for process in processes:
            process.assign(frozenset(dealt[process.name]))

    def partitions_of(self, service: str) -> int:
        return next(one.partitions for one in self.services if one.topics.name == service)

    async def heal(self, callers: Callers) -> list[str]:
        """End all faults, wait until the bank is at rest. Gives what is wrong with it then."""
        self.note("healing")
        self.projected_before_healing = self.tables.rows
        self.weather.clear_up()
        if self.carrier is not None:
            self.carrier.clear_up()
        # Clocks agree again, on the latest of them: what was promised for a time comes due.
        ahead_ms = max(process.clock.wrong_ms for process in self.all_processes)
        for process in self.all_processes:
            process.clock.wrong_ms = max(0, ahead_ms)
            if process.frozen:
                process.thaw(tell=True)
            if not process.running:
                process.start()
        for service in self.services:
            self.reassign(service.topics.name)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        # Until then appends of the bad times may land.
        await asyncio.sleep(MAX_DELAY_S)
        wrong = [f"no answer in fair weather: {one}" for one in await callers.resolve()]
        records = -1
        while (now := self._records()) != records or self._busy():
            records = now
            if loop.time() - began_s > HEALED_WITHIN_S:
                wrong.append(f"not at rest {HEALED_WITHIN_S:.0f} s after healing: {self._busy()}")
                break
            await asyncio.sleep(CALM_S)
        wrong += self._still_running()
        # Some ask for ever, such as the parent of a child that is parked: what is looked at now
        # must not be half written, nor go on.
        while any(process.appending for process in self.all_processes):
            await asyncio.sleep(CALM_S / 100)
        for process in self.all_processes:
            process.freeze()
        return wrong

    def owner(self, service: str, partition: int) -> Process:
        """Who owns the partition, as far as the membership knows."""
        return next(p for p in self.processes[service] if partition in p.assigned)

    def troubles(self) -> list[str]:
        found = [trouble for process in self.all_processes for trouble in process.troubles()]
        others = (*self.apis, *self.projectors)
        return found + [trouble for other in others for trouble in other.troubles()]

    def _records(self) -> int:
        return sum(map(len, self.log.records.values()))

    def _busy(self) -> str:
        """What still has something to do, or is not even open."""
        for process in self.all_processes:
            for partition in sorted(process.assigned):
                if partition not in process.working:
                    return f"{process.name} has not opened partition {partition}"
                machine = process.machines[partition]
                if isinstance(machine, EffectMachine | ClaimsMachine) and machine.effects.under_way:
                    return f"{process.name} partition {partition} has effects under way"
                due_ms = None if isinstance(machine, SagaMachine) else machine.next_due_ms()
                if due_ms is not None:
                    return f"{process.name} partition {partition} has a timer at {due_ms}"
        for saga in waiting_for_nobody(self._live_sagas()):
            if (due_ms := next_due_ms(saga)) is not None:
                return f"saga {saga.id} has a timer at {due_ms}"
        return "the read model is behind" if self.tables.behind(self.log) else ""

    def _live_sagas(self) -> Iterator[Saga]:
        for process in self.all_processes:
            for partition in process.assigned:
                machine = process.machines.get(partition)
                if isinstance(machine, SagaMachine):
                    yield from machine.sagas.live.values()

    def _still_running(self) -> list[str]:
        """A processor that was cancelled must end: else it is an owner that nobody knows of."""
        expected = sum(len(process.assigned) for process in self.all_processes)
        found = sum(task.get_name().startswith("partition-") for task in asyncio.all_tasks())
        if found <= expected:
            return []
        return [f"{found} processors run, but only {expected} should: a cancelled one goes on"]


def _services(
    conditions: Conditions, drawn: Sequence[Drawn], carrier: Carrier | None
) -> list[Service[Any, Any]]:
    tuning = Tuning(
        max_batch_records=conditions.max_batch_records,
        max_unconfirmed=conditions.max_unconfirmed,
        snapshot_every=conditions.snapshot_every,
        idle_wait_ms=round(_RATHER_LONG_S * 1000),
    )
    partitions = conditions.partitions
    claims = conditions.claims_processes > 0
    services: list[Service[Any, Any]] = [
        orchestrator(
            partitions,
            {ACCOUNT.input: partitions} | ({CLAIMS.input: partitions} if claims else {}),
            definitions=registry(
                [one.definition for one in drawn], conditions.participant, claims=claims
            ),
            memory_horizon_ms=conditions.saga_memory_ms,
            tuning=tuning,
        ),
        account_service(
            partitions,
            {ORCHESTRATOR.input: partitions},
            effect_horizon_ms=conditions.effect_horizon_ms,
            tuning=tuning,
        ),
    ]
    if claims:
        services.append(
            claims_service(
                partitions,
                {ORCHESTRATOR.input: partitions},
                effect_horizon_ms=conditions.effect_horizon_ms,
                tuning=tuning,
            )
        )
    if carrier is not None:
        services.append(carrier.service(partitions, tuning))
    return services
