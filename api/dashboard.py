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
_TYPES: Final = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


class _Part(NamedTuple):
    content: bytes
    media_type: str
    etag: str


def _load() -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    for file in (files("api") / "pages").iterdir():
        content = file.read_bytes()
        kind = _TYPES[file.name.rpartition(".")[2]]
        parts[file.name] = _Part(content, kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return parts


_PARTS: Final = _load()


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
