"""Transfers: start one, wait for its end, look at one."""

import re
import uuid
from typing import Any, Final

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from api import reversals
from api.asking import (
    MAX_BODY_BYTES,
    MAX_LONG_BODY_BYTES,
    AnyRequest,
    after_of,
    caller_of,
    json_object,
    wait_preferred,
)
from api.description import asked, documented, looked_up
from api.gateway import Gateway, Refused, SagaNews
from api.problems import Problem, in_body, invalid
from api.schemas import TransferBody, TransferStarted, TransferView
from api.views import caught_up, no_store, transfer_view, unknown
from journal.clock import Clock
from messages.identity import fingerprint, saga_id
from messages.saga import StartSaga
from read_model import position, queries
from saga_definitions.registry import Registry

DEFAULT_DEFINITION: Final = "transfer"
_id = re.compile(r"[0-9a-f]{32}")

_REFUSALS: Final = {
    "idempotency_key_reused": "idempotency-key-reused",
    "definition_unknown": "definition-unknown",
    "params_invalid": "invalid-request",
    "request_expired": "clocks-apart",
    "clock_ahead": "clocks-apart",
    "participant_busy": "too-many-requests",
}


@post(
    "/transfers",
    status_code=202,
    request_max_body_size=MAX_LONG_BODY_BYTES,
    operation_class=asked(TransferBody, prefers=True, reads=True),
    responses=documented(
        {200: TransferStarted, 202: TransferStarted},
        *(400, 404, 408, 409, 413, 415, 422, 429, 500, 503),
    ),
)
async def start_transfer(request: AnyRequest, state: State) -> Response[TransferStarted]:
    """Start a transfer, or hear how the one of this Idempotency-Key stands.

    202: it runs; look at Location. With `Prefer: wait=N` (seconds, at most 30) 200 tells the end:
    completed, compensated (nothing moved, `reason` says why) or parked (a person looks at it).
    A transfer that waits for a person or a time is told at once: 202, running, `waiting`.
    A `reversal` takes the `original`'s id and, unless it is all of it, `amount_minor`; with `after`
    it is looked up as it is at that position or later (503 as long as that can't be seen).
    """
    caller = caller_of(request)
    params = await json_object(request)
    definition = params.pop("definition", DEFAULT_DEFINITION)
    definitions: Registry = state.definitions
    after = after_of(request)
    if definition == reversals.NAME:
        reached = await caught_up(state.engine, after)
        params = await reversals.filled_in(state.engine, caller.tenant, params, reached=reached)
    _check(definitions, definition, params, len(await request.body()))
    clock: Clock = state.clock
    gateway: Gateway = state.gateway
    wait_s = wait_preferred(request)
    command = StartSaga(
        saga_id=saga_id(caller.tenant, caller.key),
        tenant=caller.tenant,
        definition=definition,
        params=params,
        fingerprint=fingerprint(definition, params),
        request_id=uuid.uuid4().hex,
        issued_at_ms=clock.now_ms(),
    )
    news = await gateway.start(command, wait_s)
    if isinstance(news, Refused):
        kind = _REFUSALS.get(news.reason, "request-refused")
        raise Problem(kind, news.detail, reason=news.reason)
    return _started(command, news, wait_s)


def _check(definitions: Registry, definition: Any, params: dict[str, Any], size: int) -> None:
    """What can be seen to be wrong without the engine. `size`: of the body. Raises Problem."""
    if type(definition) is not str:
        raise invalid([in_body("definition", "must be the name of a definition")])
    known = definitions.latest(definition)
    if known is None:
        names = ", ".join(definitions.names())
        detail = f"definition: must be one of {names}"
        raise Problem("definition-unknown", detail, faults=[in_body("definition", detail)])
    if size > MAX_BODY_BYTES and not known.is_long:
        raise Problem("body-too-large", f"a {definition} has at most {MAX_BODY_BYTES} bytes")
    faults = known.check_params(params)
    if faults:
        raise invalid([in_body(place, reason) for place, reason in faults])


def _started(command: StartSaga, news: SagaNews, wait_s: int | None) -> Response[TransferStarted]:
    as_of = position.format(news.place, news.next_offset)
    headers = {**no_store, "Location": f"/transfers/{command.saga_id}?after={as_of}"}
    if news.repeated:
        headers["Idempotency-Replayed"] = "true"
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s}"
    return Response(
        TransferStarted(
            id=command.saga_id,
            definition=command.definition,
            state=news.state,
            reason=news.reason,
            as_of=as_of,
        ),
        status_code=200 if wait_s is not None and news.ended else 202,
        headers=headers,
    )


@get(
    "/transfers/{transfer_id:str}",
    operation_class=looked_up(),
    responses=documented({200: TransferView}, 400, 404, 500, 503),
)
async def get_transfer(
    request: AnyRequest, transfer_id: FromPath[str], state: State
) -> Response[TransferView]:
    """A transfer as the read model knows it; with `after` as it is at that position or later."""
    after = after_of(request)
    if not _id.fullmatch(transfer_id):
        raise Problem("transfer-unknown", "a transfer's id is 32 hex digits")
    reached = await caught_up(state.engine, after)
    row = await queries.saga(state.engine, transfer_id)
    if row is None:
        raise unknown("transfer-unknown", "there is no such transfer", reached=reached)
    return Response(transfer_view(row), headers=no_store)
