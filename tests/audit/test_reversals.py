"""What the audit makes of claims and of reversals: each lie is named with its place."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import Raw, json

from audit.auditor import audit
from journal.log import Place
from journal.memory_log import MemoryLog
from messages.wire import encode
from participant.effects import EffectTold
from tests.audit.worked import CLAIMS, ORIGINAL, SAGAS, change, events, insert, reversed_bank

Tampering = Callable[[MemoryLog], tuple[Place, int]]


@pytest.fixture(scope="module")
async def written() -> MemoryLog:
    return await reversed_bank()


@pytest.fixture
def log(written: MemoryLog) -> Iterator[MemoryLog]:
    """What the bank wrote, to be tampered with."""
    before = {place: list(records) for place, records in written.records.items()}
    yield written
    written.records = before


async def test_what_was_reversed_is_right(log: MemoryLog) -> None:
    report = await audit(log)
    assert report.violations == []
    assert report.counts.sagas == {"compensated": 2, "completed": 5}
    assert report.pending_links == []
    assert str(CLAIMS) in report.positions


def _settled(log: MemoryLog, saga_id: str) -> tuple[int, Any]:
    (found,) = [
        (offset, event)
        for offset, event in events(log, CLAIMS, "participant.EffectSettled.v1")
        if (event.saga_id, event.direction) == (saga_id, "do")
    ]
    return found


def _begun(log: MemoryLog, saga_id: str, **fields: object) -> int:
    """Change the command that a claim was decided on."""
    for offset, event in events(log, CLAIMS, "participant.EffectBegun.v1"):
        if (event.saga_id, event.direction) == (saga_id, "do"):
            command = {**json.decode(bytes(event.command)), **fields}
            return change(log, CLAIMS, offset, command=Raw(encode(command)))
    raise AssertionError(saga_id)


def _started(log: MemoryLog, saga_id: str, **params: object) -> tuple[Place, int]:
    """Change what a saga was started with."""
    for offset, event in events(log, SAGAS, "saga.SagaStarted.v1"):
        if event.saga_id == saga_id:
            return SAGAS, change(log, SAGAS, offset, params={**event.params, **params})
    raise AssertionError(saga_id)


def _a_claim_above_the_limit_that_is_granted(log: MemoryLog) -> tuple[Place, int]:
    offset, _ = _settled(log, "r3")
    return CLAIMS, change(log, CLAIMS, offset, outcome="applied", reason="", detail="")


def _a_claim_of_more_than_was_asked_for(log: MemoryLog) -> tuple[Place, int]:
    _begun(log, "r2", amount_minor=39)
    offset, _ = _settled(log, "r2")
    return CLAIMS, offset


def _a_claim_with_a_limit_of_its_own(log: MemoryLog) -> tuple[Place, int]:
    _begun(log, "r2", limit_minor=1_000)
    offset, _ = _settled(log, "r2")
    return CLAIMS, offset


def _a_claim_that_counts_twice(log: MemoryLog) -> tuple[Place, int]:
    begun, event = events(log, CLAIMS, "participant.EffectBegun.v1")[0]
    settled = events(log, CLAIMS, "participant.EffectSettled.v1")[0][1]
    insert(log, CLAIMS, begun + 2, event)
    return CLAIMS, insert(log, CLAIMS, begun + 3, settled)


def _undo(log: MemoryLog) -> int:
    (found,) = [
        offset
        for offset, event in events(log, CLAIMS, "participant.EffectSettled.v1")
        if event.direction == "undo"
    ]
    return found


def _a_claim_given_back_that_another_saga_made(log: MemoryLog) -> tuple[Place, int]:
    offset = _undo(log)
    return CLAIMS, change(log, CLAIMS, offset, undoes="r1/claim/do")


def _more_given_back_than_was_claimed(log: MemoryLog) -> tuple[Place, int]:
    offset = _undo(log)
    (begun, event) = events(log, CLAIMS, "participant.EffectBegun.v1")[-1]
    command = {**json.decode(bytes(event.command)), "amount_minor": 11}
    change(log, CLAIMS, begun, command=Raw(encode(command)))
    return CLAIMS, offset


def _a_refused_claim_whose_saga_goes_on(log: MemoryLog) -> tuple[Place, int]:
    offset, _ = _settled(log, "r1")
    change(log, CLAIMS, offset, outcome="declined", reason="limit_exceeded")
    (told,) = [
        at
        for at, event in events(log, SAGAS, "saga.StepSucceeded.v1")
        if (event.saga_id, event.step) == ("r1", "claim")
    ]
    return SAGAS, told


def _a_reversal_of_more_than_the_original_was(log: MemoryLog) -> tuple[Place, int]:
    _started(log, "r1", amount_minor=61)
    last = [
        at for at, e in events(log, SAGAS, "saga.SagaCompleted.v1") if e.saga_id in ("r1", "r2")
    ][-1]
    return SAGAS, last


CHECKS: dict[Tampering, str] = {
    _a_claim_above_the_limit_that_is_granted: "claim_limit",
    _a_claim_of_more_than_was_asked_for: "effect_as_asked",
    _a_claim_with_a_limit_of_its_own: "claim_limit",
    _a_claim_that_counts_twice: "saga_ended",
    _a_claim_given_back_that_another_saga_made: "claim_undone",
    _more_given_back_than_was_claimed: "claim_undone",
    _a_refused_claim_whose_saga_goes_on: "effect_told",
    _a_reversal_of_more_than_the_original_was: "reversal_total",
}


@pytest.mark.parametrize("tamper", CHECKS, ids=[one.__name__.strip("_") for one in CHECKS])
async def test_what_was_tampered_with_is_named_with_its_place(
    log: MemoryLog, tamper: Tampering
) -> None:
    place, offset = tamper(log)
    report = await audit(log)
    named = {(one.check, one.place, one.offset) for one in report.violations}
    assert (CHECKS[tamper], str(place), offset) in named, report.violations


@pytest.mark.parametrize(
    "params",
    [
        {"original": "6" * 32},
        {"total_minor": 1_000},
        {"target": "carol"},
        {"source": "carol"},
        {"currency": "USD"},
    ],
)
async def test_a_reversal_of_what_never_was_is_found(
    log: MemoryLog, params: dict[str, object]
) -> None:
    _, offset = _started(log, "r1", **params)
    report = await audit(log)
    named = {(one.check, one.offset) for one in report.violations}
    assert ("reversal_original", offset) in named


async def test_a_reversal_of_a_transfer_that_did_not_complete_is_found(log: MemoryLog) -> None:
    _, offset = _started(log, ORIGINAL, amount_minor=99)
    report = await audit(log)
    assert "reversal_original" in {one.check for one in report.violations}
    assert offset < min(one.offset or 0 for one in report.violations)


async def test_an_undo_that_voids_a_claim_that_stands_is_found(log: MemoryLog) -> None:
    offset, settled = _settled(log, "r1")
    told = EffectTold(
        key=settled.key,
        effect_id="r1/claim/undo",
        at_ms=settled.at_ms,
        attempt=1,
        saga_id="r1",
        step="claim",
        direction="undo",
        reply_to=settled.reply_to,
        voids="r1/claim/do",
    )
    at = insert(log, CLAIMS, offset + 1, told)
    report = await audit(log)
    assert ("claim_undone", at) in {(one.check, one.offset) for one in report.violations}
