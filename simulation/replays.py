"""Replay: the state that an owner works on is the state that its journal gives to anybody."""

from collections.abc import Iterator
from typing import Any, Final

from account_service.machine import AccountMachine
from claims.machine import ClaimsMachine
from journal import snapshots
from journal.log import Place
from journal.machine import Machine
from journal.records import Advanced, Opened, RecordRejected
from journal.service import Service
from orchestrator.machine import SagaMachine
from participant.effects import Effects
from participant.machine import EffectMachine
from simulation.bank import Bank
from simulation.history import Journal

_KERNEL: Final = (Opened, Advanced, RecordRejected)


def state_of(machine: Machine[Any, Any]) -> object:
    """What can be compared of a machine. What it has forgotten is dropped some at a time, sooner
    or later: a restored owner has another order."""
    if isinstance(machine, AccountMachine):
        return machine.ledger
    if isinstance(machine, ClaimsMachine):
        effects = machine.effects
        return machine.quotas, machine.locks, effects.known.kept(), _under_way(effects)
    if isinstance(machine, EffectMachine):
        return machine.effects.under_way, machine.effects.known.kept()
    assert isinstance(machine, SagaMachine)
    machine.sagas.get("")
    sagas = machine.sagas
    asleep = {saga.id: saga for block in sagas.asleep.blocks() for saga in block.sagas()}
    return sagas.live, sagas.finished, sagas.revocable, asleep


def _under_way(effects: Effects) -> dict[str, Any]:
    return {name: (at.attempt, bytes(at.begun.command)) for name, at in effects.under_way.items()}


async def replays(bank: Bank, journals: list[Journal]) -> list[str]:
    """What is wrong with owners' states and snapshots."""
    by_place = {journal.place: journal for journal in journals}
    wrong: list[str] = []
    for service in bank.services:
        for partition in range(service.partitions):
            journal = by_place[service.topics.journal_at(partition)]
            owner = bank.owner(service.topics.name, partition)
            found = await snapshots.load(bank.log, Place(service.topics.snapshots, partition))
            snapshot = found.snapshot
            live = owner.machines.get(partition)
            wrong += _compare(bank, service, journal, live, snapshot)
    return wrong


def _compare(
    bank: Bank,
    service: Service[Any, Any],
    journal: Journal,
    live: Machine[Any, Any] | None,
    snapshot: snapshots.Snapshot | None,
) -> Iterator[str]:
    place = journal.place
    replayed = service.machine(place.partition)
    taken_at = -1 if snapshot is None else snapshot.manifest.journal_next
    for fact in journal.facts:
        if snapshot is not None and fact.offset >= taken_at >= 0:
            yield from _equal_snapshot(service, place, snapshot, replayed)
            taken_at = -1
        event = service.events.decode(bank.log.records[place][fact.offset].value)
        if not isinstance(event, _KERNEL):
            replayed.evolve(event)
    if snapshot is not None and taken_at >= 0:
        yield from _equal_snapshot(service, place, snapshot, replayed)
    if live is not None and state_of(live) != state_of(replayed):
        yield f"replays: {place}: the owner's state is not what the journal gives"


def _equal_snapshot(
    service: Service[Any, Any],
    place: Place,
    snapshot: snapshots.Snapshot,
    replayed: Machine[Any, Any],
) -> Iterator[str]:
    restored = service.machine(place.partition)
    for chunk in reversed(snapshot.chunks):
        restored.restore(chunk)
    if state_of(restored) != state_of(replayed):
        yield f"replays: {place}: the snapshot at {snapshot.manifest.journal_next} differs"
