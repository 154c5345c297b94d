"""What the audit makes of locks: two holders at once, and a holder that has ended, are found."""

from collections.abc import Callable, Iterator

import pytest

from audit.auditor import audit
from journal.memory_log import MemoryLog
from messages.claims import AcquireLock, ReleaseLock
from messages.wire import type_name
from tests.audit.worked import CLAIMS, change, events, locked_bank


@pytest.fixture(scope="module")
async def written() -> MemoryLog:
    return await locked_bank()


@pytest.fixture
def log(written: MemoryLog) -> Iterator[MemoryLog]:
    """What the bank wrote, to be tampered with."""
    before = {place: list(records) for place, records in written.records.items()}
    yield written
    written.records = before


async def test_locks_that_are_taken_in_turn_and_released_are_right(log: MemoryLog) -> None:
    assert (await audit(log)).violations == []


def _settled(log: MemoryLog, kind: type) -> list[int]:
    """Where commands of this type are settled."""
    begun = {
        event.effect_id
        for _, event in events(log, CLAIMS, "participant.EffectBegun.v1")
        if type_name(kind).encode() in bytes(event.command)
    }
    settled = events(log, CLAIMS, "participant.EffectSettled.v1")
    return [offset for offset, event in settled if event.effect_id in begun]


def _a_release_that_was_none(log: MemoryLog) -> tuple[str, int]:
    """The lock is given to the next one all the same."""
    change(log, CLAIMS, _settled(log, ReleaseLock)[0], outcome="declined", reason="lock_unknown")
    return "lock_held", _settled(log, AcquireLock)[1]


def _a_release_by_another_saga(log: MemoryLog) -> tuple[str, int]:
    offset = _settled(log, ReleaseLock)[0]
    return "lock_held", change(log, CLAIMS, offset, saga_id="l9")


def _a_lock_that_is_never_released(log: MemoryLog) -> tuple[str, int]:
    change(log, CLAIMS, _settled(log, ReleaseLock)[1], outcome="declined", reason="lock_unknown")
    return "lock_released", _settled(log, AcquireLock)[1]


@pytest.mark.parametrize(
    "tamper",
    [_a_release_that_was_none, _a_release_by_another_saga, _a_lock_that_is_never_released],
)
async def test_what_was_tampered_with_is_named_with_its_place(
    log: MemoryLog, tamper: Callable[[MemoryLog], tuple[str, int]]
) -> None:
    check, offset = tamper(log)
    report = await audit(log)
    named = {(one.check, one.place, one.offset) for one in report.violations}
    assert (check, str(CLAIMS), offset) in named, report.violations
