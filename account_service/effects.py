"""The effect memory: what became of every effect of the last days, so that none is applied twice.

Time is the `at_ms` of the events taken in, so the memory is a function of the journal. An effect is
remembered for the horizon plus `MAX_SKEW_MS`. Why that is enough: an effect applied at A was asked
for at I <= A + MAX_SKEW_MS (later ones are refused as coming from a wrong clock), and a command
is refused from I + horizon on. When the effect is forgotten it is A + horizon + MAX_SKEW_MS or
later, that is, no command that names it can pass any more. A refusal of a command from the future
is remembered as if it were of the time I, for the same reason.
"""

from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from journal.aging_dict import AgingDict
from messages.account import RefusalReason

MAX_SKEW_MS: Final = 5 * 60 * 1000
"""How far a sender's clock may be ahead of ours: 5 minutes."""

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


class EffectMemory(AgingDict[Remembered]):
    """Effect id -> what became of it. `put_last` remembers one: `at_ms` is `clock_ms` or later."""

    def __init__(self, horizon_ms: int) -> None:
        super().__init__(horizon_ms + MAX_SKEW_MS)

    def settle(self, effect_id: str, how: Literal["settled", "undone"]) -> None:
        """Nothing is left to take back of the effect, if it is remembered as applied."""
        known = self.recall(effect_id)
        if known is not None and known.outcome == "applied":
            self[effect_id] = replace(known, outcome=how)

    def void(self, effect_id: str, account_id: str) -> None:
        """The effect's compensation found nothing to take back: from now on it may not happen."""
        known = self.recall(effect_id)
        if known is None or known.outcome not in _OVER:
            self.put_last(effect_id, Remembered(account_id, 0, 0, "voided", self.clock_ms))
