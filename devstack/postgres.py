"""A PostgreSQL server as a child process, from the binaries of a pip package."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import asyncpg

from devstack import ports
from devstack.errors import ChildFailed
from devstack.postgres_home import PostgresHome, find_home
from devstack.processes import Child, end_left_over, program

USER = "makegood"
DATABASE = "makegood"

_INIT_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 60.0
_STOP_GRACE_S = 10.0
_START_ATTEMPTS = 3
_PORT_TAKEN = "Address already in use"


class Postgres:
    """The server. It keeps its port for as long as this object lives."""

    def __init__(self, directory: Path, *, log_dir: Path | None = None) -> None:
        self.directory = directory
        self._log_dir = log_dir or directory
        # SIGQUIT: the server ends its sessions and itself at once, and frees its shared memory.
        self.child = Child("postgres", self._log_dir, death_signal=signal.SIGQUIT)
        self.port = 0
        self._home: PostgresHome | None = None

    @property
    def url(self) -> str:
        """For SQLAlchemy with asyncpg."""
        return f"postgresql+asyncpg://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def running(self) -> bool:
        return self.child.running

    async def start(self) -> None:
        """Start, or start again after `kill` or `stop`.

        Raises MissingPackage, NoUnprivilegedUser, ChildFailed, StartTimeout.
        """
        if self.running:
            return
        self._log_dir.mkdir(parents=True, exist_ok=True)
        if self._home is None:
            self._home = await asyncio.to_thread(find_home, self.directory)
            await self._initialise(self._home)
        if self.port == 0:
            self._choose_port()
        for attempt in range(1, _START_ATTEMPTS + 1):
            remove_stale_lock(self._home.data / "postmaster.pid")
            self._spawn(self._home)
            try:
                await self.child.until(self._ready, _START_TIMEOUT_S)
            except ChildFailed as failed:
                if attempt == _START_ATTEMPTS or _PORT_TAKEN not in failed.tail:
                    raise
                self._choose_port()
            else:
                return

    async def stop(self) -> None:
        """An orderly stop: open sessions are ended, the data is checkpointed."""
        await self.child.stop(signal.SIGINT, _STOP_GRACE_S)

    async def kill(self) -> None:
        """A crash (SIGKILL of the server and all its processes)."""
        await self.child.kill()

    def suspend(self) -> None:
        self.child.suspend()

    def resume(self) -> None:
        self.child.resume()

    async def end_left_over(self) -> None:
        await end_left_over(self._log_dir / "postgres.pid")

    async def _initialise(self, home: PostgresHome) -> None:
        if (home.data / "PG_VERSION").is_file():
            return
        partial = home.data.with_name(home.data.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        home.give(partial)
        child = Child("postgres-init", self._log_dir)
        child.spawn(
            [
                *(home.bin / "initdb", "-D", partial, "-U", USER, "--auth=trust", "--no-sync"),
                # The same order of text everywhere, whatever locales the machine has.
                *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
                "--no-instructions",
            ],
            user=home.user,
        )
        await child.finish(_INIT_TIMEOUT_S)
        # The rename marks it complete: an interrupted initdb is started over.
        partial.rename(home.data)

    def _choose_port(self) -> None:
        memory = self.directory / "port"
        preferred = [int(memory.read_text())] if memory.is_file() else []
        [self.port] = ports.choose(1, preferred)
        self.directory.mkdir(parents=True, exist_ok=True)
        memory.write_text(str(self.port))

    def _spawn(self, home: PostgresHome) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            # No unix socket: its path has a limit of 107 bytes, and nobody here needs it.
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            # What is in PostgreSQL is folded from Kafka and can be folded again: losing the last
            # half second in a crash of the machine costs nothing, waiting for the disk at every
            # commit would. A commit is still whole or not there (fsync stays on).
            "synchronous_commit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self.child.spawn([home.bin / "postgres", "-D", home.data, *options], user=home.user)

    async def _ready(self) -> bool:
        """Whether it answers; the first time, the database is made."""
        try:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=USER, database="postgres", timeout=5
            )
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            return False
        try:
            known = await connection.fetchval(
                "SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE
            )
            if not known:
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()
        return True


def remove_stale_lock(lock: Path) -> None:
    """Remove the lock file of a PostgreSQL that was killed, where PostgreSQL itself would not.

    It does so when no process has the number any more. But it takes any process of its user for
    a PostgreSQL: a zombie, or another program that got the number, which in a container, where
    numbers start at 1, is the rule. Its sessions are found by their shared memory anyway.
    """
    try:
        pid = int(lock.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    if program(pid) not in (None, "postgres"):
        lock.unlink()
