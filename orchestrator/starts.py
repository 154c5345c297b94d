"""How a saga begins: whether what is asked for can be, and whether it has begun before. Pure."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from messages.identity import fingerprint
from messages.saga import SagaEvent, SagaStarted, StartRefused, StartRepeated, StartSaga
from orchestrator.course import Draft, advance
from orchestrator.progress import Finished, Saga, foresee
from orchestrator.repetition import repeated
from saga_definitions.dsl import Definition
from saga_definitions.registry import Registry

MEMORY_HORIZON_MS: Final = 8 * 24 * 3_600 * 1_000
"""How long a finished saga is remembered: 8 days, a day longer than accounts remember effects, so
that a saga that begins anew under its name finds none of the old effects."""

MAX_SKEW_MS: Final = 5 * 60 * 1_000
"""How far a caller's clock may be ahead of ours."""

Refusal = tuple[str, str]
"""Reason and detail."""


class Conditions(NamedTuple):
    """What else decides whether a saga begins. `unanswered`: as in `orchestrator.saga.decide`."""

    definitions: Registry
    memory_horizon_ms: int
    unanswered: Callable[[str], int]


def start(
    saga: Saga | Finished | None, message: StartSaga, now_ms: int, conditions: Conditions
) -> list[SagaEvent]:
    """The events that follow from a caller's request: at least one."""

    def refused(reason: str, detail: str) -> list[SagaEvent]:
        return [
            StartRefused(
                saga_id=message.saga_id,
                at_ms=now_ms,
                request_id=message.request_id,
                reason=reason,
                detail=detail,
            )
        ]

    if saga is not None:
        if saga.fingerprint != digest(message.definition, message.params):
            return refused("idempotency_key_reused", "this key was used with another body")
        return [repeated(StartRepeated, saga, message, now_ms)]
    if is_ahead(message.issued_at_ms, now_ms):
        return refused("clock_ahead", "issued in the future: a sender's clock is wrong")
    if is_expired(message.issued_at_ms, now_ms, conditions.memory_horizon_ms):
        return refused("request_expired", "asked for too long ago to tell whether it was done")
    definition = conditions.definitions.latest(message.definition)
    if definition is None:
        return refused("definition_unknown", f"no definition {message.definition[:64]!r}")
    refusal = refusal_of(definition, message.params, conditions)
    if refusal is not None:
        return refused(*refusal)
    return begin(
        SagaStarted(
            saga_id=message.saga_id,
            at_ms=now_ms,
            tenant=message.tenant,
            params=definition.complete(message.params, now_ms),
            # Of what was asked for alone: asked again, it is the same whatever is found by then.
            fingerprint=digest(message.definition, message.params),
            request_id=message.request_id,
            plan=definition.plan,
        )
    )


def is_ahead(issued_at_ms: int, now_ms: int) -> bool:
    return issued_at_ms > now_ms + MAX_SKEW_MS


def is_expired(issued_at_ms: int, now_ms: int, memory_horizon_ms: int) -> bool:
    """Whether what was asked for then may have finished and been forgotten: starting it again could
    pay twice. It ended after issued_at_ms - MAX_SKEW_MS, and is remembered from its end on."""
    return issued_at_ms + memory_horizon_ms - MAX_SKEW_MS <= now_ms


def refusal_of(
    definition: Definition, params: dict[str, Any], conditions: Conditions
) -> Refusal | None:
    """Why a saga of the definition must not begin with these parameters, or not now."""
    problems = definition.check_params(params)
    if problems:
        return "params_invalid", "; ".join(f"{place}: {reason}" for place, reason in problems)
    for participant in definition.participants:
        waiting = conditions.unanswered(participant.topic) if participant.max_unanswered else 0
        if 0 < participant.max_unanswered <= waiting:
            detail = f"{waiting} sagas wait for {participant.name} already; try again later"
            return "participant_busy", detail
    return None


def begin(started: SagaStarted) -> list[SagaEvent]:
    """The start and what follows from it at once."""
    fresh = foresee(None, started)
    assert fresh is not None
    draft = Draft(fresh, started.at_ms, [started])
    advance(draft)
    return draft.events


def digest(definition: str, params: dict[str, Any]) -> str:
    """The digest of what is asked for; empty, which equals no saga's, when it can't be encoded.

    Computed here, not taken from the message: it costs 1 us and nobody has to be trusted.
    """
    try:
        return fingerprint(definition, params)
    except (RecursionError, ValueError, TypeError):
        # Nested as deep as the decoder allows, or text that is no Unicode: never good params.
        return ""
