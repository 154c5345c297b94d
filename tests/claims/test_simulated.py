"""Reversals and locks in bad weather: appends in doubt, late or lost, processes that die, owners
that begin from snapshots. Afterwards the audit must find the books right, and the owners of the
claims must know what their journal says.
"""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from account_service.service import TOPICS as ACCOUNT
from account_service.service import account_service
from audit.auditor import audit
from claims.machine import ClaimsMachine
from claims.service import EVENTS, claims_service
from claims.service import TOPICS as CLAIMS
from journal.log import Place
from journal.memory_log import MemoryLog
from journal.records import request_entry
from journal.service import Service, Tuning
from journal.topics import ServiceTopics, dead_letter_spec
from messages.account import Credit, Deposit, OpenAccount
from messages.identity import saga_id
from messages.routing import partition_of
from messages.saga import StartSaga
from messages.wire import encode, type_name
from orchestrator.service import TOPICS as ORCHESTRATOR
from orchestrator.service import orchestrator
from participant.effects import EffectEvent
from saga_definitions.dsl import command, define, lock, step, unlock
from saga_definitions.registry import Registry
from saga_definitions.reversal import REVERSAL
from saga_definitions.transfer import TRANSFER
from simulation.conditions import Conditions, draw, stream
from simulation.history import read_journal
from simulation.loop import SimulatedLoop, run
from simulation.process import Process
from simulation.weather import MAX_DELAY_S, SeededWeather, SkewedClock, simulated_ms
from tests.claims.desk import HORIZON_MS
from tests.orchestrator.graphs import MONEY, node, p

PARTITIONS = 2
SEEDS = 20
TOTAL_MINOR = 1_000
HELD = lock("hold_it", "payroll", p.source, wait_ms=15_000, max_waiting=3)
LOCKED = define(
    "locked",
    version=1,
    params=p,
    steps=(
        HELD,
        node("debit", "hold_it"),
        step("pay", do=command(Credit, account_id=p.target, **MONEY), pivot=True),
        unlock("free", HELD),
    ),
)


class Bank:
    """Three services of two processes each, in the weather of a seed."""

    def __init__(self, seed: int) -> None:
        conditions: Conditions = draw(seed)
        self.rng = stream(seed, "claims")
        self.log = MemoryLog(SeededWeather(stream(seed, "weather"), conditions, Counter()))
        tuning = Tuning(
            max_batch_records=conditions.max_batch_records,
            snapshot_every=conditions.snapshot_every,
        )
        answers = {ORCHESTRATOR.input: PARTITIONS}
        routes = {ACCOUNT.input: PARTITIONS, CLAIMS.input: PARTITIONS}
        definitions = Registry((TRANSFER, REVERSAL, LOCKED))
        self.services: list[Service[Any, Any]] = [
            orchestrator(PARTITIONS, routes, definitions=definitions, tuning=tuning),
            account_service(PARTITIONS, answers, tuning=tuning),
            claims_service(PARTITIONS, answers, effect_horizon_ms=HORIZON_MS, tuning=tuning),
        ]
        self.processes = [
            Process(f"{one.topics.name}-{part}", self.log, self.weather, one, SkewedClock(0))
            for one in self.services
            for part in range(PARTITIONS)
        ]

    @property
    def weather(self) -> SeededWeather:
        assert isinstance(self.log.weather, SeededWeather)
        return self.log.weather

    async def start(self) -> None:
        for service in self.services:
            await self.log.create(service.topics.specs(PARTITIONS))
        await self.log.create([dead_letter_spec(1)])
        for number, process in enumerate(self.processes):
            process.assign(frozenset((number % PARTITIONS,)))
            process.start()

    def send(self, topics: ServiceTopics, key: str, message: Any, request: str) -> None:
        place = Place(topics.input, partition_of(key, PARTITIONS))
        entry = request_entry(key, encode(message), type_name(message), "test", request)
        self.log.land(place, [entry])

    def open(self, account: str, amount_minor: int) -> None:
        named = {"account_id": account, "issued_at_ms": simulated_ms()}
        opened = OpenAccount(**named, effect_id=f"open-{account}", currency="EUR")
        self.send(ACCOUNT, account, opened, f"open-{account}")
        paid = Deposit(
            **named, effect_id=f"fund-{account}", amount_minor=amount_minor, currency="EUR"
        )
        self.send(ACCOUNT, account, paid, f"fund-{account}")

    def begin(self, key: str, definition: str, **params: Any) -> str:
        saga = saga_id("t", key)
        start = StartSaga(
            saga_id=saga,
            tenant="t",
            definition=definition,
            params={"currency": "EUR", **params},
            fingerprint="",
            request_id=key,
            issued_at_ms=simulated_ms(),
        )
        self.send(ORCHESTRATOR, saga, start, key)
        return saga

    def facts(self, topics: ServiceTopics) -> list[Any]:
        """All that counts in the journals of a service."""
        places = [topics.journal_at(partition) for partition in range(PARTITIONS)]
        return [fact for at in places for fact in read_journal(at, self.log.records[at]).facts]

    def ended(self) -> dict[str, str]:
        states = ("Completed", "Compensated", "Parked")
        return {
            fact.fields["saga_id"]: state
            for fact in self.facts(ORCHESTRATOR)
            for state in states
            if fact.type == f"saga.Saga{state}"
        }

    async def until_ended(self, *sagas: str) -> None:
        async with asyncio.timeout(1_800):
            while not set(sagas) <= self.ended().keys():
                await asyncio.sleep(1)

    async def trouble(self) -> None:
        """Processes die now and then, and come back; a journal of the claims takes nothing for so
        long that sagas ask again."""
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 3))
            if self.rng.random() < 0.3:
                partition = self.rng.randrange(PARTITIONS)
                self.weather.take_down(CLAIMS.journal_at(partition), self.rng.uniform(5, 25))
                continue
            process = self.rng.choice([one for one in self.processes if one.running])
            process.crash()
            await asyncio.sleep(min(8.0, self.rng.expovariate(1 / 2)))
            process.start()


async def live(seed: int) -> tuple[Bank, dict[str, tuple[str, int]], list[str]]:
    """The bank at rest; its reversals (saga -> original, amount); what the audit says."""
    bank = Bank(seed)
    rng: Random = bank.rng
    await bank.start()
    for account in ("alice", "bob"):
        bank.open(account, 5_000)
    # Nothing is asked for of an account that may not be open yet.
    async with asyncio.timeout(600):
        while sum(f.type == "account.Deposited" for f in bank.facts(ACCOUNT)) < 2:
            await asyncio.sleep(1)
    move = {"source": "alice", "target": "bob", "amount_minor": TOTAL_MINOR}
    originals = [bank.begin(f"original-{n}", "transfer", **move) for n in range(2)]
    await bank.until_ended(*originals)
    trouble = asyncio.create_task(bank.trouble())
    asked: dict[str, tuple[str, int]] = {}
    others: list[str] = []
    for number in range(12):
        original, amount = rng.choice(originals), rng.choice((200, 400, 700))
        back = {"original": original, "source": "bob", "target": "alice"}
        amounts = {"amount_minor": amount, "total_minor": TOTAL_MINOR}
        asked[bank.begin(f"back-{number}", "reversal", **back, **amounts)] = (original, amount)
        pay = {"source": "alice", "target": "bob", "amount_minor": 1}
        others.append(bank.begin(f"locked-{number}", "locked", **pay))
        await asyncio.sleep(rng.expovariate(1 / 2))
    trouble.cancel()
    await asyncio.gather(trouble, return_exceptions=True)
    bank.weather.clear_up()
    for process in bank.processes:
        if not process.running:
            process.start()
    await bank.until_ended(*asked, *others)
    # What is on its way, or lands late.
    await asyncio.sleep(2 * MAX_DELAY_S)
    wrong = [str(one) for one in (await audit(bank.log)).violations]
    wrong += [one for process in bank.processes for one in process.troubles()]
    wrong += [one for process in bank.processes[-PARTITIONS:] for one in _differs(bank, process)]
    for process in bank.processes:
        process.crash()
    return bank, asked, wrong


def _differs(bank: Bank, process: Process) -> list[str]:
    """Whether an owner knows something else than its journal says."""
    wrong: list[str] = []
    for partition in process.assigned:
        replayed = ClaimsMachine(HORIZON_MS)
        place = CLAIMS.journal_at(partition)
        for fact in read_journal(place, bank.log.records[place]).facts:
            event = EVENTS.decode(bank.log.records[place][fact.offset].value)
            if isinstance(event, EffectEvent):
                replayed.evolve(event)
        owner = process.machines[partition]
        assert isinstance(owner, ClaimsMachine)
        for ours, theirs in zip(_state(owner), _state(replayed), strict=True):
            if ours != theirs:
                wrong.append(f"{place}: the owner knows {ours}, the journal says {theirs}")
    return wrong


def _state(machine: ClaimsMachine) -> tuple[Any, ...]:
    under_way = {
        name: (at.attempt, bytes(at.begun.command))
        for name, at in machine.effects.under_way.items()
    }
    return machine.quotas, machine.locks, dict(machine.effects.known), under_way


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_whatever_happens_no_transfer_is_reversed_twice_and_no_lock_is_held_twice(
    first: int,
) -> None:
    ends: Counter[str] = Counter()
    for seed in range(first, first + 10):
        loop = SimulatedLoop(3_000_000, 20_000)
        bank, asked, wrong = run(loop, live(seed))
        assert wrong == [], seed
        given_back: Counter[str] = Counter()
        for saga, state in bank.ended().items():
            ends[state] += 1
            if saga in asked and state == "Completed":
                original, amount = asked[saga]
                given_back[original] += amount
        assert max(given_back.values()) <= TOTAL_MINOR, seed
    assert ends["Completed"] and ends["Compensated"]
