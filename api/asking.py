"""Reads what a request says: who asks under which key, what it prefers, and its JSON body.

Nothing is trusted and nothing is coerced: a second Idempotency-Key, a repeated JSON member or a
float where an integer belongs is refused, for two readers could take it for two things.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec
from litestar import Request

from api.description import query_names
from api.problems import Fault, Problem, in_body, invalid
from read_model.position import MAX_OFFSET, PositionMalformed, Token, parse

MAX_BODY_BYTES: Final = 64 * 1024
MAX_LONG_BODY_BYTES: Final = 960 * 1024
"""Of a transfer to thousands: as much as fits into a record of the engine's input."""
MAX_WAIT_S: Final = 30
BODY_S: Final = 10.0
MAX_PAGE: Final = 1_000
_DEFAULT_PAGE: Final = 50
_MAX_FAULTS: Final = 20
_MAX_TOLD: Final = 100

_key = re.compile(r"[\x21-\x7e]{1,200}")
_tenant = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_json_type = re.compile(r'application/json\s*(;\s*charset="?utf-8"?\s*)?', re.IGNORECASE)
_wait = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE)
_path = re.compile(r"`\$\.?(.*?)`$")

AnyRequest = Request[Any, Any, Any]
B = TypeVar("B")


class Caller(NamedTuple):
    """Who asks, and under which name this one request goes."""

    tenant: str
    key: str


def _values(request: AnyRequest, name: bytes) -> list[str]:
    return [v.decode("latin-1") for n, v in request.scope["headers"] if n == name]


def caller_of(request: AnyRequest) -> Caller:
    """Raises Problem when the key is missing or not usable, or the tenant is malformed."""
    keys = _values(request, b"idempotency-key")
    if len(keys) != 1 or not _key.fullmatch(keys[0]):
        if not keys:
            reason = "is required"
        elif len(keys) > 1:
            reason = "was sent more than once"
        else:
            reason = "must be 1 to 200 visible ASCII characters"
        raise Problem(
            "idempotency-key-missing",
            f"Idempotency-Key {reason}",
            faults=[Fault("Idempotency-Key", reason)],
        )
    tenants = _values(request, b"makegood-tenant") or ["default"]
    if len(tenants) > 1 or not _tenant.fullmatch(tenants[0]):
        reason = "must be one value of 1 to 64 letters, digits or _ . -"
        raise invalid([Fault("Makegood-Tenant", reason)])
    return Caller(tenants[0], keys[0])


def wait_preferred(request: AnyRequest) -> int | None:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most 30. None: none, or malformed.

    Of several the first counts, as the RFC says.
    """
    for value in _values(request, b"prefer"):
        for preference in value.split(","):
            found = _wait.fullmatch(preference.strip())
            if found is not None:
                return min(int(found[1]), MAX_WAIT_S)
    return None


async def strict_query(request: AnyRequest) -> None:
    """Refuses query parameters that the resource does not know or that come twice: a filter with a
    slip in its name would otherwise widen the answer, and nobody would see. Raises Problem.

    Pages for browsers take what they are given (`include_in_schema=False`).
    """
    handler = request.route_handler
    given = Counter(name for name, _ in request.query_params.multi_items())
    if not given or not handler.resolve_include_in_schema():
        return
    known = query_names(handler.operation_class)
    told = f"known are {', '.join(known)}" if known else "it has none"
    faults = [
        Fault(name[:_MAX_TOLD], f"is no query parameter of this resource; {told}")
        if name not in known
        else Fault(name, "was given more than once")
        for name, times in list(given.items())[:_MAX_FAULTS]
        if name not in known or times > 1
    ]
    if faults:
        raise invalid(faults)


def after_of(request: AnyRequest) -> Token | None:
    """The position of `?after=`. Raises Problem when it is none, or of no partition of a journal
    that the read model is folded from."""
    text = request.query_params.get("after")
    if text is None:
        return None
    try:
        token = parse(text)
    except PositionMalformed:
        reason = "must be a position as answers give it in as_of: topic/partition@offset"
        raise invalid([Fault("after", reason)]) from None
    journals: Mapping[str, int] = request.app.state.journals
    if token.place.topic not in journals:
        names = ", ".join(sorted(journals))
        raise invalid([Fault("after", f"must be a position of a journal, one of {names}")])
    count = journals[token.place.topic]
    if token.place.partition >= count:
        reason = f"{token.place.topic} has the partitions 0 to {count - 1}"
        raise invalid([Fault("after", reason)])
    return token


def choice_of(request: AnyRequest, name: str, choices: Sequence[str]) -> str | None:
    """The value of `?name=`, one of `choices`; None: not given. Raises Problem for another one."""
    value = request.query_params.get(name)
    if value is not None and value not in choices:
        raise invalid([Fault(name, f"must be one of {', '.join(choices)}")])
    return value


def limit_of(request: AnyRequest) -> int:
    """The page size of `?limit=`: 1 to 1000, 50 if not said. Raises Problem when it is none."""
    text = request.query_params.get("limit", str(_DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_PAGE):
        raise invalid([Fault("limit", f"must be 1 to {MAX_PAGE}")])
    return int(text)


def from_of(request: AnyRequest) -> int:
    """The journal offset of `?from=`, 0 if not said. Raises Problem when it is none."""
    return _offset("from", request.query_params.get("from", "0"), "the `next` of the page before")


def last_event_of(request: AnyRequest) -> int | None:
    """The journal offset of `Last-Event-ID`. Raises Problem when it is none."""
    name = "Last-Event-ID"
    text = request.headers.get(name)
    return None if text is None else _offset(name, text, "the id of the last event that was seen")


def _offset(place: str, text: str, meaning: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_OFFSET):
        raise invalid([Fault(place, f"must be {meaning}")])
    return int(text)


async def json_object(request: AnyRequest, *, optional: bool = False) -> dict[str, Any]:
    """The body's JSON object. `optional`: no body is an empty object.

    Raises Problem (400, 408, 415) and the framework's own 413.
    """
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.body()
    except TimeoutError:
        raise Problem("request-too-slow", f"no whole body within {BODY_S:.0f} s") from None
    if optional and not body:
        return {}
    kinds = _values(request, b"content-type")
    if len(kinds) != 1 or not _json_type.fullmatch(kinds[0].strip()):
        raise Problem("media-type-unsupported", "the body must be application/json in UTF-8")
    if any(v.lower() != "identity" for v in _values(request, b"content-encoding")):
        raise Problem("media-type-unsupported", "the body must not be compressed")
    try:
        if len(body) <= MAX_BODY_BYTES:
            found = _decoded(body)
        else:
            # Tens of ms: others need not wait for it.
            found = await asyncio.to_thread(_decoded, body)
    except RecursionError:
        raise _malformed("is nested too deeply") from None
    except _Repeated as repeated:
        raise _malformed(f"has the member {repeated.name[:64]!r} twice") from None
    except (msgspec.MsgspecError, ValueError):
        raise _malformed(
            "is not well-formed JSON in UTF-8, or a number in it is too large"
        ) from None
    if type(found) is not dict:
        raise _malformed("must be a JSON object")
    return cast("dict[str, Any]", found)


def _decoded(body: bytes) -> Any:
    found = msgspec.json.decode(body)
    # msgspec takes the last of two equal names, others the first: money needs one reading.
    _repeats.decode(body.decode())
    return found


def _malformed(reason: str) -> Problem:
    return Problem("malformed-request", f"the body {reason}", faults=[in_body("", reason)])


class _Repeated(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _Repeated(name)
        seen.add(name)


_repeats = json.JSONDecoder(object_pairs_hook=_once)


async def strict_body(request: AnyRequest, kind: type[B], *, optional: bool = False) -> B:
    """The body as a `kind`, nothing coerced. Raises Problem."""
    fields = await json_object(request, optional=optional)
    try:
        return msgspec.convert(fields, kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _path.search(text)
        reason = text.split(" - at ")[0]
        raise invalid([in_body(place[1] if place else "", reason)]) from None
