"""What the gateway can run into, as problems: each of them may be tried again."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from litestar import Request, Response

from api.follower import NotFollowing
from api.gateway import NoAnswer
from api.problem_kinds import KINDS
from api.problems import Problem, ProblemBody, respond
from journal.requests import RequestInDoubt, TooManyRequests

Handler = Callable[[Request[Any, Any, Any], Any], Response[ProblemBody]]

_AGAIN: Final = "Repeating it with the same Idempotency-Key is safe: nothing is done twice."


def _no_answer(request: Request[Any, Any, Any], error: NoAnswer) -> Response[ProblemBody]:
    detail = (
        f"No answer within {error.waited_s:.0f} s. The request may have been carried out, or may "
        f"still be. {_AGAIN}"
    )
    return respond(request, Problem("no-answer", detail))


def _in_doubt(request: Request[Any, Any, Any], error: RequestInDoubt) -> Response[ProblemBody]:
    detail = f"It is not known whether the request was taken. {_AGAIN}"
    return respond(request, Problem("no-answer", detail))


def _not_following(request: Request[Any, Any, Any], error: NotFollowing) -> Response[ProblemBody]:
    return respond(request, Problem("not-ready", KINDS["not-ready"].meaning))


def _too_many(request: Request[Any, Any, Any], error: TooManyRequests) -> Response[ProblemBody]:
    return respond(request, Problem("too-many-requests", KINDS["too-many-requests"].meaning))


TROUBLES: Final[Mapping[type[Exception], Handler]] = {
    NoAnswer: _no_answer,
    RequestInDoubt: _in_doubt,
    NotFollowing: _not_following,
    TooManyRequests: _too_many,
}
