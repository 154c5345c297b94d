"""Every error that leaves the API: RFC 9457 problem details, one kind per thing that can go wrong.

A problem says what happened, to what, and what to do about it. It never tells a traceback, a path
of a file or the text of an exception; those stay in the log, found by the problem's `reference`.
"""

import traceback
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from api.problem_kinds import KINDS
from read_model.database import passes

log_event = structlog.get_logger("api")

MEDIA_TYPE: Final = "application/problem+json"

_BY_STATUS: Final = {
    400: "malformed-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
}


class Fault(NamedTuple):
    """One thing that is wrong: `place` is a member of the body, a header or a query parameter.

    `pointer` is its JSON pointer as a URI fragment (RFC 6901), empty outside of the body.
    """

    place: str
    reason: str
    pointer: str = ""


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """RFC 9457 problem details. `reason` is the refusal's machine-readable name, if somebody
    refused; `errors` lists every place that is wrong with the request."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    remedy: str
    reason: str = ""
    reference: str = ""
    errors: list[dict[str, str]] = []


class Problem(Exception):
    """Answers the request with problem details of the `kind`, one of `problem_kinds.KINDS`."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        reason: str = "",
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        reference: str = "",
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.reason = reason
        self.faults = faults
        self.headers = headers
        self.reference = reference

    def body(self, instance: str) -> ProblemBody:
        """`instance` is the path of the request, without its query."""
        kind = KINDS[self.kind]
        return ProblemBody(
            type=f"/problems/{self.kind}",
            title=kind.title,
            status=kind.status,
            detail=self.detail,
            instance=instance,
            remedy=kind.remedy,
            reason=self.reason,
            reference=self.reference,
            errors=[_error(fault) for fault in self.faults],
        )


def _error(fault: Fault) -> dict[str, str]:
    error = {"place": fault.place, "reason": fault.reason}
    if fault.pointer:
        error["pointer"] = fault.pointer
    return error


def in_body(place: str, reason: str) -> Fault:
    """A fault in the member `place` of the body; empty for the body as a whole."""
    escaped = place.replace("~", "~0").replace("/", "~1")
    return Fault(place or "body", reason, f"#/{escaped}" if place else "#")


def invalid(faults: Sequence[Fault]) -> Problem:
    """What was asked for is not well formed: 400, with every place and reason."""
    detail = "; ".join(f"{fault.place}: {fault.reason}" for fault in faults)
    return Problem("invalid-request", detail, faults=faults)


def respond(request: Request[Any, Any, Any], problem: Problem) -> Response[ProblemBody]:
    kind = KINDS[problem.kind]
    headers = {"Cache-Control": "no-store", **(problem.headers or {})}
    if kind.retry_after_s and "Retry-After" not in headers:
        headers["Retry-After"] = str(kind.retry_after_s)
    return Response(
        problem.body(request.scope["path"]),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def on_http_exception(
    request: Request[Any, Any, Any], error: HTTPException
) -> Response[ProblemBody]:
    """What the framework refuses by itself: unknown routes and methods, bodies too large."""
    kind = _BY_STATUS.get(error.status_code)
    if kind is None:
        if error.status_code >= 500:
            return on_bug(request, error)
        kind = "malformed-request"
    headers: dict[str, str] = {}
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return respond(request, Problem(kind, KINDS[kind].meaning, headers=headers))


def _methods(request: Request[Any, Any, Any]) -> list[str]:
    """What is allowed where something else was asked for (RFC 9110 demands the header)."""
    allowed: list[str] = []
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        try:
            request.app.asgi_router.handle_routing(path=request.scope["path"], method=method)
        except HTTPException:
            continue
        allowed.append(method)
    return allowed


def on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemBody]:
    """What nobody expected; or the read model being away, which passes by itself."""
    if passes(error):
        log_event.warning("read_model_away", error=type(error).__name__)
        return respond(request, Problem("read-model-away", KINDS["read-model-away"].meaning))
    reference = uuid.uuid4().hex
    # The exception's own text may hold a caller's data: only its type and its way are logged.
    log_event.error(
        "request_failed",
        reference=reference,
        method=request.scope["method"],
        route=str(request.scope.get("path_template", "")),  # pyright: ignore[reportUnknownMemberType]
        error=type(error).__name__,
        way=[f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)],
    )
    detail = "The server failed; it has logged this under the reference."
    return respond(request, Problem("internal-error", detail, reference=reference))


def on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[ProblemBody]:
    return respond(request, error)
