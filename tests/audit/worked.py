"""A bank that has worked for a moment, in memory, and ways to tamper with what it wrote."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from account_service.service import EVENTS as ACCOUNT_EVENTS
from account_service.service import TOPICS as ACCOUNT
from account_service.service import account_service
from journal.clock import SystemClock
from journal.host import Host
from journal.log import Place
from journal.memory_log import MemoryLog, MemoryRecord
from journal.records import request_entry
from journal.topics import dead_letter_spec
from messages.account import CloseAccount, Deposit, Freeze, OpenAccount, Withdraw
from messages.saga import FINISHED, StartSaga
from messages.wire import encode, type_name
from orchestrator.service import EVENTS as SAGA_EVENTS
from orchestrator.service import TOPICS as ORCHESTRATOR
from orchestrator.service import orchestrator

ACCOUNTS, SAGAS = ACCOUNT.journal_at(0), ORCHESTRATOR.journal_at(0)
_EVENTS = {ACCOUNTS: ACCOUNT_EVENTS, SAGAS: SAGA_EVENTS}


async def worked_bank() -> MemoryLog:
    """Five accounts; a completed transfer, a compensated one, a reserved one, a refused one."""
    log = MemoryLog()
    await log.create([*ACCOUNT.specs(1), *ORCHESTRATOR.specs(1), dead_letter_spec(1)])
    clock = SystemClock()
    accounts = Host(log, account_service(1, {ORCHESTRATOR.input: 1}), "accounts", clock)
    sagas = Host(log, orchestrator(1, {ACCOUNT.input: 1}), "sagas", clock)
    accounts.own(frozenset((0,)))
    sagas.own(frozenset((0,)))
    now_ms = clock.now_ms()
    for name in ("alice", "bob", "carol", "dave", "eve"):
        _ask(log, OpenAccount, name, f"open-{name}", now_ms, currency="EUR")
        _ask(log, Deposit, name, f"fund-{name}", now_ms, amount_minor=1_000, currency="EUR")
    _ask(log, Withdraw, "eve", "all", now_ms, amount_minor=1_000, currency="EUR")
    _ask(log, CloseAccount, "eve", "close", now_ms)
    _ask(log, Freeze, "dave", "freeze", now_ms, credits="refuse")
    requests = (
        ("s1", "transfer", "alice", "bob", 100),
        ("s2", "transfer", "alice", "dave", 50),
        ("s3", "reserved_transfer", "bob", "carol", 70),
        ("s4", "transfer", "alice", "carol", 99_999),
    )
    await _until(lambda: len(events(log, ACCOUNTS, "account.Frozen.v1")) == 1)
    for saga_id, definition, source, target, amount in requests:
        start = StartSaga(
            saga_id=saga_id,
            tenant="t",
            definition=definition,
            params={
                "source": source,
                "target": target,
                "amount_minor": amount,
                "currency": "EUR",
            },
            fingerprint="f",
            request_id=saga_id,
            issued_at_ms=now_ms,
        )
        entry = request_entry(saga_id, encode(start), type_name(start), "test", saga_id)
        log.land(Place(ORCHESTRATOR.input, 0), [entry])
    ends = [f"saga.Saga{state.capitalize()}.v1" for state in FINISHED]
    await _until(lambda: sum(len(events(log, SAGAS, kind)) for kind in ends) == len(requests))
    await accounts.close()
    await sagas.close()
    return log


def _ask(log: MemoryLog, kind: Any, account_id: str, effect: str, now_ms: int, **more: Any) -> None:
    command = kind(account_id=account_id, effect_id=effect, issued_at_ms=now_ms, **more)
    entry = request_entry(account_id, encode(command), type_name(command), "test", effect)
    log.land(Place(ACCOUNT.input, 0), [entry])


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def kind_of(record: MemoryRecord) -> str:
    return dict(record.headers).get("ce_type", b"").decode()


def events(log: MemoryLog, place: Place, kind: str) -> list[tuple[int, Any]]:
    """Offset and content of the records of one type."""
    return [
        (record.offset, _EVENTS[place].decode(record.value))
        for record in log.records[place]
        if kind_of(record) == kind
    ]


def change(log: MemoryLog, place: Place, offset: int, **fields: Any) -> int:
    """Overwrite fields of an event, as nobody ever may."""
    record = log.records[place][offset]
    event = _EVENTS[place].decode(record.value)
    changed = encode(msgspec.structs.replace(event, **fields))
    log.records[place][offset] = record._replace(value=changed)
    return offset


def insert(log: MemoryLog, place: Place, before: int, event: Any) -> int:
    """Put an event of the owner's before offset `before`; all later ones move."""
    records = log.records[place]
    model = records[before]
    headers = [
        (name, type_name(event).encode() if name == "ce_type" else value)
        for name, value in model.headers
    ]
    key = getattr(event, "account_id", None) or event.saga_id
    forged = model._replace(key=key.encode(), value=encode(event), headers=headers)
    records.insert(before, forged)
    records[:] = [record._replace(offset=i) for i, record in enumerate(records)]
    return before
