"""The client's way with event streams: it takes them up where they broke."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from makegood import client as client_module
from makegood.client import ApiAway, ApiError, Client, Event

STREAM = b'retry: 2000\n\nid: 3\ndata: {"n":1}\n\n:\n\nid: 5\ndata: {"n":2}\n\n'
END = b'event: end\ndata: {"state":"completed"}\n\n'


class Server:
    """Answers one request after the other with `answers`: a status, or what a stream tells."""

    def __init__(self, *answers: int | bytes) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Last-Event-ID", ""))
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return web.Response(status=answer)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(answer)
        if not answer.endswith(END):
            assert request.transport is not None
            request.transport.close()
        return stream


@asynccontextmanager
async def following(server: Server, patience_s: float = 10.0) -> AsyncGenerator[Client]:
    app = web.Application()
    app.router.add_get("/events", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Client(url, patience_s=patience_s) as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_FIRST_PAUSE_S", 0.001)


async def test_a_stream_that_breaks_is_taken_up_where_it_was() -> None:
    server = Server(503, STREAM, 503, b'id: 8\ndata: {"n":3}\n\n' + END)
    async with following(server) as client:
        told = [event async for event in client.events("/events")]
    assert [event.data.get("n") for event in told] == [1, 2, 3, None]
    assert told[-1] == Event("", "end", {"state": "completed"})
    assert server.asked == ["", "", "5", "5"]


async def test_nothing_left_to_tell_is_the_end() -> None:
    server = Server(STREAM, 204)
    async with following(server) as client:
        assert len([event async for event in client.events("/events")]) == 2


async def test_a_refusal_is_told_and_an_api_that_stays_away_is_given_up() -> None:
    async with following(Server(404)) as client:
        with pytest.raises(ApiError):
            await anext(client.events("/events"))
    async with following(Server(*[503] * 1_000), patience_s=0.02) as client:
        with pytest.raises(ApiAway):
            await anext(client.events("/events"))


async def test_an_event_may_be_long() -> None:
    long = b"x" * 300_000
    server = Server(b'id: 1\ndata: {"reference":"%b"}\n\n' % long + END)
    async with following(server) as client:
        async with asyncio.timeout(10):
            first = await anext(client.events("/events"))
    assert len(first.data["reference"]) == len(long)
