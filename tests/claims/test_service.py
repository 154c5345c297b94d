"""The claims service on the journal's kernel: its timers, and what a new owner makes of them."""

import asyncio
from typing import Any

import msgspec

from claims.service import TOPICS, claims_service
from journal.clock import SystemClock
from journal.host import Host
from journal.log import Place
from journal.memory_log import MemoryLog
from journal.records import request_entry
from journal.service import Tuning
from journal.topics import dead_letter_spec
from messages.claims import AcquireLock
from messages.wire import encode, type_name
from orchestrator.service import TOPICS as ORCHESTRATOR
from tests.claims.desk import HORIZON_MS, asked

WAIT_MS = 300


async def test_who_waits_is_told_when_its_time_is_up_though_the_owner_changed_meanwhile() -> None:
    log, clock = MemoryLog(), SystemClock()
    await log.create(
        [*TOPICS.specs(1), ORCHESTRATOR.input_spec(1), dead_letter_spec(1)],
    )
    service = claims_service(
        1,
        {ORCHESTRATOR.input: 1},
        effect_horizon_ms=HORIZON_MS,
        tuning=Tuning(snapshot_every=1),
    )
    for saga in ("a", "b"):
        fields = {**asked(saga, "lock", "do", 1), "issued_at_ms": clock.now_ms()}
        command = AcquireLock(
            **fields, purpose="payroll", resource="alice", timeout_ms=WAIT_MS, max_waiting=1
        )
        entry = request_entry("alice", encode(command), type_name(command), "test", saga)
        log.land(Place(TOPICS.input, 0), [entry])
    first = Host(log, service, "first", clock)
    first.own(frozenset((0,)))
    await _until(lambda: "a" in _answers(log))
    await first.close()
    second = Host(log, service, "second", clock)
    second.own(frozenset((0,)))
    await _until(lambda: "b" in _answers(log))
    await second.close()
    # What is not known to be confirmed is sent again, under its number.
    assert _answers(log) == {"a": "applied", "b": "lock_timeout"}


def _answers(log: MemoryLog) -> dict[str, str]:
    """What each saga was told last."""
    records = log.records[Place(ORCHESTRATOR.input, 0)]
    told = [msgspec.json.decode(record.value or b"") for record in records]
    return {one["saga_id"]: one.get("reason") or "applied" for one in told}


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
