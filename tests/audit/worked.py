"""A bank that has worked for a moment, in memory, and ways to tamper with what it wrote."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from account_service.ledger import DEFAULT_HORIZON_MS
from account_service.service import EVENTS as ACCOUNT_EVENTS
from account_service.service import TOPICS as ACCOUNT
from account_service.service import account_service
from claims.service import EVENTS as CLAIM_EVENTS
from claims.service import TOPICS as CLAIM
from claims.service import claims_service
from journal.clock import SystemClock
from journal.host import Host
from journal.log import Place
from journal.memory_log import MemoryLog, MemoryRecord
from journal.records import request_entry
from journal.topics import dead_letter_spec
from messages.account import CloseAccount, Credit, Deposit, Freeze, OpenAccount, Withdraw
from messages.saga import FINISHED, StartSaga
from messages.wire import encode, type_name
from orchestrator.service import EVENTS as SAGA_EVENTS
from orchestrator.service import TOPICS as ORCHESTRATOR
from orchestrator.service import orchestrator
from saga_definitions.dsl import Definition, command, define, lock, step, unlock
from saga_definitions.registry import Registry
from tests.orchestrator.graphs import MONEY, node, p

ACCOUNTS, SAGAS, CLAIMS = (one.journal_at(0) for one in (ACCOUNT, ORCHESTRATOR, CLAIM))
_EVENTS = {ACCOUNTS: ACCOUNT_EVENTS, SAGAS: SAGA_EVENTS, CLAIMS: CLAIM_EVENTS}

ORIGINAL = "5" * 32

_Request = tuple[str, str, dict[str, Any]]


async def worked_bank() -> MemoryLog:
    """Five accounts; a completed transfer, a compensated one, a reserved one, a refused one."""
    return await _worked(
        [
            ("s1", "transfer", _move("alice", "bob", 100)),
            ("s2", "transfer", _move("alice", "dave", 50)),
            ("s3", "reserved_transfer", _move("bob", "carol", 70)),
            ("s4", "transfer", _move("alice", "carol", 99_999)),
        ]
    )


async def reversed_bank() -> MemoryLog:
    """A transfer of 100 that is reversed in two parts, a third reversal being refused; and one
    that could be reversed, but nobody can pay for it: its claim is taken back."""
    back = {**_move("bob", "alice", 0), "original": ORIGINAL, "total_minor": 100}
    parts = (("r1", 60), ("r2", 40), ("r3", 1))
    unpaid = {**_move("bob", "carol", 10), "original": "6" * 32, "total_minor": 10}
    return await _worked(
        [
            (ORIGINAL, "transfer", _move("alice", "bob", 100)),
            ("6" * 32, "transfer", _move("carol", "bob", 10)),
        ],
        [(name, "reversal", {**back, "amount_minor": amount}) for name, amount in parts],
        [("all", "transfer", _move("bob", "carol", 1_010))],
        [("r4", "reversal", unpaid)],
    )


async def locked_bank() -> MemoryLog:
    """Two transfers from one account, each of which locks it."""
    params = {**_move("alice", "bob", 10), "reference": ""}
    return await _worked(
        [("l1", "locked", params), ("l2", "locked", params)], definitions=Registry((_locked(),))
    )


def _locked() -> Definition:
    held = lock("hold_it", "payroll", p.source)
    credit = command(Credit, account_id=p.target, **MONEY)
    steps = (held, node("debit", "hold_it"), step("pay", do=credit, pivot=True))
    return define("locked", version=1, params=p, steps=(*steps, unlock("free", held)))


def _move(source: str, target: str, amount_minor: int) -> dict[str, Any]:
    return {"source": source, "target": target, "amount_minor": amount_minor, "currency": "EUR"}


async def _worked(*rounds: list[_Request], definitions: Registry | None = None) -> MemoryLog:
    """What the bank wrote when each round of requests began after the one before had ended."""
    log = MemoryLog()
    topics = (ACCOUNT, CLAIM, ORCHESTRATOR)
    await log.create([*(spec for one in topics for spec in one.specs(1)), dead_letter_spec(1)])
    clock, answers = SystemClock(), {ORCHESTRATOR.input: 1}
    claiming = claims_service(1, answers, effect_horizon_ms=DEFAULT_HORIZON_MS)
    routes = {ACCOUNT.input: 1, CLAIM.input: 1}
    hosts: list[Host[Any, Any]] = [
        Host(log, account_service(1, answers), "accounts", clock),
        Host(log, claiming, "claims", clock),
        Host(log, orchestrator(1, routes, definitions=definitions), "sagas", clock),
    ]
    for host in hosts:
        host.own(frozenset((0,)))
    now_ms = clock.now_ms()
    for name in ("alice", "bob", "carol", "dave", "eve"):
        _ask(log, OpenAccount, name, f"open-{name}", now_ms, currency="EUR")
        _ask(log, Deposit, name, f"fund-{name}", now_ms, amount_minor=1_000, currency="EUR")
    _ask(log, Withdraw, "eve", "all", now_ms, amount_minor=1_000, currency="EUR")
    _ask(log, CloseAccount, "eve", "close", now_ms)
    _ask(log, Freeze, "dave", "freeze", now_ms, credits="refuse")
    await _until(lambda: len(events(log, ACCOUNTS, "account.Frozen.v1")) == 1)
    asked = 0
    for requests in rounds:
        for saga_id, definition, params in requests:
            _start(log, saga_id, definition, params, now_ms)
        asked += len(requests)
        await _until(partial(_have_ended, log, asked))
    for host in hosts:
        await host.close()
    return log


def _have_ended(log: MemoryLog, sagas: int) -> bool:
    ends = [f"saga.Saga{state.capitalize()}.v1" for state in FINISHED]
    return sum(len(events(log, SAGAS, kind)) for kind in ends) == sagas


def _start(
    log: MemoryLog, saga_id: str, definition: str, params: dict[str, Any], now_ms: int
) -> None:
    start = StartSaga(
        saga_id=saga_id,
        tenant="t",
        definition=definition,
        params=params,
        fingerprint="f",
        request_id=saga_id,
        issued_at_ms=now_ms,
    )
    entry = request_entry(saga_id, encode(start), type_name(start), "test", saga_id)
    log.land(Place(ORCHESTRATOR.input, 0), [entry])


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
    key = getattr(event, "account_id", "") or getattr(event, "key", "") or event.saga_id
    forged = model._replace(key=key.encode(), value=encode(event), headers=headers)
    records.insert(before, forged)
    records[:] = [record._replace(offset=i) for i, record in enumerate(records)]
    return before
