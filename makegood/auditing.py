"""`makegood audit`: finds the journals, audits them with a progress bar, tells the verdict."""

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from audit.auditor import audit
from audit.rendering import rendered
from audit.report import exit_status
from journal.kafka_log import KafkaLog
from makegood.running import running_bank
from makegood.settings import Settings, load_settings
from read_model import database as read_model

_DAY_MS = 24 * 3600 * 1000


def settings_here(data_dir: Path | None) -> Settings:
    """The settings, pointed at the bank that runs on this machine where nothing else is said."""
    settings = load_settings()
    found = running_bank(data_dir)
    if found is None or "kafka_bootstrap" in settings.model_fields_set:
        return settings
    return settings.model_copy(
        update={
            "kafka_bootstrap": found.kafka_bootstrap,
            "topic_prefix": found.topic_prefix,
            "database_url": found.database_url,
        }
    )


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
