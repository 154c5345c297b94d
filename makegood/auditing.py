"""`makegood audit`: finds the journals, audits them with a progress bar, tells the verdict."""

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from audit.auditor import CannotAudit, audit
from audit.rendering import rendered
from audit.report import Report, exit_status
from journal.kafka_log import KafkaAddress, KafkaLog
from makegood.bank import Corner
from makegood.settings_here import settings_here
from read_model import database as read_model
from read_model import queries

_DAY_MS = 24 * 3600 * 1000
_CONNECT_S = 30.0


async def run_audit(
    console: Console, *, json: bool, database: bool, data_dir: Path | None = None
) -> int:
    """The exit status. Raises CannotAudit, LogError, SQLAlchemyError."""
    settings = settings_here(data_dir)
    async with AsyncExitStack() as stack:
        log = KafkaLog(settings.kafka("audit"))
        await log.connect(settings.start_timeout_s)
        stack.push_async_callback(log.close)
        engine = None
        if database:
            engine = read_model.engine(
                settings.database_url, application_name="makegood-audit", command_timeout_s=None
            )
            stack.push_async_callback(engine.dispose)
            await read_model.wait(engine, settings.start_timeout_s)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("reading the journals", total=None)
            report = await audit(
                log,
                engine,
                effect_horizon_ms=round(settings.effect_horizon_days * _DAY_MS),
                memory_ms=round(settings.saga_memory_days * _DAY_MS),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        console.print(rendered(report))
    return exit_status(report)


async def audit_at_rest(corner: Corner, wait_s: float = 30.0) -> Report:
    """The audit of a bank that nobody gives work to any more, once its read model has come to the
    journals' ends. Raises CannotAudit when that takes longer than `wait_s` a partition."""
    log = KafkaLog(KafkaAddress(bootstrap=corner.bootstrap, prefix=corner.prefix))
    await log.connect(_CONNECT_S)
    engine = read_model.engine(corner.database_url, application_name="makegood-audit")
    try:
        for place in await queries.positions(engine):
            _, end = await log.bounds(place)
            if not await queries.wait_for(engine, place, end, wait_s):
                raise CannotAudit(f"{place} is not projected up to {end} after {wait_s:.0f} s")
        return await audit(log, engine)
    finally:
        await engine.dispose()
        await log.close()
