"""Server-Sent Events: answers that go on, to a bounded number of readers.

A stream holds no connection to the database while it waits, and nothing piles up in it: what its
reader does not take is not read. A reader that takes nothing for a while is cut off.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import structlog
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send
from prometheus_client import Gauge

from api.problem_kinds import KINDS
from api.problems import Problem, on_bug

log_event = structlog.get_logger("api.streams")

MEDIA_TYPE: Final = "text/event-stream"
MAX_STREAMS: Final = 200
"""In one process."""
SEND_S: Final = 20.0
RETRY_MS: Final = 2_000
"""After how long a reader comes back when the stream breaks."""

BEGINNING: Final = b"retry: %d\n\n" % RETRY_MS
HEARTBEAT: Final = b":\n\n"
"""A comment: tells both sides that the other one is there."""

_open = Gauge("makegood_streams", "Event streams that are open")


def event(data: bytes, *, name: str = "", id: int | None = None) -> bytes:
    """`data`: JSON in one line. A `name` none: for `onmessage`. `id`: where to resume from."""
    named = b"event: %b\n" % name.encode() if name else b""
    numbered = b"" if id is None else b"id: %d\n" % id
    return b"%b%bdata: %b\n\n" % (named, numbered, data)


class _CutOff(Exception):
    """The reader did not take what was sent to it."""


class Streams:
    """The streams of one process; `send_s`: how long a reader may leave what is sent to it."""

    def __init__(self, most: int = MAX_STREAMS, send_s: float = SEND_S) -> None:
        self._most = most
        self._send_s = send_s
        self._sending: set[asyncio.Task[None]] = set()
        self._open = 0

    def answer(self, request: Request[Any, Any, Any], chunks: AsyncGenerator[bytes]) -> ASGIApp:
        """The answer that sends `chunks` as they come. What is raised before the first chunk
        becomes the answer; without any chunk it is 204, at which browsers stop coming back."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async with aclosing(chunks):
                with self._one():
                    first = await anext(chunks, None)
                    try:
                        await self._put(send, _start(204 if first is None else 200))
                        if first is not None:
                            everything = _all(first, chunks)
                            await self._until_gone(request, everything, receive, send)
                        await self._put(send, _body(b"", more=False))
                    except _CutOff:
                        # Not to end the answer ends the connection.
                        log_event.info("reader_cut_off", after_s=self._send_s)

        return app

    @contextmanager
    def _one(self) -> Generator[None]:
        if self._open >= self._most:
            raise Problem("too-many-streams", KINDS["too-many-streams"].meaning)
        self._open += 1
        _open.inc()
        try:
            yield
        finally:
            self._open -= 1
            _open.dec()

    async def _until_gone(
        self,
        request: Request[Any, Any, Any],
        chunks: AsyncGenerator[bytes],
        receive: Receive,
        send: Send,
    ) -> None:
        """Until the chunks or the reader are at an end. Raises _CutOff."""
        sending = asyncio.create_task(self._send(chunks, send))
        leaving = asyncio.create_task(_left(receive))
        self._sending.add(sending)
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sending.discard(sending)
            sending.cancel()
            leaving.cancel()
            ended, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
        if isinstance(ended, _CutOff):
            raise ended
        if isinstance(ended, Exception):
            # The answer has begun, so this can't become a problem any more: it is logged like one.
            on_bug(request, ended)

    async def _send(self, chunks: AsyncGenerator[bytes], send: Send) -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                await self._put(send, _body(chunk, more=True))

    async def _put(self, send: Send, message: Any) -> None:
        try:
            async with asyncio.timeout(self._send_s):
                await send(message)
        except TimeoutError:
            raise _CutOff from None

    def close(self) -> None:
        """End all streams; their readers come back, and find another process or this one anew."""
        for sending in self._sending:
            sending.cancel()


async def _all(first: bytes, others: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for chunk in others:
        yield chunk


def _start(status: int) -> dict[str, Any]:
    headers = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    if status == 200:
        headers.append((b"content-type", MEDIA_TYPE.encode()))
    return {"type": "http.response.start", "status": status, "headers": headers}


def _body(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
