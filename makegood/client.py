"""A client of the API that never pays twice: every request has a key, and is repeated under it.

What may pass (no connection, 429, 503) is tried again with a growing pause up to a bound; anything
else is the answer.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

import aiohttp
import msgspec

WAIT_S: Final = 10
_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 2.0
_ENDED: Final = ("completed", "compensated", "parked")
_WAITING: Final = "waiting"
_PASSES: Final = (408, 429, 500, 503)
_SILENCE_S: Final = 40.0
"""A stream that tells nothing for so long is broken: the API's comments come every 15 s."""
_MAX_EVENT_BYTES: Final = 1024 * 1024


class ApiError(Exception):
    """The API refused the request: `status`, the problem's `kind` and its text."""

    def __init__(self, status: int, kind: str, detail: str, reason: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.reason = reason


def path_of(*parts: str) -> str:
    """The path of these parts, whatever was typed: an account `a/close?` must not become another
    order."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


class ApiAway(Exception):
    """The API did not answer within the bound; repeating the same command is safe."""

    def __init__(self, url: str, waited_s: float, cause: str) -> None:
        super().__init__(
            f"the API at {url} gave no answer within {waited_s:.0f} s ({cause}). Check that it "
            "runs (makegood up) and that --api or MAKEGOOD_API_URL names it. What is asked again "
            "under the same key is not done twice."
        )


class Transfer(NamedTuple):
    """How a transfer stands. `running` because of `waiting`: for a person or a time. `as_of`: the
    journal position that knows of it."""

    id: str
    state: str
    reason: str
    replayed: bool
    as_of: str


class Answer(NamedTuple):
    """`content`: the JSON object; empty when it was something else."""

    status: int
    headers: Mapping[str, str]
    content: dict[str, Any]


class Event(NamedTuple):
    """One of a stream. `name`: empty, or `end` for its last one."""

    id: str
    name: str
    data: dict[str, Any]


class Client:
    """An async context manager. `patience_s`: for how long one request is tried again.

    aiohttp, because httpx looks at every connection of its pool for every request: at 64 of them
    it took 8 ms of CPU a request, aiohttp takes 0.3.
    """

    def __init__(self, url: str, *, connections: int = 10, patience_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._connections = connections
        self._patience_s = patience_s
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=WAIT_S + 20),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def transfer(self, key: str, body: dict[str, Any], after: str = "") -> Transfer:
        """Start a transfer and wait for its end, though not for a person or a time that it waits
        for. `after`: the position that another one, which it reverses, was told to be completed
        at. Raises ApiError, ApiAway."""
        path = f"/transfers?after={after}" if after else "/transfers"
        headers = {"Idempotency-Key": key, "Prefer": f"wait={WAIT_S}"}
        answer = await self.ask("POST", path, body, headers)
        replayed = "Idempotency-Replayed" in answer.headers
        while not _rests(answer.content):
            # Asking again under the same key waits again.
            answer = await self.ask("POST", path, body, headers)
        found = answer.content
        return Transfer(found["id"], found["state"], found["reason"], replayed, found["as_of"])

    async def order(
        self, path: str, key: str, body: dict[str, Any] | None = None, method: str = "POST"
    ) -> dict[str, Any]:
        """An order to an account. Raises ApiError, ApiAway."""
        return (await self.ask(method, path, body, {"Idempotency-Key": key})).content

    async def get(self, path: str) -> dict[str, Any]:
        """Raises ApiError, ApiAway."""
        return (await self.ask("GET", path)).content

    async def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Raises ApiError, ApiAway."""
        patience = _Patience(self.url, self._patience_s)
        while True:
            try:
                answer = await self._once(method, path, body, headers or {})
                if answer.status not in _PASSES:
                    break
                cause = _problem(answer).detail
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as e:
                cause = type(e).__name__
            await patience.pause(cause)
        if answer.status >= 400:
            raise _problem(answer)
        return answer

    async def events(self, path: str) -> AsyncGenerator[Event]:
        """The events of a stream until it ends; one that breaks is taken up where it was. Raises
        ApiError, ApiAway."""
        assert self._http is not None, "use it as a context manager"
        patience, last = _Patience(self.url, self._patience_s), ""
        while True:
            heard = False
            try:
                async with self._http.get(
                    self.url + path,
                    headers={"Last-Event-ID": last} if last else {},
                    timeout=aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_S),
                    read_bufsize=_MAX_EVENT_BYTES,
                    allow_redirects=False,
                ) as response:
                    if response.status == 204:
                        return
                    if response.status != 200:
                        answer = await _read(response)
                        if answer.status not in _PASSES:
                            raise _problem(answer)
                        cause = _problem(answer).detail
                    else:
                        heard = True
                        async for event in _events(response.content):
                            last = event.id or last
                            yield event
                            if event.name == "end":
                                return
                        cause = "the stream broke off"
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as e:
                cause = type(e).__name__
            if heard:
                patience.renew()
            await patience.pause(cause)

    async def _once(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> Answer:
        assert self._http is not None, "use it as a context manager"
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        async with self._http.request(
            method,
            self.url + path,
            data=None if body is None else msgspec.json.encode(body),
            headers=headers,
            allow_redirects=False,
        ) as response:
            return await _read(response)


class _Patience:
    """How long something is tried again, with growing pauses."""

    def __init__(self, url: str, patience_s: float) -> None:
        self._url = url
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._pause_s = _FIRST_PAUSE_S

    def renew(self) -> None:
        """The API was there until now. The pauses stay as long as they have become."""
        self._began = self._loop.time()

    async def pause(self, cause: str) -> None:
        """Raises ApiAway when it is at an end."""
        waited_s = self._loop.time() - self._began
        if waited_s + self._pause_s > self._patience_s:
            raise ApiAway(self._url, waited_s, cause)
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, _MAX_PAUSE_S)


async def _read(response: aiohttp.ClientResponse) -> Answer:
    text = await response.read()
    try:
        content = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        # Somebody else answered: a proxy, or another server on this port.
        content = {}
    return Answer(response.status, response.headers, content)


async def _events(lines: AsyncIterable[bytes]) -> AsyncGenerator[Event]:
    """Server-Sent Events as this API writes them: one line of data, which is a JSON object."""
    fields: dict[bytes, bytes] = {}
    async for line in lines:
        if line := line.rstrip(b"\r\n"):
            name, _, value = line.partition(b":")
            fields[name] = value.removeprefix(b" ")
            continue
        if b"data" in fields:
            data = msgspec.json.decode(fields[b"data"], type=dict[str, Any])
            yield Event(
                id=fields.get(b"id", b"").decode(),
                name=fields.get(b"event", b"").decode(),
                data=data,
            )
        fields = {}


def _rests(content: dict[str, Any]) -> bool:
    return content["state"] in _ENDED or content["reason"] == _WAITING


def _problem(answer: Answer) -> ApiError:
    status, content = answer.status, answer.content
    kind = str(content.get("type", "")).rpartition("/")[2]
    detail = str(content.get("detail", f"HTTP {status} that is not of this API"))
    return ApiError(status, kind, detail, str(content.get("reason", "")))
