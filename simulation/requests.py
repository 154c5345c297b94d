"""Requests to start sagas, as callers put them together."""

from random import Random
from typing import Any, Final

from messages.identity import fingerprint, saga_id
from messages.saga import StartSaga
from saga_definitions.reversal import REVERSAL
from simulation.weather import simulated_ms

TENANT: Final = "sim"
CURRENCIES: Final = ("EUR", "USD")


def start(key: str, definition: str, params: dict[str, object]) -> StartSaga:
    return StartSaga(
        saga_id=saga_id(TENANT, key),
        tenant=TENANT,
        definition=definition,
        params=params,
        fingerprint=fingerprint(definition, params),
        request_id="",
        issued_at_ms=simulated_ms(),
    )


def with_another_body(request: StartSaga) -> StartSaga:
    other = CURRENCIES[request.params["currency"] == CURRENCIES[0]]
    params = {**request.params, "currency": other}
    return StartSaga(
        saga_id=request.saga_id,
        tenant=request.tenant,
        definition=request.definition,
        params=params,
        fingerprint=fingerprint(request.definition, params),
        request_id="",
        issued_at_ms=request.issued_at_ms,
    )


def reversal(rng: Random, key: str, original: StartSaga) -> tuple[str, StartSaga]:
    """Give all of `original` back, a part of it, or more than it was; and which of these it is."""
    whole: Any = original.params["amount_minor"]
    kind = rng.choice(("whole", "whole", "part", "part", "part", "more"))
    amount = {"whole": whole, "part": rng.randint(1, whole), "more": whole + 1}[kind]
    params: dict[str, object] = {
        "original": original.saga_id,
        "source": original.params["target"],
        "target": original.params["source"],
        "amount_minor": amount,
        "total_minor": whole,
        "currency": original.params["currency"],
    }
    return kind, start(key, REVERSAL.name, params)
