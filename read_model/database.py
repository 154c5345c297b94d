"""Where PostgreSQL is, whether it is up, and which of its errors pass by themselves."""

import asyncio
import time
from typing import Final

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

log_event = structlog.get_logger("read_model.database")

_CONNECT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 2.0

_PASSING: Final = ("08", "25006", "40", "53", "57")
"""SQLSTATEs (or their classes) of what passes: connection, read-only (a standby that is yet to be
promoted), rollback (deadlock), resources, operator."""


class DatabaseUnreachable(Exception):
    """PostgreSQL did not answer within the bound."""

    def __init__(self, address: str, waited_s: float, cause: str) -> None:
        super().__init__(
            f"PostgreSQL at {address} did not answer within {waited_s:.0f} s ({cause}). "
            "Check that it runs and that MAKEGOOD_DATABASE_URL names it."
        )
        self.address = address
        self.waited_s = waited_s


def _url(database_url: str) -> URL:
    url = make_url(database_url)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+asyncpg")
    return url


def address(database_url: str) -> str:
    """host:port/database, for people: no user, no password."""
    return _address(_url(database_url))


def _address(url: URL) -> str:
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"


def engine(
    database_url: str,
    *,
    application_name: str = "makegood",
    pool_size: int = 5,
    command_timeout_s: float | None = 60.0,
    settings: dict[str, str] | None = None,
) -> AsyncEngine:
    """An engine for `postgresql://` or `postgresql+asyncpg://`. `settings`: for every session."""
    return create_async_engine(
        _url(database_url),
        pool_size=pool_size,
        max_overflow=0,
        # What is in the parameters belongs in no log.
        hide_parameters=True,
        connect_args={
            "timeout": _CONNECT_S,
            "command_timeout": command_timeout_s,
            "server_settings": {"application_name": application_name, **(settings or {})},
        },
    )


def passes(error: BaseException) -> bool:
    """Whether trying again can help: the server is away, starting, full, or chose a victim."""
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    else:
        state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_PASSING)


async def wait(engine: AsyncEngine, timeout_s: float = 60.0) -> None:
    """Wait until PostgreSQL answers a query, at most `timeout_s`. Raises DatabaseUnreachable.

    What waiting can't cure (a wrong password, a missing database) is raised as it comes.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    said = False
    where = _address(engine.url)
    while True:
        try:
            async with (
                asyncio.timeout(max(deadline - time.monotonic(), _FIRST_PAUSE_S)),
                engine.connect() as connection,
            ):
                await connection.execute(text("SELECT 1"))
            return
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if not passes(error):
                raise
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DatabaseUnreachable(where, timeout_s, cause_of(error)) from error
        if not said:
            said = True
            log_event.warning("waiting_for_database", address=where, at_most_s=timeout_s)
        await asyncio.sleep(min(pause_s, max(left_s, 0.01)))
        pause_s = min(pause_s * 2, _MAX_PAUSE_S)


def cause_of(error: BaseException) -> str:
    """The error in one line, without SQL and its parameters: those hold people's data."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"[:200]
