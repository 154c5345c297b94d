"""How the API describes itself: what OpenAPI can't see in a handler that reads its request itself,
and pages that need nothing from elsewhere (no CDN, no script)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, cast

import msgspec
from litestar import MediaType, Request, Response, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.params import FromPath

from api.problem_kinds import KINDS
from api.problems import MEDIA_TYPE, Problem, ProblemBody
from api.streams import MEDIA_TYPE as STREAM_TYPE

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}

_KEY: Final = Parameter(
    name="Idempotency-Key",
    param_in="header",
    required=True,
    description="Names this one request: 1 to 200 visible ASCII characters, taken as they are. "
    "The same key with the same body gets the same answer, with another body 422.",
    schema=Schema(type=OpenAPIType.STRING, pattern="^[!-~]{1,200}$"),
)
_TENANT: Final = Parameter(
    name="Makegood-Tenant",
    param_in="header",
    description="Whose keys these are.",
    schema=Schema(
        type=OpenAPIType.STRING, default="default", pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
    ),
)
_PREFER: Final = Parameter(
    name="Prefer",
    param_in="header",
    description="wait=N (RFC 7240): answer when the transfer has ended, after N seconds at most; "
    "N is capped at 30. What is no such preference is ignored; Preference-Applied in the "
    "answer says what was heeded.",
    schema=Schema(type=OpenAPIType.STRING, examples=["wait=5"]),
)
_AFTER: Final = Parameter(
    name="after",
    param_in="query",
    description="A position from as_of: answer with at least what was known there. Waits up to "
    "2 s for it, then answers with what is there.",
    schema=Schema(type=OpenAPIType.STRING, examples=["orchestrator.journal/3@1234"]),
)

_LAST_EVENT: Final = Parameter(
    name="Last-Event-ID",
    param_in="header",
    description="The id of the last event that was seen; browsers send it by themselves.",
    schema=Schema(type=OpenAPIType.STRING, pattern="^[0-9]+$"),
)

EVENT_STREAM: Final = ResponseSpec(
    str, generate_examples=False, media_type=STREAM_TYPE, description="Events as they come."
)


def asked(
    body: type[msgspec.Struct] | None = None,
    *,
    prefers: bool = False,
    reads: bool = False,
    body_required: bool = True,
) -> type[Operation]:
    """The operation of a handler that changes something; `reads`: and looks something up for it."""
    extra = [_KEY, _TENANT, *([_PREFER] if prefers else []), *([_AFTER] if reads else [])]
    wanted = None if body is None else RequestBody(_content(body), required=body_required)
    return _operation(extra, wanted)


def looked_up(*more: str, resumable: bool = False) -> type[Operation]:
    """The operation of a handler that answers from the read model; `more`: query parameters;
    `resumable`: with events."""
    return _operation([_AFTER, *_in_query(more), *([_LAST_EVENT] if resumable else [])], None)


def searched(*filters: str) -> type[Operation]:
    """The operation of a handler that lists; `filters` are its query parameters."""
    return _operation(_in_query(filters), None)


def query_names(operation: type[Operation]) -> tuple[str, ...]:
    """The query parameters of an operation as the functions above make them."""
    found: Sequence[Parameter] = getattr(operation, "extra", ())
    return tuple(parameter.name for parameter in found if parameter.param_in == "query")


def _in_query(names: Sequence[str]) -> list[Parameter]:
    schema = Schema(type=OpenAPIType.STRING)
    return [Parameter(name=name, param_in="query", schema=schema) for name in names]


def _operation(described: list[Parameter], body: RequestBody | None) -> type[Operation]:
    @dataclass
    class Described(Operation):
        # Without an annotation: of the class, not a field of what is written.
        extra = described

        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *described]
            self.request_body = body

    return Described


def _content(body: type[msgspec.Struct]) -> dict[str, OpenAPIMediaType]:
    _, found = msgspec.json.schema_components([body], ref_template="#/components/schemas/{name}")
    # A plain dict goes through Litestar's serialisation as it is.
    schema = cast("Schema", found[body.__name__])
    return {"application/json": OpenAPIMediaType(schema=schema)}


def documented(good: Mapping[int, Any], *problems: int) -> dict[int, ResponseSpec]:
    """Responses by status: the good ones with their content, then problem details."""
    specs = {
        status: ResponseSpec(content, generate_examples=False, description="Done.")
        for status, content in good.items()
    }
    for status in problems:
        kinds = ", ".join(name for name, kind in KINDS.items() if kind.status == status)
        specs[status] = ResponseSpec(
            ProblemBody, generate_examples=False, media_type=MEDIA_TYPE, description=kinds
        )
    return specs


class _OperationsPage(OpenAPIRenderPlugin):
    """A list of the operations in plain HTML."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        rows: list[str] = []
        for path, item in openapi_schema["paths"].items():
            for method, operation in item.items():
                answers = " ".join(sorted(operation["responses"]))
                rows.append(
                    f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
                    f"<p>{escape(operation.get('description') or '')}</p>"
                    f"<p>Headers and query: {escape(_names(operation))}</p>"
                    f"{_example(operation)}<p>Answers: {escape(answers)}</p>"
                )
        kinds = "".join(
            f"<li>{kind.status} <a href='/problems/{name}'>{name}</a>: {escape(kind.title)}</li>"
            for name, kind in sorted(KINDS.items(), key=lambda entry: entry[1].status)
        )
        return _page(
            "Makegood API",
            "<p>The whole description: <a href='/openapi.json'>openapi.json</a></p>"
            f"{''.join(rows)}<h2>Problems</h2><ul>{kinds}</ul>",
        )


def _names(operation: Mapping[str, Any]) -> str:
    return ", ".join(p["name"] for p in operation.get("parameters", ())) or "none"


def _example(operation: Mapping[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    needed = schema.get("required", ())
    rows = "".join(
        f"<li><code>{escape(name)}</code>{'' if name in needed else ' (optional)'}</li>"
        for name in schema["properties"]
    )
    return f"<p>Body:</p><ul>{rows}</ul>"


def _page(title: str, content: str) -> bytes:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{escape(title)}</title><style>body{{font:16px/1.5 system-ui;max-width:50rem;"
        "margin:2rem auto;padding:0 1rem}h2{font-size:1rem;margin-top:2rem}</style>"
        f"<h1>{escape(title)}</h1>{content}</html>"
    ).encode()


@get("/problems/{kind:str}", media_type=MediaType.HTML, include_in_schema=False)
async def explain_problem(kind: FromPath[str]) -> Response[bytes]:
    """What a problem's `type` leads to."""
    found = KINDS.get(kind)
    if found is None:
        raise Problem("not-found", KINDS["not-found"].meaning)
    content = f"<p>Status {found.status}</p><p>{escape(found.meaning)}</p><p>{escape(found.remedy)}"
    return Response(_page(found.title, content), media_type=MediaType.HTML, headers=_PAGE_HEADERS)


@get("/openapi.json", include_in_schema=False)
async def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The whole description."""
    return request.app.openapi_schema.to_schema()


def _no_page(response: Response[Any]) -> Response[Any]:
    # The framework's own page for unknown paths under /docs is no problem document.
    if response.status_code == 404:
        raise Problem("not-found", KINDS["not-found"].meaning)
    return response


def description() -> OpenAPIConfig:
    """The description at /docs for people, at /openapi.json for programs."""
    return OpenAPIConfig(
        title="Makegood",
        version="1",
        description="A bank's transfer service. Every error is problem details (RFC 9457).",
        use_handler_docstrings=True,
        render_plugins=[_OperationsPage()],
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            include_in_schema=False,
            after_request=_no_page,
            response_headers=_PAGE_HEADERS,
        ),
    )
