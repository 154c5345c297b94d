"""A partition of claims that is fed commands; its events go over the wire, as in the journal."""

from typing import Any

from claims.machine import ClaimsMachine
from messages.claims import ClaimCommand
from messages.identity import effect_id
from messages.participant import Enquire
from messages.saga import StepApplied, StepDeclined
from messages.wire import Codec, encode
from participant.effects import EffectEvent, answer

DAY_MS = 24 * 3_600 * 1_000
HORIZON_MS = 7 * DAY_MS
NOW_MS = 100 * DAY_MS
EVENTS: Codec[EffectEvent] = Codec(EffectEvent)


def asked(saga: str, step: str, direction: Any, attempt: int) -> dict[str, Any]:
    """What every command of a saga's step carries; an undo says what it undoes."""
    undoes = {"undoes": effect_id(saga, step, "do")} if direction == "undo" else {}
    return {
        "effect_id": effect_id(saga, step, direction),
        "issued_at_ms": NOW_MS,
        "attempt": attempt,
        "saga_id": saga,
        "step": step,
        "direction": direction,
        "reply_to": "orchestrator.input",
        **undoes,
    }


Told = tuple[str, str]
"""A saga and what it is told: "applied", or why not."""


class Desk:
    def __init__(self) -> None:
        self.machine = ClaimsMachine(HORIZON_MS)
        self.now_ms = NOW_MS

    def put(self, command: ClaimCommand | Enquire) -> list[Told]:
        """All that is told because of the command, to whom."""
        return self._fold(self.machine.decide(command, self.now_ms))

    def ask(self, command: ClaimCommand) -> str:
        """What the one who asks is told; "" when nothing yet."""
        told = [what for saga, what in self.put(command) if saga == command.saga_id]
        return told[-1] if told else ""

    def wait(self, ms: int) -> list[Told]:
        """Let time pass; all that is told meanwhile."""
        until_ms, told = self.now_ms + ms, list[Told]()
        while (due_ms := self.machine.next_due_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            told += self._fold(self.machine.fire(self.now_ms))
        self.now_ms = until_ms
        return told

    def _fold(self, events: Any) -> list[Told]:
        told: list[Told] = []
        for event in events:
            self.machine.evolve(EVENTS.decode(encode(event)))
            match answer(event):
                case StepApplied(saga_id=saga):
                    told.append((saga, "applied"))
                case StepDeclined(saga_id=saga, reason=reason):
                    told.append((saga, reason))
                case None:
                    pass
        return told

    def claimed(self, of: str = "transfer-1") -> int:
        quota = self.machine.quotas.get(("reversal", of))
        return 0 if quota is None else quota.claimed

    def restart(self) -> None:
        """From a snapshot, whose chunks come in any order."""
        fresh = ClaimsMachine(HORIZON_MS)
        for chunk in reversed(list(self.machine.snapshot())):
            fresh.restore(chunk)
        self.machine = fresh
