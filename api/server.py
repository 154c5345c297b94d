"""The API as a process: HTTP, the tail on the answers and the database engine in one event loop.

It stops gracefully: no new connections, then the answers under way, then what they lean on.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Mapping
from typing import Final

import structlog
import uvicorn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from account_service.service import ANSWERS as ACCOUNT_ANSWERS
from account_service.service import TOPICS as ACCOUNT
from api.app import create_app
from api.follower import Follower
from api.gateway import Gateway
from api.health import Check
from journal.clock import Clock, SystemClock
from journal.log import Log
from journal.requests import Requests
from orchestrator.service import ANSWERS as SAGA_ANSWERS
from orchestrator.service import TOPICS as ORCHESTRATOR
from read_model import database
from saga_definitions.registry import Registry

log_event = structlog.get_logger("api.server")

_STOP_S: Final = 10
_POOL: Final = 10
_STUCK_MS: Final = 60_000


class CannotListen(Exception):
    """The address is taken, or not this machine's."""

    def __init__(self, host: str, port: int, cause: str) -> None:
        super().__init__(
            f"can't listen on {host}:{port} ({cause}); set MAKEGOOD_API_HOST, MAKEGOOD_API_PORT"
        )
        self.host = host
        self.port = port


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals belong to the process, which cancels `serve`.
        yield


def follow(log: Log, partitions: Mapping[str, int]) -> Follower:
    """A follower of both services. `partitions`: service name -> partition count."""
    return Follower(
        log,
        {ORCHESTRATOR.answers: SAGA_ANSWERS, ACCOUNT.answers: ACCOUNT_ANSWERS},
        {
            ORCHESTRATOR.answers: partitions[ORCHESTRATOR.name],
            ACCOUNT.answers: partitions[ACCOUNT.name],
        },
    )


def checks(log: Log, engine: AsyncEngine, follower: Follower) -> dict[str, Check]:
    """What has to be well for the API to do its work."""

    async def kafka() -> str:
        found = await log.partitions(ORCHESTRATOR.input)
        return "ok" if found else "the topics are missing"

    async def postgresql() -> str:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        return "ok"

    async def answers() -> str:
        return follower.status

    return {"kafka": kafka, "postgresql": postgresql, "answers": answers}


async def serve(
    log: Log,
    database_url: str,
    partitions: Mapping[str, int],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    clock: Clock | None = None,
    definitions: Registry | None = None,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serve until cancelled. `partitions`: service name -> partition count. Port 0: any free one;
    `on_listening` is told which. Raises CannotListen."""
    listener = _listen(host, port)
    engine = database.engine(database_url, application_name="makegood-api", pool_size=_POOL)
    requests = Requests(log)
    follower = follow(log, partitions)
    gateway = Gateway(
        requests,
        follower,
        saga_partitions=partitions[ORCHESTRATOR.name],
        account_partitions=partitions[ACCOUNT.name],
    )
    app = create_app(
        gateway, engine, clock or SystemClock(), checks(log, engine, follower), definitions
    )
    server = _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=_STOP_S,
        )
    )
    following = asyncio.create_task(follower.run(), name="follower")
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    bound_port: int = listener.getsockname()[1]
    log_event.info("api_started", host=host, port=bound_port)
    if on_listening is not None:
        on_listening(bound_port)
    try:
        done, _ = await asyncio.wait({serving, following}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        server.should_exit = True
        app.state.streams.close()
        await asyncio.gather(serving, return_exceptions=True)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await requests.close()
        await engine.dispose()
        log_event.info("api_stopped")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit it: who takes nothing for so long is gone, not slow.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_MS)
    listener.setblocking(False)
    return listener
