"""What the clients were told and the readers saw, held against the audited bank; and how long the
work stood still.
"""

import asyncio
import time
from typing import Final

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.auditor import audit
from audit.report import Report
from chaos import looks
from chaos.deaths import Death
from chaos.payments import Payments
from chaos.promises import PROMISED, Ended, misbooked, unapproved, unpaid
from chaos.surroundings import Surroundings
from chaos.workload import Told, Workload
from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import LogError
from read_model import database, queries, tables

ENDED_WITHIN_S: Final = 60.0
"""After healing every accepted transfer has ended within this bound."""

BACK_WITHIN_S: Final = 15.0
"""After the death of a single process the work goes on as before within this bound."""


LONG_RUN_MINUTES: Final = 30.0
LEAST_FAULTS: Final = 1_000
"""A long run with fewer has attacked too little to say anything."""


class Verdict(msgspec.Struct, kw_only=True):
    """`wrong`: money or truth; `late`: what took too long. Both are empty when all is well."""

    wrong: list[str]
    late: list[str]
    report: Report


async def at_rest(engine: AsyncEngine, patience_s: float = 2 * ENDED_WITHIN_S) -> bool:
    """Waits until no saga runs any more; False if that takes longer than `patience_s`."""
    began = time.monotonic()
    while True:
        left = await queries.unfinished_sagas(engine)
        if not (left.get("running") or left.get("compensating")):
            return True
        if time.monotonic() - began > patience_s:
            return False
        await asyncio.sleep(0.2)


async def judge(
    around: Surroundings,
    workload: Workload,
    deaths: list[Death],
    ended_s: float,
    broken: list[str],
) -> Verdict:
    """Audits the bank, which does nothing any more, and compares. `ended_s`: from the healing to
    the end of the last transfer that was open then."""
    corner = around.bank.corner
    log = KafkaLog(KafkaAddress(bootstrap=corner.bootstrap, prefix=corner.prefix))
    await log.connect(60)
    engine = database.engine(corner.database_url, application_name="makegood-chaos")
    wrong = [f"did not come back: {what}" for what in broken]
    try:
        if not await at_rest(engine):
            wrong.append(f"sagas never ended: {await queries.unfinished_sagas(engine)}")
        await _projected(log, engine)
        report = await audit(log, engine)
        wrong += [f"audit: {violation}" for violation in report.violations]
        wrong += await _contradictions(engine, workload.told)
        wrong += await _broken_promises(engine, workload, around.payments)
        wrong += [f"untrue answer: {what}" for what in await looks.untrue(log, workload.looks)]
        totals = {currency: total.balances for currency, total in report.totals.items()}
        if totals != workload.money_minor:
            wrong.append(f"the accounts hold {totals}, not {workload.money_minor}")
        if workload.unanswered:
            wrong.append(f"{len(workload.unanswered)} clients were never answered")
        if workload.refused:
            wrong.append(f"requests were refused: {dict(workload.refused)}")
    finally:
        await engine.dispose()
        await log.close()
    late = [
        f"{death.whom} at {death.at_s:.0f} s: {death.back_s:.1f} s until the work was back"
        for death in deaths
        if death.back_s > BACK_WITHIN_S
    ]
    if ended_s > ENDED_WITHIN_S:
        late.append(f"the last transfer ended {ended_s:.0f} s after the healing")
    return Verdict(wrong=wrong, late=late, report=report)


def too_few(faults: int, minutes: float) -> list[str]:
    """What a run that was asked to take so many minutes lacks; only a long one is bound."""
    if minutes < LONG_RUN_MINUTES or faults >= LEAST_FAULTS:
        return []
    return [f"only {faults} faults, and a long run has {LEAST_FAULTS} or more"]


async def _projected(log: KafkaLog, engine: AsyncEngine) -> None:
    for place in await queries.positions(engine):
        for _ in range(10):
            try:
                _, end = await log.bounds(place)
                break
            except LogError:
                await asyncio.sleep(1)
        await queries.wait_for(engine, place, end, 60)


async def _broken_promises(
    engine: AsyncEngine, workload: Workload, payments: Payments
) -> list[str]:
    sagas, accounts = tables.sagas.c, tables.accounts.c
    ended = select(sagas.saga_id, sagas.definition, sagas.state, sagas.params)
    of_bank = accounts.account_id.in_(workload.banks_minor)
    async with engine.connect() as connection:
        rows = await connection.execute(ended.where(sagas.definition.in_(PROMISED)))
        found = [Ended(*row) for row in rows]
        balances = await connection.execute(
            select(accounts.account_id, accounts.balance_minor).where(of_bank)
        )
        held = {account: balance for account, balance in balances}  # noqa: C416
    return [
        *(f"word: {what}" for what in unapproved(found, workload.words)),
        *(f"payout: {what}" for what in unpaid(found, payments.all())),
        *(f"bank's own: {what}" for what in misbooked(found, workload.banks_minor, held)),
    ]


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
