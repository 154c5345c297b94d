"""What the clients were told, held against the audited bank; and how long the work stood still."""

import asyncio
import itertools
import time
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.auditor import audit
from audit.report import Report
from chaos.faults import Happened
from chaos.workload import COLD, HOT, OPENING_MINOR, Told, Workload
from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import LogError
from makegood.bank import Corner
from read_model import database, queries

ENDED_WITHIN_S: Final = 60.0
"""After healing every accepted transfer has ended within this bound."""

BACK_WITHIN_S: Final = 15.0
"""After the death of a single process transfers complete again within this bound."""


class Verdict(msgspec.Struct, kw_only=True):
    """`wrong` is empty when all is well. `slow_returns`: deaths after which it took too long."""

    wrong: list[str]
    slow_returns: list[str]
    settled_s: float
    longest_standstill_s: float
    worst_return_s: float
    report: Report


async def judge(corner: Corner, workload: Workload, happened: list[Happened]) -> Verdict:
    """Waits until the bank is at rest, audits it and compares."""
    began = time.monotonic()
    log = KafkaLog(KafkaAddress(bootstrap=corner.bootstrap, prefix=corner.prefix))
    await log.connect(60)
    engine = database.engine(corner.database_url, application_name="makegood-chaos")
    wrong: list[str] = []
    try:
        settled_s = await _settled(engine, began)
        if settled_s > ENDED_WITHIN_S:
            wrong.append(f"transfers had not ended {settled_s:.0f} s after healing")
        await _projected(log, engine)
        report = await audit(log, engine)
        wrong += [f"audit: {violation}" for violation in report.violations]
        wrong += await _contradictions(engine, workload.told)
        total = sum(total.balances for total in report.totals.values())
        if total != OPENING_MINOR * (HOT + COLD):
            wrong.append(f"the accounts hold {total}, not {OPENING_MINOR * (HOT + COLD)}")
        if workload.unanswered:
            wrong.append(f"{len(workload.unanswered)} clients were never answered")
        if workload.refused:
            wrong.append(f"requests were refused: {dict(workload.refused)}")
    finally:
        await engine.dispose()
        await log.close()
    returns = _returns(workload.told, happened)
    return Verdict(
        wrong=wrong,
        slow_returns=[f"{whom}: {s:.1f} s" for whom, s in returns if s > BACK_WITHIN_S],
        settled_s=settled_s,
        longest_standstill_s=_longest_gap(workload.told),
        worst_return_s=max((s for _, s in returns), default=0.0),
        report=report,
    )


async def _settled(engine: AsyncEngine, began: float) -> float:
    """Seconds until no saga runs any more."""
    while True:
        left = await queries.unfinished_sagas(engine)
        waited_s = time.monotonic() - began
        if not (left.get("running") or left.get("compensating")) or waited_s > 2 * ENDED_WITHIN_S:
            return waited_s
        await asyncio.sleep(0.5)


async def _projected(log: KafkaLog, engine: AsyncEngine) -> None:
    for place in await queries.positions(engine):
        for _ in range(10):
            try:
                _, end = await log.bounds(place)
                break
            except LogError:
                await asyncio.sleep(1)
        await queries.wait_for(engine, place, end, 60)


async def _contradictions(engine: AsyncEngine, told: list[Told]) -> list[str]:
    """Answers that are not what the read model (which equals the journals) says."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT saga_id, state FROM sagas"))
        states = {saga_id: state for saga_id, state in rows}  # noqa: C416
    wrong: list[str] = []
    for one in told:
        found = states.get(one.id)
        if found is None:
            wrong.append(f"{one.key}: told {one.state}, and there is no such transfer")
        elif found != one.state and one.state != "parked":
            wrong.append(f"{one.key}: told {one.state}, and it is {found}")
    return wrong


def _longest_gap(told: list[Told]) -> float:
    ends = sorted(one.told_s for one in told)
    return max((b - a for a, b in itertools.pairwise(ends)), default=0.0)


def _returns(told: list[Told], happened: list[Happened]) -> list[tuple[str, float]]:
    """For each death of one process alone: how long until a transfer that began after it ended."""
    found: list[tuple[str, float]] = []
    for fault in happened:
        alone = not any(
            other is not fault and other.from_s < fault.to_s + 20 and other.to_s > fault.from_s - 5
            for other in happened
        )
        if fault.kind != "kill_role" or not alone:
            continue
        after = [one.told_s for one in told if one.asked_s >= fault.from_s]
        if after:
            found.append((f"{fault.whom} at {fault.from_s:.0f} s", min(after) - fault.from_s))
    return found
