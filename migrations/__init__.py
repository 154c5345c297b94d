"""The schema of the read model, as Alembic revisions that Makegood runs by itself at start.

`upgrade` may be called by any number of processes at once: one of them does the work, the others
wait for it. There is no alembic.ini; `env.py` takes the connection that `upgrade` hands it.
"""

from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from read_model import database

__all__ = ["upgrade", "wait"]

log_event = structlog.get_logger("migrations")

_LOCK: Final = 0x4D616B65676F6F64
"""The advisory lock that is held while the schema changes: "Makegood" in ASCII."""

wait = database.wait


async def upgrade(database_url: str, *, wait_s: float = 60.0, revision: str = "head") -> None:
    """Bring the schema to `revision`, in one transaction; nothing to do when it is there.

    Waits up to `wait_s` for PostgreSQL to come up. Raises DatabaseUnreachable.
    """
    engine = database.engine(
        database_url,
        application_name="makegood-migrations",
        # Building an index takes its time, and so does waiting for another process to do it.
        command_timeout_s=None,
    )
    try:
        await database.wait(engine, wait_s)
        async with engine.begin() as connection:
            # Two processes that start at once would both create the tables. The lock goes with
            # the transaction, so a process that dies in the middle leaves neither behind.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await connection.run_sync(_run, revision)
    finally:
        await engine.dispose()
    log_event.info("schema_upgraded", revision=revision, address=database.address(database_url))


def _run(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
