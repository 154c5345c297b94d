"""A client of the API that never pays twice: every request has a key, and is repeated under it.

What may pass (no connection, 429, 503) is tried again with a growing pause up to a bound; anything
else is the answer.
"""

import asyncio
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx

WAIT_S: Final = 10
_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 2.0
_ENDED: Final = ("completed", "compensated", "parked")
_PASSES: Final = (408, 429, 500, 503)


class ApiError(Exception):
    """The API refused the request: `status`, the problem's `kind` and its text."""

    def __init__(self, status: int, kind: str, detail: str, reason: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.reason = reason


class ApiAway(Exception):
    """The API did not answer within the bound; repeating the same command is safe."""

    def __init__(self, url: str, waited_s: float, cause: str) -> None:
        super().__init__(
            f"the API at {url} gave no answer within {waited_s:.0f} s ({cause}). Check that it "
            "runs (makegood up) and that --api or MAKEGOOD_API_URL names it; then give the same "
            "command again: nothing is done twice."
        )


class Transfer(NamedTuple):
    """How a transfer stands."""

    id: str
    state: str
    reason: str
    replayed: bool


class Client:
    """An async context manager. `patience_s`: for how long one request is tried again."""

    def __init__(self, url: str, *, connections: int = 10, patience_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(base_url=self.url, limits=limits, timeout=WAIT_S + 20)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def transfer(self, key: str, body: dict[str, Any]) -> Transfer:
        """Start a transfer and wait for its end. Raises ApiError, ApiAway."""
        headers = {"Idempotency-Key": key, "Prefer": f"wait={WAIT_S}"}
        answer = await self.ask("POST", "/transfers", json=body, headers=headers)
        replayed = "Idempotency-Replayed" in answer.headers
        found = answer.json()
        while found["state"] not in _ENDED:
            # Asking again under the same key waits again.
            found = (await self.ask("POST", "/transfers", json=body, headers=headers)).json()
        return Transfer(found["id"], found["state"], found["reason"], replayed)

    async def order(
        self, path: str, key: str, body: dict[str, Any] | None = None, method: str = "POST"
    ) -> dict[str, Any]:
        """An order to an account. Raises ApiError, ApiAway."""
        return (await self.ask(method, path, json=body, headers={"Idempotency-Key": key})).json()

    async def get(self, path: str, **params: str) -> dict[str, Any]:
        """Raises ApiError, ApiAway."""
        return (await self.ask("GET", path, params=params)).json()

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        loop = asyncio.get_running_loop()
        began, pause_s = loop.time(), _FIRST_PAUSE_S
        while True:
            try:
                answer = await self._http.request(method, path, **request)
                if answer.status_code not in _PASSES:
                    break
                cause = _problem(answer).detail
            except httpx.TransportError as error:
                cause = type(error).__name__
            waited_s = loop.time() - began
            if waited_s + pause_s > self._patience_s:
                raise ApiAway(self.url, waited_s, cause)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _MAX_PAUSE_S)
        if answer.is_error:
            raise _problem(answer)
        return answer


def _problem(answer: httpx.Response) -> ApiError:
    try:
        body = answer.json()
        kind = str(body["type"]).rpartition("/")[2]
        return ApiError(answer.status_code, kind, body["detail"], body.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        # Somebody else answered: a proxy, or another server on this port.
        return ApiError(answer.status_code, "", f"HTTP {answer.status_code} without a problem")
