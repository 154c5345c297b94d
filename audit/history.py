"""Every saga's history as the journal has it, as small as it can be held against what is stored.

Of each saga its number of events and a checksum over their offsets and contents, in order. Told
apart are two histories that differ by accident; a journal's truth hangs on other checks.
"""

import hashlib
from typing import Any, Final
from zlib import crc32

import msgspec

from messages.plan import Plan
from messages.saga import SagaStarted

_STARTED: Final = b'"saga.SagaStarted.v1"'
_SHIFT: Final = 32
_CRC: Final = (1 << _SHIFT) - 1

UNREADABLE: Final = -1

_pieces = msgspec.json.Decoder(list[tuple[int, msgspec.Raw]])
_sorted = msgspec.json.Encoder(order="sorted")


class Histories:
    """Saga id -> its events up to now: their number and, in the lower 32 bits, a checksum."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def add(self, event: Any, offset: int, value: bytes) -> None:
        """The next event of a saga, and what its record holds."""
        if type(event) is SagaStarted:
            fields = msgspec.to_builtins(event)
            value = _sorted.encode({**fields, "plan": plan_digest(event.plan)})
        before = self.found.get(event.saga_id, 0)
        self.found[event.saga_id] = _add(before, offset, value)


def count(history: int) -> int:
    return history >> _SHIFT


class Stored:
    """The same of one saga's rows in the read model, added one after the other, and the plans that
    they name. `told` is UNREADABLE once one of them is no history."""

    def __init__(self, saga_id: str) -> None:
        self.saga_id = saga_id
        self.told = 0
        self.plans: set[str] = set()

    def add(self, piece: bytes) -> None:
        if self.told == UNREADABLE:
            return
        try:
            for offset, raw in _pieces.decode(piece):
                value = bytes(raw)
                # The type stands first; a stored start is compared by its fields.
                if _STARTED in value[:40]:
                    fields = msgspec.json.decode(value)
                    self.plans.add(fields["plan"])
                    value = _sorted.encode(fields)
                self.told = _add(self.told, offset, value)
        except (msgspec.MsgspecError, TypeError, KeyError):
            self.told = UNREADABLE
            self.plans.clear()


def plan_digest(plan: Plan) -> str:
    return hashlib.sha256(msgspec.json.encode(plan)).hexdigest()[:32]


def _add(history: int, offset: int, value: bytes) -> int:
    checksum = crc32(value, crc32(b"%d" % offset, history & _CRC))
    return (count(history) + 1) << _SHIFT | checksum
