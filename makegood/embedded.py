"""A bank on this machine: the development stack, or the servers that the environment names, and
every role as a process on top. `corner` keeps several banks on one server apart.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from devstack.stack import DATABASE_VARIABLE, KAFKA_VARIABLE, Stack
from makegood.bank import Bank, Corner, own_database

__all__ = ["DATABASE_VARIABLE", "KAFKA_VARIABLE", "embedded_bank"]


@asynccontextmanager
async def embedded_bank(
    data_dir: Path | None,
    *,
    brokers: int = 1,
    lasting: bool = False,
    fresh: bool = False,
    corner: str = "",
    api_port: int = 0,
    settings: dict[str, str] | None = None,
    count: dict[str, int] | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[Bank]:
    """The running bank. `data_dir` None: the stack's usual one. Raises DevstackError."""
    async with Stack(
        data_dir, brokers=brokers, lasting=lasting, fresh=fresh, announce=announce
    ) as stack:
        announce("Kafka and PostgreSQL are up; starting the bank's processes")
        database = "makegood" + (f"_{corner}" if corner else "")
        url = await own_database(stack.database_url, database)
        where = Corner(stack.bootstrap, url, f"{corner}-" if corner else "")
        log_dir = stack.data_dir / "log"
        async with Bank(
            where,
            log_dir,
            api_port=api_port,
            settings=settings,
            count=count,
            rests_on=stack.children,
        ) as bank:
            yield bank
