"""The effect memory: what became of every effect of the last days, so that none is applied twice.

Time is the `at_ms` of the events taken in, so the memory is a function of the journal. An effect is
remembered for the horizon plus `MAX_SKEW_MS`. Why that is enough: an effect applied at A was asked
for at I <= A + MAX_SKEW_MS (later ones are refused as coming from a wrong clock), and a command
is refused from I + horizon on. When the effect is forgotten it is A + horizon + MAX_SKEW_MS or
later, that is, no command that names it can pass any more. A refusal of a command from the future
is remembered as if it were of the time I, for the same reason.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from journal.long_dict import LongDict
from messages.account import RefusalReason

MAX_SKEW_MS: Final = 5 * 60 * 1000
"""How far a sender's clock may be ahead of ours: 5 minutes."""

FORGOTTEN_PER_EVENT: Final = 4
"""An event adds at most two effects, so four keep up and catch up."""

Outcome = Literal["applied", "settled", "undone", "voided"] | RefusalReason
"""`applied`: it happened and can be taken back. `settled`: it happened, and nothing is left of it
to take back (a captured hold). `undone`: it happened and was taken back. `voided`: its
compensation came first. Or the reason why it was refused."""

_OVER: Final = ("applied", "settled", "undone", "voided")


class Remembered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of an effect. `attempt` is the send that the outcome was decided on, `at_ms`
    when (of a command from the future: its issue time), `allowance_day` the UTC day whose daily
    limit it used, if it used one."""

    account_id: str
    fingerprint: int
    attempt: int
    outcome: Outcome
    at_ms: int
    allowance_day: int | None = None


class EffectMemory:
    """Effect id -> what became of it, in order of arrival."""

    def __init__(self, horizon_ms: int) -> None:
        self._kept_ms = horizon_ms + MAX_SKEW_MS
        self._effects = LongDict[Remembered]()
        self._in_order = True
        self._latest_ms = 0
        self.clock_ms = 0
        """The latest `at_ms` of the events taken in."""

    def advance(self, at_ms: int) -> None:
        """Time goes on, never back; a few effects that are past the horizon go."""
        if not self._in_order:
            self._put_in_order()
        self.clock_ms = max(self.clock_ms, at_ms)
        for _ in range(FORGOTTEN_PER_EVENT):
            effect_id = self._effects.first()
            if effect_id is None:
                return
            oldest = self._effects[effect_id]
            if oldest.at_ms > self.clock_ms:
                # From the future, perhaps far off: the others must not wait behind it.
                self._effects[effect_id] = self._effects.pop(effect_id)
            elif self._is_remembered(oldest):
                return
            else:
                del self._effects[effect_id]

    def recall(self, effect_id: str, now_ms: int = 0) -> Remembered | None:
        """What became of the effect; None if it never came or is past the horizon at `now_ms`
        (or at the last event, if that is later), whether or not its entry is already gone.

        A partition where nothing has happened for long must not remember what another one has
        forgotten: of two effects of one saga both are known or none."""
        known = self._effects.get(effect_id)
        return known if known is not None and self._is_remembered(known, now_ms) else None

    def remember(self, effect_id: str, what: Remembered) -> None:
        """`what.at_ms`: `clock_ms`, so that the order of arrival is the order of time, or later."""
        self._effects.pop(effect_id, None)
        self._effects[effect_id] = what

    def settle(self, effect_id: str, how: Literal["settled", "undone"]) -> None:
        """Nothing is left to take back of the effect, if it is remembered as applied."""
        known = self.recall(effect_id)
        if known is not None and known.outcome == "applied":
            self._effects[effect_id] = replace(known, outcome=how)

    def void(self, effect_id: str, account_id: str) -> None:
        """The effect's compensation found nothing to take back: from now on it may not happen."""
        known = self.recall(effect_id)
        if known is None or known.outcome not in _OVER:
            self.remember(effect_id, Remembered(account_id, 0, 0, "voided", self.clock_ms))

    def remembered(self) -> dict[str, Remembered]:
        """All that is remembered now."""
        return {name: what for name, what in self._effects.items() if self._is_remembered(what)}

    def entries(self) -> Iterable[tuple[str, Remembered]]:
        """What `restore` takes, as of now: also entries past the horizon that wait to go."""
        return self._effects.frozen()

    def restore(self, clock_ms: int, entries: Iterable[tuple[str, Remembered]]) -> None:
        """Take in a part of `entries()`; parts may come in any order."""
        self.clock_ms = max(self.clock_ms, clock_ms)
        for effect_id, what in entries:
            # Chunks that come as they were written need no sorting: it costs 2 s for a million.
            self._in_order = self._in_order and what.at_ms >= self._latest_ms
            self._latest_ms = max(self._latest_ms, what.at_ms)
            self._effects[effect_id] = what

    def _put_in_order(self) -> None:
        entries = sorted(self._effects.items(), key=lambda entry: entry[1].at_ms)
        self._effects = LongDict[Remembered]()
        self._effects.update(entries)
        self._in_order = True

    def _is_remembered(self, what: Remembered, now_ms: int = 0) -> bool:
        return what.at_ms + self._kept_ms > max(self.clock_ms, now_ms)
