"""A TCP proxy in front of one broker that knows Kafka's frames: it can delay, cut or leave without
an answer the requests of chosen kinds, as a bad network does at the worst moment.

Of a request it reads the size, API key, version and correlation id (the same in every version of
Kafka's request header), of an answer the correlation id; the rest goes through as it came.
"""

import asyncio
import struct
from collections import Counter, deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from types import TracebackType
from typing import Final, Self

_MAX_FRAME_BYTES: Final = 128 * 1024 * 1024
_REQUEST = struct.Struct(">hhi")
_INT = struct.Struct(">i")


class Api(IntEnum):
    """Kafka's numbers of the requests that the bank's clients make."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    SYNC_GROUP = 14
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22


class Harm(StrEnum):
    DELAY = "delay"
    """The request, and what comes after it on the connection, waits before it goes on."""
    CUT = "cut"
    """The connection is cut instead of passing the request on."""
    LOSE_ANSWER = "lose_answer"
    """The request goes through; the connection is cut when the broker answers."""
    MUTE = "mute"
    """Requests go through, but from the first answer to a chosen one on nothing comes back, until
    the disturbance ends and the connection is cut."""


class Disturbance:
    """What is done to which requests; `delay_s` only for DELAY. `hits` counts to how many."""

    def __init__(self, harm: Harm, apis: Iterable[Api], delay_s: float = 0.0) -> None:
        self.harm = harm
        self.apis = frozenset(apis)
        self.delay_s = delay_s
        self.hits: Counter[Api] = Counter()
        self.over = asyncio.Event()


class Proxy:
    """An async context manager; listens on `port` of 127.0.0.1 and forwards to `broker_port`, which
    may be set later: until then connections are refused."""

    def __init__(self) -> None:
        self.port = 0
        self.broker_port = 0
        self._disturbances: list[Disturbance] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    @contextmanager
    def disturbed(self, disturbance: Disturbance) -> Generator[None, None, None]:
        """The disturbance is in force inside; it may be so at several proxies."""
        self._disturbances.append(disturbance)
        try:
            yield
        finally:
            self._disturbances.remove(disturbance)
            disturbance.over.set()

    def _struck(self, api: int, *harms: Harm) -> Disturbance | None:
        for disturbance in self._disturbances:
            if disturbance.harm in harms and api in disturbance.apis:
                disturbance.hits[Api(api)] += 1
                return disturbance
        return None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            broker, to_broker = await asyncio.open_connection("127.0.0.1", self.broker_port)
        except OSError:
            return
        asked: deque[tuple[int, int]] = deque()
        """Correlation id and API of the requests without an answer; Kafka answers in order."""
        pumps = [
            asyncio.create_task(self._requests(client, to_broker, asked)),
            asyncio.create_task(self._answers(broker, to_client, asked)),
        ]
        try:
            # Either side's end is the end: half a connection is of no use to Kafka's clients.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            to_broker.transport.abort()

    async def _requests(
        self,
        client: asyncio.StreamReader,
        to_broker: asyncio.StreamWriter,
        asked: deque[tuple[int, int]],
    ) -> None:
        while frame := await _frame(client, _REQUEST.size):
            api, _, correlation = _REQUEST.unpack_from(frame, _INT.size)
            if self._struck(api, Harm.CUT):
                return
            if disturbance := self._struck(api, Harm.DELAY):
                await asyncio.sleep(disturbance.delay_s)
            asked.append((correlation, api))
            to_broker.write(frame)
            await to_broker.drain()

    async def _answers(
        self,
        broker: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        asked: deque[tuple[int, int]],
    ) -> None:
        while frame := await _frame(broker, _INT.size):
            (answered,) = _INT.unpack_from(frame, _INT.size)
            api = -1
            # A Produce with acks=0 has no answer and is passed over.
            while asked:
                correlation, api = asked.popleft()
                if correlation == answered:
                    break
            if disturbance := self._struck(api, Harm.LOSE_ANSWER, Harm.MUTE):
                if disturbance.harm is Harm.MUTE:
                    await disturbance.over.wait()
                return
            to_client.write(frame)
            await to_client.drain()


async def _frame(reader: asyncio.StreamReader, at_least: int) -> bytes:
    """A frame with its size in front; empty when there is none: the connection ended, or it is no
    Kafka that talks here."""
    try:
        head = await reader.readexactly(_INT.size)
        (size,) = _INT.unpack(head)
        if not at_least <= size <= _MAX_FRAME_BYTES:
            return b""
        return head + await reader.readexactly(size)
    except (asyncio.IncompleteReadError, OSError):
        return b""
