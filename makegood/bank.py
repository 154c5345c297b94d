"""The whole bank as child processes: every role one process, watched, brought back when it dies.

For `makegood up`, the demo, the benchmarks and the tests that kill things. In production something
else (systemd, Kubernetes) does what this does.
"""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import structlog

from devstack import ports
from devstack.errors import DevstackError
from devstack.processes import Child, end_left_over

log_event = structlog.get_logger("makegood.bank")

ROLES: Final = ("account-service", "claims", "orchestrator", "projector", "api")

_READY_S: Final = 90.0
_STOP_S: Final = 15.0
_WATCH_S: Final = 0.1
_MAX_DEATHS: Final = 5
_DEATHS_WITHIN_S: Final = 60.0


class KeepsDying(DevstackError):
    """A role ended again and again: bringing it back does not help."""

    def __init__(self, role: str, log_file: Path, tail: str) -> None:
        super().__init__(
            f"{role} ended {_MAX_DEATHS} times within {_DEATHS_WITHIN_S:.0f} s; "
            f"the end of its log {log_file} says why:\n{tail}"
        )
        self.role = role
        self.log_file = log_file


class NotReady(DevstackError):
    """The API did not become ready within the bound."""

    def __init__(self, said: str, log_dir: Path) -> None:
        super().__init__(
            f"the bank was not ready after {_READY_S:.0f} s ({said}); the logs are in {log_dir}"
        )
        self.said = said


class Corner(NamedTuple):
    """Where a bank lives: a Kafka, a prefix for its topics, a database of its own."""

    bootstrap: str
    database_url: str
    prefix: str = ""


class Bank:
    """An async context manager; or call `start` and `stop`.

    `log_dir`: one log file a role. `api_port` 0: any free one. `settings`: further MAKEGOOD_
    variables, without the prefix. `count`: role -> processes, 1 if not named. `own`: further
    variables of the process of a name; it is asked at each start of that process. `programs`: role
    -> Python module that is run with the role's name in place of `makegood run`; roles besides
    `ROLES` are started last and stopped first. `rests_on`: servers that nobody brings back.
    """

    def __init__(
        self,
        corner: Corner,
        log_dir: Path,
        *,
        api_port: int = 0,
        settings: dict[str, str] | None = None,
        count: dict[str, int] | None = None,
        own: Callable[[str], dict[str, str]] = lambda _: {},
        programs: Mapping[str, str] | None = None,
        rests_on: Sequence[Child] = (),
    ) -> None:
        self.corner = corner
        self.log_dir = log_dir
        self._api_port = api_port
        self._settings = settings or {}
        self._own = own
        self._programs = programs or {}
        self._roles = (*ROLES, *(role for role in self._programs if role not in ROLES))
        self._rests_on = rests_on
        self._names = [
            (role, number) for role in self._roles for number in range((count or {}).get(role, 1))
        ]
        self._children: dict[str, Child] = {}
        self._deaths: dict[str, deque[float]] = {}
        self._wanted: set[str] = set()

    @property
    def url(self) -> str:
        """The API's address, without a slash at the end."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def processes(self) -> list[str]:
        """Names as `kill` takes them: `orchestrator-0`, `api-0`, ..."""
        return [_name(role, number) for role, number in self._names]

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find this bank."""
        corner = self.corner
        return {
            "MAKEGOOD_KAFKA_BOOTSTRAP": corner.bootstrap,
            "MAKEGOOD_DATABASE_URL": corner.database_url,
            "MAKEGOOD_TOPIC_PREFIX": corner.prefix,
            "MAKEGOOD_API_PORT": str(self._api_port),
            **{f"MAKEGOOD_{name.upper()}": value for name, value in self._settings.items()},
        }

    async def start(self) -> None:
        """Returns when the API is ready. Raises DevstackError; then nothing is left running."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._api_port = self._api_port or ports.choose(1)[0]
        try:
            for role, number in self._names:
                name = _name(role, number)
                await end_left_over(self.log_dir / f"{name}.pid")
                self._children[name] = Child(name, self.log_dir)
                self._children[name].log_file.unlink(missing_ok=True)
                self.revive(name)
            await self._ready()
        except BaseException:
            await self.stop()
            raise

    def revive(self, name: str) -> None:
        """Start a process that is not running."""
        role = name.rpartition("-")[0]
        self._wanted.add(name)
        own = self._programs.get(role)
        self._children[name].spawn(
            [sys.executable, "-m", *([own] if own else ["makegood", "run"]), role],
            env={**os.environ, **self.environment, **self._own(name), "MAKEGOOD_INSTANCE": name},
            # Why the one before it died is what one wants to read.
            keep_log=True,
        )

    async def kill(self, name: str) -> None:
        """SIGKILL; it stays dead until `revive`."""
        self._wanted.discard(name)
        await self._children[name].kill()

    async def restart(self, name: str) -> None:
        """An orderly stop (SIGTERM) and a new start."""
        self._wanted.discard(name)
        await self._children[name].stop(signal.SIGTERM, _STOP_S)
        self.revive(name)

    def child(self, name: str) -> Child:
        return self._children[name]

    async def watch(self) -> None:
        """Bring back what dies by itself, until cancelled. Raises KeepsDying; ChildFailed when a
        server ends that the bank rests on."""
        while True:
            for server in self._rests_on:
                if not server.running:
                    raise server.failure()
            for name in list(self._wanted):
                child = self._children[name]
                if not child.running:
                    self._count_death(name, child)
                    self.revive(name)
            await asyncio.sleep(_WATCH_S)

    def _count_death(self, name: str, child: Child) -> None:
        deaths = self._deaths.setdefault(name, deque(maxlen=_MAX_DEATHS))
        deaths.append(time.monotonic())
        log_event.warning("process_died", process=name, exit_code=child.exit_code)
        if len(deaths) == _MAX_DEATHS and deaths[-1] - deaths[0] < _DEATHS_WITHIN_S:
            raise KeepsDying(name, child.log_file, child.log_tail())

    async def _ready(self) -> None:
        said = "no answer"
        deadline = time.monotonic() + _READY_S
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            while time.monotonic() < deadline:
                for child in self._children.values():
                    if not child.running:
                        raise child.failure()
                try:
                    async with client.get(f"{self.url}/health/ready") as answer:
                        if answer.status == 200:
                            return
                        said = (await answer.text())[:200]
                except (aiohttp.ClientError, TimeoutError) as error:
                    said = type(error).__name__
                await asyncio.sleep(_WATCH_S)
        raise NotReady(said, self.log_dir)

    async def stop(self) -> None:
        """End all processes, the API first, so that no request is cut off in the middle."""
        self._wanted.clear()
        for role in reversed(self._roles):
            await asyncio.gather(
                *(
                    child.stop(signal.SIGTERM, _STOP_S)
                    for name, child in self._children.items()
                    if name.rpartition("-")[0] == role
                )
            )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


def _name(role: str, number: int) -> str:
    return f"{role}-{number}"


async def own_database(server_url: str, name: str) -> str:
    """The address of database `name` on the server; made when it is not there."""
    address = urlsplit(server_url)
    admin = await asyncpg.connect(server_url.replace("+asyncpg", ""))
    try:
        if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await admin.execute(f'CREATE DATABASE "{name}"')
    finally:
        await admin.close()
    return address._replace(path=f"/{name}").geturl()
