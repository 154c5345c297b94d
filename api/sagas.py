"""Sagas for operators: which there are and how they stand, the ways back for those that are parked,
and the signals that some wait for. What is asked here stands in the journal with who and why.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final, get_args

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from api.asking import AnyRequest, after_of, caller_of, choice_of, from_of, limit_of, strict_body
from api.description import asked, documented, looked_up, searched
from api.gateway import Gateway, Refused, SagaNews
from api.problems import Fault, Problem, invalid
from api.schemas import (
    ActivityView,
    LegsPage,
    MinuteView,
    RecoveryBody,
    RecoveryView,
    SagaCounts,
    SagaCountView,
    SagaPage,
    SagaView,
    SignalBody,
    SignalView,
    Timeline,
)
from api.views import (
    SAGA_ID,
    caught_up,
    check_saga_id,
    legs_page,
    no_store,
    rfc3339,
    rfc3339_ms,
    saga_view,
    timeline_view,
    transfer_view,
    unknown_saga,
)
from messages.identity import request_effect_id
from messages.saga import RecoverSaga, RecoveryAction, SagaState, SignalSaga
from orchestrator.progress import StepState
from read_model import activity, position, queries, timeline
from read_model.queries import SagaFilter

_FILTERS: Final = ("state", "definition", "reason", "account", "id")
_signal = re.compile(r"[a-z][a-z0-9_]{0,39}")
_text = re.compile(r"[\x20-\x7e]{1,100}")
_ERRORS: Final = (400, 408, 409, 413, 415, 422, 429, 500, 503)


@get(
    "/sagas",
    operation_class=searched(*_FILTERS, "limit", "before"),
    responses=documented({200: SagaPage}, 400, 500, 503),
)
async def list_sagas(request: AnyRequest, state: State) -> Response[SagaPage]:
    """Sagas that match, the newest first; `id`: what it begins with; `limit` at most 1000 (50 if
    not said)."""
    which, limit, before = _filter(request), limit_of(request), _before(request)
    rows = await queries.list_sagas(state.engine, which, limit, before)
    last = rows[-1] if len(rows) == limit else None
    page = SagaPage(
        sagas=[transfer_view(row) for row in rows],
        next=None if last is None else f"{last.started_at.isoformat()}~{last.saga_id}",
    )
    return Response(page, headers=no_store)


@get(
    "/sagas/counts",
    operation_class=searched(*_FILTERS),
    responses=documented({200: SagaCounts}, 400, 500, 503),
)
async def count_sagas(request: AnyRequest, state: State) -> Response[SagaCounts]:
    """How many sagas match, by state, definition and reason. Without a filter the answer may be
    some seconds old: `at` says when they were counted."""
    which, kept = _filter(request), state.kept_counts
    if which == SagaFilter():
        return Response(await kept.get(lambda: _counted(state, which)), headers=no_store)
    return Response(await _counted(state, which), headers=no_store)


async def _counted(state: State, which: SagaFilter) -> SagaCounts:
    at = rfc3339_ms(state.clock.now_ms())
    counts = await queries.count_sagas(state.engine, which)
    views = [
        SagaCountView(state=c.state, definition=c.definition, reason=c.reason, count=c.count)
        for c in counts
    ]
    return SagaCounts(at=at, counts=views)


@get("/sagas/activity", responses=documented({200: ActivityView}, 500, 503))
async def saga_activity(state: State) -> Response[ActivityView]:
    """How many sagas were started in the last minutes, and how long they took."""
    return Response(await state.kept_activity.get(lambda: _active(state)), headers=no_store)


async def _active(state: State) -> ActivityView:
    now = datetime.fromtimestamp(state.clock.now_ms() / 1_000, UTC)
    found = await activity.activity(state.engine, now)
    return ActivityView(
        at=rfc3339(now),
        minutes=[
            MinuteView(
                at=rfc3339(minute.at),
                started=minute.started,
                completed=minute.completed,
                compensated=minute.compensated,
            )
            for minute in found.minutes
        ],
        sample=found.sample,
        p50_ms=found.p50_ms,
        p95_ms=found.p95_ms,
        p99_ms=found.p99_ms,
    )


@get(
    "/sagas/{saga_id:str}",
    operation_class=looked_up(),
    responses=documented({200: SagaView}, 400, 404, 500, 503),
)
async def get_saga(request: AnyRequest, saga_id: FromPath[str], state: State) -> Response[SagaView]:
    """A saga with its steps, as the read model knows it; with `after` as it is at that position or
    later."""
    after = after_of(request)
    check_saga_id(saga_id)
    reached = await caught_up(state.engine, after)
    found = await timeline.folded(state.engine, saga_id)
    if found is None:
        raise unknown_saga(saga_id, reached=reached)
    return Response(saga_view(found), headers=no_store)


@get(
    "/sagas/{saga_id:str}/timeline",
    operation_class=looked_up("from", "limit"),
    responses=documented({200: Timeline}, 400, 404, 500, 503),
)
async def get_timeline(
    request: AnyRequest, saga_id: FromPath[str], state: State
) -> Response[Timeline]:
    """All that has happened to a saga, the oldest first, from journal offset `from` on; `limit` at
    most 1000 (50 if not said)."""
    after, limit, first = after_of(request), limit_of(request), from_of(request)
    check_saga_id(saga_id)
    reached = await caught_up(state.engine, after)
    page = await timeline.page(state.engine, saga_id, first=first, limit=limit)
    if page is None:
        raise unknown_saga(saga_id, reached=reached)
    return Response(timeline_view(page), headers=no_store)


@get(
    "/sagas/{saga_id:str}/legs",
    operation_class=looked_up("step", "state", "from", "limit"),
    responses=documented({200: LegsPage}, 400, 404, 500, 503),
)
async def get_legs(request: AnyRequest, saga_id: FromPath[str], state: State) -> Response[LegsPage]:
    """The legs of one `step`, by number, from number `from` on; only those in `state`, if it is
    given; `limit` at most 1000 (50 if not said)."""
    after, limit, first = after_of(request), limit_of(request), from_of(request)
    step = request.query_params.get("step", "")
    wanted = choice_of(request, "state", get_args(StepState)) or ""
    check_saga_id(saga_id)
    reached = await caught_up(state.engine, after)
    found = await timeline.folded(state.engine, saga_id)
    if found is None:
        raise unknown_saga(saga_id, reached=reached)
    if step not in found.saga.legs:
        raise invalid([Fault("step", "must be a step that is done leg by leg")])
    return Response(legs_page(found, step, wanted, first, limit), headers=no_store)


@post(
    "/sagas/{saga_id:str}/retry",
    status_code=200,
    operation_class=asked(RecoveryBody),
    responses=documented({200: RecoveryView}, *_ERRORS),
)
async def retry_saga(
    request: AnyRequest, saga_id: FromPath[str], state: State
) -> Response[RecoveryView]:
    """Ask once more for the step that the saga is parked for, under the same effect id."""
    return await _recover(request, saga_id, state, "retry")


@post(
    "/sagas/{saga_id:str}/compensate",
    status_code=200,
    operation_class=asked(RecoveryBody),
    responses=documented({200: RecoveryView}, *_ERRORS),
)
async def compensate_saga(
    request: AnyRequest, saga_id: FromPath[str], state: State
) -> Response[RecoveryView]:
    """Take the saga back, or replay the compensations that have failed."""
    return await _recover(request, saga_id, state, "compensate")


@post(
    "/sagas/{saga_id:str}/cancel",
    status_code=200,
    operation_class=asked(RecoveryBody),
    responses=documented({200: RecoveryView}, *_ERRORS),
)
async def cancel_saga(
    request: AnyRequest, saga_id: FromPath[str], state: State
) -> Response[RecoveryView]:
    """Take the saga back because nobody wants it any more; possible up to its pivot."""
    return await _recover(request, saga_id, state, "cancel")


@post(
    "/sagas/{saga_id:str}/signals/{signal:str}",
    status_code=200,
    operation_class=asked(SignalBody),
    responses=documented({200: SignalView}, *_ERRORS),
)
async def signal_saga(
    request: AnyRequest, saga_id: FromPath[str], signal: FromPath[str], state: State
) -> Response[SignalView]:
    """Approve or reject the step that waits for this signal; the first one decides.

    409 `not_waiting`: the step waits no more, or not yet; then ask again later. 409 `same_person`:
    another person than the one who started it has to approve.
    """
    caller = caller_of(request)
    body = await strict_body(request, SignalBody)
    if not SAGA_ID.fullmatch(saga_id):
        raise Problem("signal-refused", "there is no such saga", reason="saga_unknown")
    if not _signal.fullmatch(signal):
        detail = "no step waits for this signal"
        raise Problem("signal-refused", detail, reason="signal_unknown")
    gateway: Gateway = state.gateway
    news = await gateway.signal(
        SignalSaga(
            saga_id=saga_id,
            signal=signal,
            request_id=request_effect_id(caller.tenant, f"signal {signal} {caller.key}", saga_id),
            verdict=body.verdict,
            who=body.who,
            why=body.why,
            payload=body.payload,
        )
    )
    if isinstance(news, Refused):
        raise _problem("signal-refused", news)
    view = SignalView(
        id=saga_id,
        signal=signal,
        state=news.state,
        reason=news.reason,
        as_of=position.format(news.place, news.next_offset),
    )
    return Response(view, headers=_headers(news))


async def _recover(
    request: AnyRequest, saga_id: str, state: State, action: RecoveryAction
) -> Response[RecoveryView]:
    caller = caller_of(request)
    body = await strict_body(request, RecoveryBody)
    if not SAGA_ID.fullmatch(saga_id):
        raise Problem("recovery-refused", "there is no such saga", reason="saga_unknown")
    gateway: Gateway = state.gateway
    news = await gateway.recover(
        RecoverSaga(
            saga_id=saga_id,
            request_id=request_effect_id(caller.tenant, f"{action} {caller.key}", saga_id),
            action=action,
            who=body.who,
            why=body.why,
        )
    )
    if isinstance(news, Refused):
        raise _problem("recovery-refused", news)
    view = RecoveryView(
        id=saga_id,
        action=action,
        state=news.state,
        reason=news.reason,
        as_of=position.format(news.place, news.next_offset),
    )
    return Response(view, headers=_headers(news))


def _problem(kind: str, refused: Refused) -> Problem:
    reused = refused.reason == "request_reused"
    kind = "idempotency-key-reused" if reused else kind
    return Problem(kind, refused.detail, reason=refused.reason)


def _headers(news: SagaNews) -> dict[str, str]:
    return {**no_store, "Idempotency-Replayed": "true"} if news.repeated else no_store


def _filter(request: AnyRequest) -> SagaFilter:
    choice_of(request, "state", get_args(SagaState))
    given: dict[str, Any] = {}
    for name in _FILTERS:
        value = request.query_params.get(name)
        if value is None:
            continue
        if not _text.fullmatch(value):
            raise invalid([Fault(name, "must be 1 to 100 printable ASCII characters")])
        given[name] = value
    return SagaFilter(**given)


def _before(request: AnyRequest) -> tuple[datetime, str] | None:
    text = request.query_params.get("before")
    if text is None:
        return None
    at, _, saga_id = text.partition("~")
    try:
        # A plus sign that was not escaped arrives as a space.
        moment = datetime.fromisoformat(at.replace(" ", "+"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not SAGA_ID.fullmatch(saga_id):
        raise invalid([Fault("before", "must be the `next` of the page before")])
    return moment, saga_id
