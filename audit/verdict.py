"""The verdict on a saga: do its end, its effects and its money agree?

It is asked when a saga ends, to forget its details if nothing is wrong, and once more for what is
left when everything is read.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from audit.case import Case
from audit.effects import Effect
from journal.log import Place
from messages.saga import PARTIAL

_ACCOUNTS: Final = "account.journal"
_SAGAS: Final = "orchestrator.journal"


class Problem(NamedTuple):
    """What does not fit, and where. A problem in the accounts' journal at or behind its cut may
    only be one of reading: the saga's side of it is not read yet (see `auditor.py`)."""

    check: str
    place: Place
    offset: int
    expected: str
    found: str


def problems(case: Case) -> list[Problem]:
    """What is wrong with the case as far as it is read; an unfinished saga may be anywhere on its
    way, a finished one must have ended as its state says."""
    found = [*_told(case)]
    if case.state == "completed":
        found += _completed(case)
    elif case.state == "compensated":
        found += _compensated(case)
    if case.finished_at >= 0:
        found += _money(case)
    return found


def _told(case: Case) -> Iterator[Problem]:
    """No answer tells a lie, and nobody acts unasked."""
    for key, effect in case.effects.items():
        if effect.succeeded_at >= 0 and effect.applied is None and not effect.void:
            expected = f"{key} applied, as its StepSucceeded says"
            yield _at_saga(case, "effect_told", effect.succeeded_at, expected, "not applied")
        if effect.applied is not None and effect.asked is None:
            place = effect.applied_in or Place(_ACCOUNTS, case.partition)
            found = f"{effect.applied}, and nobody asked"
            yield Problem("effect_asked", place, effect.applied_at, f"{key} to be asked for", found)


def _completed(case: Case) -> Iterator[Problem]:
    left_out = 0
    for step in case.steps:
        if step.name in case.skipped:
            for name in step.parts:
                if _applied(case, f"{name}/do"):
                    expected = f"step {name} not applied, for it was skipped"
                    yield _at_saga(case, "step_done", case.finished_at, expected, "applied")
            continue
        if step.waits:
            if step.name not in case.passed:
                expected = f"step {step.name} to have had what it waits for"
                yield _at_saga(case, "step_done", case.finished_at, expected, "not")
            continue
        missing = [name for name in step.parts if not _applied(case, f"{name}/do")]
        if step.collects and len(missing) < len(step.parts):
            left_out += len(missing)
            missing = []
        for name in missing:
            expected = f"step {name} applied, for the saga is completed"
            yield _at_saga(case, "step_done", case.finished_at, expected, "not applied")
        for name in step.parts:
            if _applied(case, f"{name}/undo"):
                expected = f"step {name} to stand, for the saga is completed"
                yield _at_saga(case, "step_done", case.finished_at, expected, "taken back")
    reason = PARTIAL if left_out else ""
    if case.reason != reason:
        expected = f"completed with reason {reason!r}, for {left_out} legs were left out"
        yield _at_saga(case, "step_done", case.finished_at, expected, repr(case.reason))


def _compensated(case: Case) -> Iterator[Problem]:
    for step in case.steps:
        for name in step.parts:
            done, undone = _applied(case, f"{name}/do"), _applied(case, f"{name}/undo")
            if done and not undone:
                why = "taken back" if step.reversible else "never applied: it can't be taken back"
                expected = f"step {name} {why}, for the saga is compensated"
                yield _at_saga(case, "step_undone", case.finished_at, expected, "applied")
            if undone and not done:
                expected = f"step {name} applied before it is taken back"
                yield _at_saga(case, "step_undone", case.finished_at, expected, "only taken back")


def _money(case: Case) -> Iterator[Problem]:
    for currency, left in case.transit.items():
        if left:
            expected = f"transit 0 {currency}, for the saga is {case.state}"
            yield _at_saga(case, "transit_empty", case.finished_at, expected, f"{left}")
    if case.holds:
        expected = f"no hold left, for the saga is {case.state}"
        yield _at_saga(case, "holds_ended", case.finished_at, expected, f"{len(case.holds)}")


def _applied(case: Case, key: str) -> bool:
    effect: Effect | None = case.effects.get(key)
    return effect is not None and effect.applied is not None


def _at_saga(case: Case, check: str, offset: int, expected: str, found: str) -> Problem:
    return Problem(check, Place(_SAGAS, case.partition), offset, expected, found)
