"""The quotas of a partition as the journal's kernel wants them. No rules here: `quotas.py` decides
what may be claimed, `participant.effects` what is done once.

A claim is decided and settled in one batch, so no effect is ever found under way. Its amount is in
the command that `EffectBegun` records; it counts once `EffectSettled` says that it is applied.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from claims import quotas
from claims.quotas import Quota
from journal.machine import Output
from messages.claims import ClaimCommand
from messages.participant import Enquire
from messages.wire import Codec, encode
from participant.effects import (
    SNAPSHOT_CHUNK_BYTES,
    EffectBegun,
    EffectEvent,
    Effects,
    EffectSettled,
    settled,
)
from participant.machine import outputs

COMMANDS: Final[Codec[ClaimCommand]] = Codec(ClaimCommand)

_Name = tuple[str, str]
"""Purpose and resource."""

_EFFECTS: Final = b"e"
_QUOTAS: Final = b"q"
_quota_chunks: Final = msgspec.json.Decoder(list[tuple[_Name, Quota]])
_QUOTAS_PER_CHUNK: Final = SNAPSHOT_CHUNK_BYTES // 128


class ClaimsMachine:
    """Implements `journal.machine.Machine[ClaimCommand | Enquire, EffectEvent]`.

    Quotas are kept for ever: about 300 bytes for each transfer that was ever reversed.
    """

    def __init__(self, effect_horizon_ms: int) -> None:
        self.effects = Effects(effect_horizon_ms, 1, lambda _: False)
        self.quotas: dict[_Name, Quota] = {}

    def decide(self, message: ClaimCommand | Enquire, now_ms: int) -> Sequence[EffectEvent]:
        key = message.key if isinstance(message, Enquire) else message.resource
        event = self.effects.decide(message, key, now_ms)
        if isinstance(message, Enquire) or not isinstance(event, EffectBegun):
            return (event,)
        outcome = quotas.decide(self.quotas.get(_name(message)), message)
        return (event, settled(event, event.attempt, outcome, event.at_ms))

    def evolve(self, event: EffectEvent) -> None:
        if isinstance(event, EffectSettled) and event.outcome == "applied":
            begun = self.effects.under_way[event.effect_id].begun
            command = COMMANDS.decode(bytes(begun.command))
            name = _name(command)
            self.quotas[name] = quotas.evolve(self.quotas.get(name), command)
        self.effects.evolve(event)

    def outputs(self, event: EffectEvent) -> Sequence[Output]:
        return outputs(event)

    def key_of(self, event: EffectEvent) -> str:
        return event.key

    def next_due_ms(self) -> int | None:
        """None: a quota waits for nothing."""
        return None

    def fire(self, now_ms: int) -> Sequence[EffectEvent]:
        return ()

    def snapshot(self) -> Iterable[bytes]:
        """Effects and quotas, each chunk with a first byte that says which."""
        effects = (_EFFECTS + chunk for chunk in self.effects.snapshot())
        return chain(effects, _quota_parts(list(self.quotas.items())))

    def restore(self, chunk: bytes) -> None:
        kind, part = chunk[:1], chunk[1:]
        if kind == _QUOTAS:
            self.quotas.update(_quota_chunks.decode(part))
        elif kind == _EFFECTS:
            self.effects.restore(part)
        else:
            raise msgspec.ValidationError(f"a chunk of another format: {kind!r}")


def _name(command: ClaimCommand) -> _Name:
    return command.purpose, command.resource


def _quota_parts(entries: list[tuple[_Name, Quota]]) -> Iterator[bytes]:
    for first in range(0, len(entries), _QUOTAS_PER_CHUNK):
        yield _QUOTAS + encode(entries[first : first + _QUOTAS_PER_CHUNK])
