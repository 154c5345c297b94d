"""The HTTP bridge against a real server that fails in every way: nothing is ever guessed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from participant.http import Bridge, Endpoint, EndpointRefused, body_of
from participant.outcomes import Applied, Declined, Outcome, Unknown
from participant.signing import SIGNATURE, TIMESTAMP, is_signed, sign
from tests.participant.test_effects import book

SECRET = b"0123456789abcdef0123456789abcdef"
EFFECT = "s1/book/do"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Does what `answer` says; keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = said("applied")
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.raw_path, dict(request.headers), body))
        return await self.answer(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/payouts"


def said(status: str, http: int = 200, effect_id: str = EFFECT, **other: Any) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        body = {"effect_id": effect_id, "status": status, **other}
        return web.json_response(body, status=http)

    return answer


def raw(http: int, body: bytes = b"", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=http, body=body, headers=headers)

    return answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    serving = Server()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", serving.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    serving.port = runner.addresses[0][1]
    yield serving
    await runner.cleanup()


@asynccontextmanager
async def bridge(server: Server, **other: Any) -> AsyncIterator[Bridge]:
    options = {"timeout_s": 0.5, "pause_s": 0.001, **other}
    async with Bridge(Endpoint(url=server.url, secret=SECRET, **options)) as ready:
        yield ready


async def do(server: Server, **other: Any) -> Outcome:
    async with bridge(server, **other) as ready:
        return await ready.do(book(effect_id=EFFECT))


async def enquire(server: Server) -> Outcome:
    async with bridge(server) as ready:
        return await ready.enquire(book(effect_id=EFFECT))


async def test_what_is_applied_or_declined_is_told_with_result_and_reason(server: Server):
    server.answer = said("applied", result={"reference": "N1"})
    assert await do(server) == Applied({"reference": "N1"})
    for http in (200, 409, 422):
        server.answer = said("declined", http, reason="no_seat", detail="all gone")
        assert await do(server) == Declined("no_seat", "all gone")


async def test_the_request_is_named_signed_and_the_same_for_every_attempt(server: Server):
    async with bridge(server) as ready:
        for attempt in (1, 7):
            await ready.do(book(attempt, effect_id=EFFECT, seats=3))
    bodies = {body for *_, body in server.requests}
    assert len(bodies) == 1
    method, path, headers, body = server.requests[0]
    assert (method, path, headers["Idempotency-Key"]) == ("POST", "/payouts", EFFECT)
    assert b'"seats":3' in body
    signed = (SECRET, headers[TIMESTAMP], headers[SIGNATURE], method, path, body)
    assert is_signed(*signed, time.time())
    assert not is_signed(*signed, time.time() + 301)
    assert not is_signed(*signed[:5], body + b" ", time.time())
    assert not is_signed(b"x" * 32, *signed[1:], time.time())
    for timestamp in ("", "x", "-1", "9" * 20, "\u0661"):
        assert not is_signed(SECRET, timestamp, headers[SIGNATURE], method, path, body, 0)
    assert sign(SECRET, 1, "POST", "/a", b"") != sign(SECRET, 1, "GET", "/a", b"")


async def test_an_enquiry_names_the_effect_in_one_path_segment(server: Server):
    server.answer = said("declined", reason="no_seat")
    assert await enquire(server) == Declined("no_seat")
    method, path, headers, body = server.requests[0]
    assert (method, path, body) == ("GET", "/payouts/s1%2Fbook%2Fdo", b"")
    signed = (headers[TIMESTAMP], headers[SIGNATURE], method, path, body)
    assert is_signed(SECRET, *signed, time.time())


async def test_that_it_never_came_is_believed_only_in_so_many_words(server: Server):
    server.answer = said("never_came", 404)
    assert await enquire(server) == Unknown("", never_came=True)
    assert isinstance(await do(server), Unknown)
    for answer in (raw(404), raw(404, b"<h1>nginx</h1>"), said("never_came", 200)):
        server.answer = answer
        outcome = await enquire(server)
        assert isinstance(outcome, Unknown)
        assert not outcome.never_came


NOT_AN_OUTCOME: dict[str, Answer] = {
    "an error": raw(500),
    "an error with a good body": said("applied", 500),
    "a declined one with an error's status": said("declined", 500, reason="no_seat"),
    "no content": raw(204),
    "an empty body": raw(200),
    "garbage": raw(200, b"\xff\x00 not json"),
    "HTML": raw(200, b"<html>applied</html>", **{"Content-Type": "text/html"}),
    "JSON of another shape": raw(200, b'{"status":"applied"}'),
    "a deep one": raw(200, b"[" * 50_000),
    "another effect": said("applied", effect_id="other"),
    "an unknown status": said("done"),
    "declined without a reason": said("declined"),
    "declined with a reason that would be misunderstood": said("declined", reason="effect_expired"),
    "a result that is too deep": said("applied", result={"a": {"b": 1}}),
    "pending": said("pending", 202),
    "applied, but only accepted": said("applied", 202),
    "not allowed": raw(401),
    "not found": raw(404),
    "gone": raw(410),
    "compressed": raw(200, b"\x1f\x8b\x08\x00", **{"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", NOT_AN_OUTCOME)
async def test_what_is_no_outcome_is_unknown(server: Server, name: str):
    server.answer = NOT_AN_OUTCOME[name]
    for ask in (do, enquire):
        outcome = await ask(server)
        assert isinstance(outcome, Unknown), outcome
        assert not outcome.never_came
    assert len(server.requests) == 2, "what may have been taken is not sent again"


@pytest.mark.parametrize("http", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(server: Server, http: int):
    server.answer = raw(http, Location=f"http://127.0.0.1:{server.port}/elsewhere")
    assert isinstance(await do(server), Unknown)
    assert [path for _, path, *_ in server.requests] == ["/payouts"]


async def test_a_time_out_after_the_effect_is_unknown_and_the_enquiry_finds_it(server: Server):
    done: list[str] = []

    async def acts_then_hangs(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await said("applied" if done else "never_came", 200 if done else 404)(request)
        done.append(request.headers["Idempotency-Key"])
        await asyncio.sleep(30)
        raise AssertionError

    server.answer = acts_then_hangs
    assert isinstance(await do(server, timeout_s=0.2), Unknown)
    assert await enquire(server) == Applied()
    assert done == [EFFECT]


async def test_a_body_that_trickles_is_cut_off(server: Server):
    async def trickles(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    server.answer = trickles
    began = time.monotonic()
    assert isinstance(await do(server, timeout_s=0.3), Unknown)
    assert time.monotonic() - began < 5


async def test_a_body_without_end_is_cut_off(server: Server):
    async def floods(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65_536)

    server.answer = floods
    outcome = await do(server, timeout_s=5)
    assert isinstance(outcome, Unknown)
    assert "longer than 65536 bytes" in outcome.detail


async def test_a_connection_that_is_cut_is_unknown(server: Server):
    async def cuts(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.answer = cuts
    assert isinstance(await do(server), Unknown)
    # An idle connection that the server has closed may be tried anew by the client, a GET only.
    assert [method for method, *_ in server.requests] == ["POST"]


@pytest.mark.parametrize("http", [429, 503])
async def test_what_was_not_taken_is_sent_again_a_few_times(server: Server, http: int):
    server.answer = raw(http)
    assert isinstance(await do(server), Unknown)
    assert len(server.requests) == 3

    async def takes_the_second(request: web.Request) -> web.StreamResponse:
        return await (raw(http) if len(server.requests) < 5 else said("applied"))(request)

    server.answer = takes_the_second
    assert await do(server) == Applied()


async def test_an_endpoint_that_is_down_is_unknown(server: Server):
    endpoint = Endpoint(url="http://127.0.0.1:1/x", secret=SECRET, pause_s=0.001)
    async with Bridge(endpoint) as ready:
        outcome = await ready.do(book(effect_id=EFFECT))
    assert isinstance(outcome, Unknown)
    assert "no connection" in outcome.detail


async def test_an_endpoint_that_keeps_failing_is_spared_and_then_tried_again(server: Server):
    now_s = 0.0
    server.answer = raw(500)
    endpoint = Endpoint(url=server.url, secret=SECRET, failures=3, spare_s=10)
    async with Bridge(endpoint, monotonic_s=lambda: now_s) as ready:
        for _ in range(10):
            assert isinstance(await ready.do(book(effect_id=EFFECT)), Unknown)
        assert len(server.requests) == 3, "spared"
        now_s = 10.0
        for _ in range(5):
            await ready.do(book(effect_id=EFFECT))
        assert len(server.requests) == 4, "one try"
        now_s = 20.0
        server.answer = said("applied")
        for _ in range(3):
            assert await ready.do(book(effect_id=EFFECT)) == Applied()
        assert len(server.requests) == 7, "closed again"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/payouts",
        "ftp://127.0.0.1/payouts",
        "file:///etc/passwd",
        "https://user:secret@example.com/payouts",
        "https:///payouts",
        "https://example.com/payouts?next=1",
        "",
    ],
)
def test_an_address_that_must_not_be_called_is_refused_at_the_start(url: str):
    with pytest.raises(EndpointRefused, match="address"):
        Endpoint(url=url, secret=SECRET)


def test_a_short_secret_is_refused():
    with pytest.raises(EndpointRefused, match="secret"):
        Endpoint(url="https://example.com/payouts", secret=b"short")


def test_what_is_posted_leaves_out_what_differs_between_two_sends():
    assert body_of(book(1)) == body_of(book(2, reply_to=""))
    assert body_of(book(seats=1)) != body_of(book(seats=2))
