"""The bridge to a participant that speaks HTTP: a step's command becomes a signed POST with the
effect id as its Idempotency-Key, an enquiry becomes a signed GET.

Only what says in so many words what became of this very effect counts as an outcome; everything
else, whatever its status, is `Unknown`. Requests go to the configured address and nowhere else:
nothing in a command is part of it but the effect id, and no redirect is followed.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
import structlog
from yarl import URL

from messages.participant import StepCommand
from messages.saga import Result
from messages.wire import encode
from participant.circuit import Circuit
from participant.outcomes import Applied, Declined, Outcome, Unknown
from participant.signing import SIGNATURE, TIMESTAMP, sign

log_event = structlog.get_logger("participant.http")

_NOT_TAKEN: Final = frozenset((429, 503))
"""The endpoint says that it has not looked at the request: it may be sent again at once."""

_PER_SEND: Final = ("attempt", "reply_to")
"""What differs between two sends of one effect: one Idempotency-Key must have one body."""

_ANSWERED: Final = frozenset((200, 201, 202, 404, 409, 422))


class EndpointRefused(Exception):
    """An address that the bridge must not call; the text says why."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where commands are posted, and what bounds a call.

    `url`: https, or http on this machine. An enquiry is a GET of `url` + `/` + effect id. `secret`:
    at least 32 bytes, known to both ends. `timeout_s` bounds one call from connecting to the last
    byte, `max_answer_bytes` its answer. `tries`: sends in a row of what was not taken.
    After `failures` in a row the endpoint is spared for `spare_s`.
    """

    url: str
    secret: bytes
    timeout_s: float = 10.0
    max_answer_bytes: int = 64 * 1024
    tries: int = 3
    pause_s: float = 0.5
    failures: int = 5
    spare_s: float = 15.0

    def __post_init__(self) -> None:
        """Raises EndpointRefused."""
        parts = urlsplit(self.url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise EndpointRefused("the address must be https, or http on this machine")
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise EndpointRefused("the address must be https://host/path, without user or query")
        if len(self.secret) < 32:
            raise EndpointRefused("the secret must have at least 32 bytes")


class Said(msgspec.Struct, frozen=True):
    """The body of an answer. `never_came`: only to an enquiry."""

    effect_id: str
    status: Literal["applied", "declined", "pending", "never_came"]
    result: Result = {}
    reason: Annotated[str, msgspec.Meta(max_length=100)] = ""
    detail: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


_said: Final = msgspec.json.Decoder(Said)


class _Failed(Exception):
    """A call that brought no outcome. `taken`: the endpoint may have acted on it."""

    def __init__(self, cause: str, *, taken: bool = True) -> None:
        super().__init__(cause)
        self.taken = taken


class Bridge:
    """`do` and `enquire` are handlers for `participant.serve`. An async context manager."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        now_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._now_s = now_s
        self._circuit = Circuit(endpoint.failures, endpoint.spare_s, monotonic_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Bridge":
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._endpoint.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def do(self, command: StepCommand) -> Outcome:
        """Have the effect done. What is not known to be an outcome is `Unknown`."""
        return await self._ask("POST", self._endpoint.url, command.effect_id, body_of(command))

    async def enquire(self, command: StepCommand) -> Outcome:
        """Ask what became of the effect."""
        url = f"{self._endpoint.url.rstrip('/')}/{quote(command.effect_id, safe='')}"
        return await self._ask("GET", url, command.effect_id, b"")

    async def _ask(self, method: str, url: str, effect_id: str, body: bytes) -> Outcome:
        for number in range(1, self._endpoint.tries + 1):
            if not self._circuit.lets_through():
                return Unknown("the endpoint has failed too often and is spared for a while")
            try:
                outcome = await self._call(method, url, effect_id, body)
            except _Failed as failed:
                self._circuit.failed()
                log_event.warning(
                    "call_failed", effect=effect_id, method=method, cause=str(failed)[:200]
                )
                if failed.taken or number == self._endpoint.tries:
                    return Unknown(str(failed)[:500])
                await asyncio.sleep(self._endpoint.pause_s * number)
            else:
                self._circuit.succeeded()
                return outcome
        raise AssertionError("the last try returns")

    async def _call(self, method: str, url: str, effect_id: str, body: bytes) -> Outcome:
        """One call. Raises _Failed."""
        assert self._session is not None, "use `async with`"
        where = URL(url, encoded=True)
        timestamp_s = int(self._now_s())
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Idempotency-Key": effect_id,
            TIMESTAMP: str(timestamp_s),
            SIGNATURE: sign(self._endpoint.secret, timestamp_s, method, where.raw_path_qs, body),
        }
        if body:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method, where, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                if status in _NOT_TAKEN:
                    raise _Failed(f"the endpoint is busy: HTTP {status}", taken=False)
                if status not in _ANSWERED:
                    raise _Failed(f"HTTP {status} is no answer")
                content = await self._bounded(response)
        except aiohttp.ClientConnectorError as error:
            raise _Failed(f"no connection: {type(error).__name__}", taken=False) from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _Failed(f"the call broke off: {type(error).__name__}") from error
        return _outcome(content, effect_id, status, enquiry=method == "GET")

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for part in response.content.iter_chunked(8 * 1024):
            content += part
            if len(content) > self._endpoint.max_answer_bytes:
                raise _Failed(f"the answer is longer than {self._endpoint.max_answer_bytes} bytes")
        return bytes(content)


def body_of(command: StepCommand) -> bytes:
    """What is posted: the command, the same bytes for every attempt."""
    fields: dict[str, Any] = msgspec.to_builtins(command)
    for name in _PER_SEND:
        fields.pop(name, None)
    return encode(fields)


def _outcome(content: bytes, effect_id: str, status: int, *, enquiry: bool) -> Outcome:
    try:
        said = _said.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Failed(f"HTTP {status} with a body that is no answer") from error
    if said.effect_id != effect_id:
        raise _Failed("the answer is about another effect")
    match said.status:
        case "applied" if status in (200, 201):
            return Applied(said.result)
        case "declined" if status in (200, 409, 422):
            try:
                return Declined(said.reason, said.detail)
            except ValueError as error:
                raise _Failed("the answer declines without a reason that can be one") from error
        case "pending" if status in (200, 202):
            return Unknown(said.detail or "pending")
        case "never_came" if enquiry and status == 404:
            return Unknown(said.detail, never_came=True)
        case _:
            raise _Failed(f"the answer {said.status!r} does not go with HTTP {status}")
