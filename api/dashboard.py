"""The dashboard: one page for operators, served as it is; what it shows it asks the API for.

No build step and nothing from elsewhere. The policy lets no script run but the page's own file and
turns no text into HTML (Trusted Types), so what strangers wrote into their transfers stays text.
"""

import hashlib
from importlib.resources import files
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get
from litestar.params import FromPath
from litestar.response import Redirect

from api.problem_kinds import KINDS
from api.problems import Problem
from messages.money import MINOR_DIGITS
from messages.wire import encode

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked for each time and answered with 304: a new release shows at once.
    "Cache-Control": "no-cache",
}
_TYPES: Final = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
}


class _Part(NamedTuple):
    content: bytes
    media_type: str
    etag: str


def _part(name: str, content: bytes) -> _Part:
    digest = hashlib.sha256(content).hexdigest()[:16]
    return _Part(content, _TYPES[name.rpartition(".")[2]], f'"{digest}"')


_PARTS: Final = {
    **{
        file.name: _part(file.name, file.read_bytes())
        for file in (files("api") / "pages").iterdir()
    },
    "currencies.json": _part("currencies.json", encode(MINOR_DIGITS)),
}


@get("/", include_in_schema=False)
async def home() -> Redirect:
    """Where a browser that knows no path finds something."""
    return Redirect("/dashboard")


@get("/dashboard", include_in_schema=False)
async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    return _answer(request, "dashboard.html")


@get("/dashboard/{name:str}", include_in_schema=False)
async def part(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    return _answer(request, name)


def _answer(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    found = _PARTS.get(name)
    if found is None:
        raise Problem("not-found", KINDS["not-found"].meaning)
    headers = {**_HEADERS, "ETag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(b"", status_code=304, media_type=found.media_type, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
