"""The effects of one partition as the journal's kernel wants them. No rules here: `effects.py`
decides, the handlers' outcomes come in through `hear`.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from journal.machine import Output
from messages.participant import Enquire, StepCommand
from messages.wire import encode, type_name
from participant.effects import EffectEvent, Effects, answer
from participant.outcomes import Outcome


class EffectMachine:
    """Implements `journal.machine.Machine[StepCommand, EffectEvent]`. `keys`: command type on the
    wire -> the field that routes it."""

    def __init__(self, effects: Effects, keys: Mapping[str, str]) -> None:
        self.effects = effects
        self._keys = keys
        self._heard: deque[tuple[str, int, Outcome]] = deque()

    def hear(self, effect_id: str, run: int, outcome: Outcome) -> None:
        """What the handler says became of run `run`. It is lost with this machine, and the handler
        is asked again: only the journal counts."""
        self._heard.append((effect_id, run, outcome))

    @property
    def has_heard(self) -> bool:
        """Whether an outcome waits to be recorded."""
        return bool(self._heard)

    def decide(self, message: StepCommand, now_ms: int) -> Sequence[EffectEvent]:
        key = message.key if isinstance(message, Enquire) else self._key(message)
        return (self.effects.decide(message, key, now_ms),)

    def _key(self, message: Any) -> str:
        return getattr(message, self._keys[type_name(message)])

    def evolve(self, event: EffectEvent) -> None:
        self.effects.evolve(event)

    def outputs(self, event: EffectEvent) -> Sequence[Output]:
        return outputs(event)

    def key_of(self, event: EffectEvent) -> str:
        return event.key

    def next_due_ms(self) -> int | None:
        return 0 if self._heard else None

    def fire(self, now_ms: int) -> Sequence[EffectEvent]:
        event = self.effects.settle(*self._heard.popleft(), now_ms)
        return () if event is None else (event,)

    def snapshot(self) -> Iterable[bytes]:
        return self.effects.snapshot()

    def restore(self, chunk: bytes) -> None:
        self.effects.restore(chunk)


def outputs(event: EffectEvent) -> Sequence[Output]:
    """The answer that follows from an event, if one does."""
    told = answer(event)
    if told is None:
        return ()
    return (Output(event.reply_to, event.saga_id, type_name(told), encode(told)),)
