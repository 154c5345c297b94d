"""Where one step of a saga stands, and how events change that. Pure.

A step that is done once for each element of a list has one such record for every leg that is under
way, and one for all of it; see `legs.py`.
"""

from typing import Any, Final, Literal

import msgspec

from messages.identity import Direction
from messages.participant import EFFECT_UNKNOWN
from messages.saga import StepRefused, StepRequested, StepSucceeded, StepTimedOut

StepState = Literal[
    "pending",
    "requested",
    "succeeded",
    "refused",
    "timed_out",
    "undoing",
    "undone",
    "undo_failed",
    "skipped",
    "waiting",
]
DONE: Final[frozenset[StepState]] = frozenset(("succeeded", "skipped"))
"""What a step's successors wait for while the saga goes forward."""

_UNDO: Final[frozenset[StepState]] = frozenset(("undoing", "undone", "undo_failed"))

UNSURE: Final = frozenset(("effect_expired", "effect_reused", EFFECT_UNKNOWN))
"""Refusals that leave open whether the effect was applied, or will be."""

TIMED_OUT: Final = "step_timeout"
"""The reason of a step that nobody answered: its outcome is unknown."""


class StepProgress(msgspec.Struct, frozen=True, array_like=True):
    """One step. `attempt` counts for the direction it is in; `first_at_ms` is when the forward
    effect was first asked for, also while it is taken back (see `messages.account.Asked`).

    At most one of `timeout_at_ms` (an answer is awaited, or the end of `waiting`) and
    `retry_at_ms` (the next attempt is awaited) is set; with neither, `refused`, `timed_out` and
    `undo_failed` are final. `reason` is the last refusal's, or `TIMED_OUT`. `life`: of a step that
    is a saga, which one: see `messages.identity.child_id`.
    """

    state: StepState = "pending"
    attempt: int = 0
    first_at_ms: int = 0
    timeout_at_ms: int = 0
    retry_at_ms: int = 0
    reason: str = ""
    result: dict[str, Any] = {}
    life: int = 0

    @property
    def direction(self) -> Direction:
        return "undo" if self.state in _UNDO else "do"

    @property
    def next_life(self) -> int:
        """Of the next attempt: a saga that was declined stays so, trying again begins another."""
        return self.life + (self.state == "refused" and self.reason not in UNSURE)

    @property
    def open(self) -> bool:
        """Whether the step was asked for and its outcome is not settled."""
        if self.state == "refused":
            return self.retry_at_ms > 0 or self.reason in UNSURE
        return self.state in ("requested", "timed_out", "undoing", "undo_failed")

    @property
    def due_ms(self) -> int:
        """When its timer goes off; 0: it has none."""
        return self.timeout_at_ms or self.retry_at_ms


def requested(step: StepProgress, event: StepRequested) -> StepProgress:
    return StepProgress(
        state="requested" if event.direction == "do" else "undoing",
        attempt=event.attempt,
        first_at_ms=step.first_at_ms or event.at_ms,
        timeout_at_ms=event.timeout_at_ms,
        result=step.result,
        life=step.next_life,
    )


def succeeded(step: StepProgress, event: StepSucceeded) -> StepProgress:
    state, result = ("undone", step.result)
    if event.direction == "do":
        state, result = ("succeeded", event.result)
    return StepProgress(state, step.attempt, step.first_at_ms, result=result, life=step.life)


def failed(step: StepProgress, event: StepRefused | StepTimedOut) -> StepProgress:
    timed_out = isinstance(event, StepTimedOut)
    state: StepState
    if event.direction == "undo":
        state = "undoing" if event.retry_at_ms else "undo_failed"
    else:
        state = "timed_out" if timed_out else "refused"
    return StepProgress(
        state,
        event.attempt,
        step.first_at_ms,
        retry_at_ms=event.retry_at_ms,
        reason=TIMED_OUT if timed_out else event.reason,
        result=step.result,
        life=step.life,
    )


def turned_back(step: StepProgress) -> StepProgress:
    """The step once its saga goes backward."""
    if step.state in ("pending", "waiting"):
        return StepProgress("skipped")
    # No further try forward: asking again could apply what is about to be taken back.
    if step.state == "refused" and step.reason == EFFECT_UNKNOWN:
        # Its command may still come: it has to be taken back like one that was not answered.
        return msgspec.structs.replace(step, state="timed_out", retry_at_ms=0, reason=TIMED_OUT)
    if step.state in ("refused", "timed_out") and step.retry_at_ms:
        return msgspec.structs.replace(step, retry_at_ms=0)
    return step
