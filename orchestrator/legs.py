"""The legs of a step that is done once for each element of a list: thousands of them, compactly.

Only legs that are under way, or whose outcome is in doubt, have a record of their own; of all the
others one letter is kept. So an event costs a copy of as many bytes as there are legs, and no more.
What is settled stays: an answer to a settled leg changes nothing. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from orchestrator.step import StepProgress, StepState, turned_back

PENDING: Final = "."
OPEN: Final = "?"
APPLIED: Final = "+"
UNDONE: Final = "-"
_FIRST_REASON: Final = ord("A")
"""A leg that was refused for good has the letter of its reason, from this one on."""


class Legs(msgspec.Struct, frozen=True, array_like=True):
    """`letters`: how each leg stands. `open`: the legs under way or in doubt, by number. `reasons`:
    of the refusals, by letter. `applied`, `refused`, `undone` count letters, `stopped` open legs
    that wait for nothing."""

    letters: str
    open: dict[int, StepProgress] = {}
    reasons: tuple[str, ...] = ()
    applied: int = 0
    refused: int = 0
    undone: int = 0
    stopped: int = 0

    @property
    def pending(self) -> int:
        return len(self.letters) - len(self.open) - self.applied - self.refused - self.undone

    @property
    def waiting(self) -> int | None:
        """The leg that waits for its time: at most one does."""
        return next((leg for leg, step in self.open.items() if step.state == "waiting"), None)

    @property
    def under_way(self) -> int:
        """How many wait for an answer, for another try, or for their time."""
        return len(self.open) - self.stopped

    def at(self, leg: int) -> StepProgress:
        """How one leg stands; of a settled one the attempts are not known any more."""
        letter = self.letters[leg]
        match letter:
            case "?":
                return self.open[leg]
            case ".":
                return StepProgress()
            case "+":
                return StepProgress("succeeded", 1)
            case "-":
                return StepProgress("undone", 1)
            case _:
                return StepProgress("refused", 1, reason=self._reason(letter))

    def is_settled(self, leg: int) -> bool:
        """Whether nothing can change it any more but to take it back."""
        return self.letters[leg] not in (PENDING, OPEN)

    def refusals(self, first: int = 0) -> Iterator[tuple[int, str]]:
        """The legs that were refused for good, from number `first` on, and why."""
        for leg in range(first, len(self.letters)):
            letter = self.letters[leg]
            if ord(letter) >= _FIRST_REASON:
                yield leg, self._reason(letter)

    def first_refusal(self) -> tuple[int, str]:
        """The first leg of those refused; there must be one."""
        return next(self.refusals())

    def _reason(self, letter: str) -> str:
        return self.reasons[ord(letter) - _FIRST_REASON]

    def put(self, leg: int, step: StepProgress, *, keeps_refused: bool) -> "Legs":
        """The legs with `leg` as it is now. `keeps_refused`: a refusal for good is not the end of
        it, for a person may have it tried again."""
        letter, reasons = self._letter(step, keeps_refused)
        before = self.letters[leg]
        letters = self.letters
        if letter != before:
            letters = letters[:leg] + letter + letters[leg + 1 :]
        now_open, stopped = self.open, self.stopped
        if before == OPEN:
            now_open = now_open.copy()
            stopped -= not now_open.pop(leg).due_ms
        if letter == OPEN:
            now_open = {**now_open, leg: step}
            stopped += not step.due_ms
        return Legs(
            letters,
            now_open,
            reasons,
            self.applied + (letter == APPLIED) - (before == APPLIED),
            self.refused + (letter >= "A") - (before >= "A"),
            self.undone + (letter == UNDONE) - (before == UNDONE),
            stopped,
        )

    def _letter(self, step: StepProgress, keeps_refused: bool) -> tuple[str, tuple[str, ...]]:
        if step.state == "succeeded":
            return APPLIED, self.reasons
        if step.state == "undone":
            return UNDONE, self.reasons
        if step.state == "pending":
            return PENDING, self.reasons
        if step.state != "refused" or step.open or keeps_refused:
            return OPEN, self.reasons
        reasons = self.reasons
        if step.reason not in reasons:
            reasons = (*reasons, step.reason)
        return chr(_FIRST_REASON + reasons.index(step.reason)), reasons

    def turned_back(self) -> "Legs":
        """The legs once their saga goes backward: those not begun never will be."""
        legs = self
        for leg, step in self.open.items():
            legs = legs.put(leg, turned_back(step), keeps_refused=False)
        return legs

    def to_take_back(self) -> Iterator[int]:
        """Applied legs, and those that nobody answered: the last one first."""
        for leg, step in reversed(self.open.items()):
            if step.state == "timed_out" and not step.due_ms:
                yield leg
        leg = self.letters.rfind(APPLIED)
        while leg >= 0:
            yield leg
            leg = self.letters.rfind(APPLIED, 0, leg)

    def left_open(self) -> int | None:
        """The first leg that is not settled and waits for nothing."""
        return next((leg for leg, step in self.open.items() if not step.due_ms), None)


def begun(elements: object) -> Legs:
    """Legs of which none was asked for yet, one for each element."""
    count = len(elements) if isinstance(elements, list) else 0  # pyright: ignore[reportUnknownArgumentType]
    return Legs(PENDING * count)


def whole(
    step: StepProgress, legs: Legs, elements: Sequence[object], *, collects: bool, back: bool
) -> StepProgress:
    """How the step stands that has these legs. `collects`: it is done also when legs were refused,
    as long as one was applied; `back`: its saga goes backward."""
    state: StepState = step.state
    if back:
        if legs.applied or legs.open:
            state = "undoing" if legs.undone or _any_undoing(legs) else state
        else:
            state = "undone" if legs.undone else "refused"
        return msgspec.structs.replace(step, state=state)
    if legs.open or legs.pending or (legs.refused and not collects):
        return msgspec.structs.replace(step, state="requested")
    if not legs.applied:
        _, reason = legs.first_refusal()
        return msgspec.structs.replace(step, state="refused", reason=reason)
    result = {"applied": legs.applied, "refused": legs.refused}
    if elements and isinstance(elements[0], Mapping):
        refused = (cast("Mapping[str, Any]", elements[leg]) for leg, _ in legs.refusals())
        result["refused_minor"] = sum(one.get("amount_minor", 0) for one in refused)
    return msgspec.structs.replace(step, state="succeeded", result=result)


def _any_undoing(legs: Legs) -> bool:
    return any(step.direction == "undo" for step in legs.open.values())
