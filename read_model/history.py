"""How a saga's history is stored: in pieces, each of them what one batch brought for that saga.

A piece is JSON, `[[offset, event], ...]`, with every event as its record in the journal has it, so
nothing is encoded anew and any type of event fits. Only `SagaStarted` is changed: its plan, which
all sagas of a definition's version share, is replaced by the plan's digest and kept once.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from messages.plan import Plan
from messages.saga import SagaEvent, SagaStarted
from messages.wire import Codec, encode

MAX_PIECE: Final = 250
"""Events in one piece: bounds what has to be read for a page of them."""

_KNOWN_PLANS: Final = 1_024

Item = tuple[int, bytes]
"""An event's offset in its journal partition, and its JSON."""

_pieces = msgspec.json.Decoder(list[tuple[int, msgspec.Raw]])
_events: Codec[SagaEvent] = Codec(SagaEvent)
_named: dict[tuple[str, int], tuple[Plan, str, bytes]] = {}


def named(plan: Plan) -> tuple[str, bytes]:
    """The plan's digest (SHA-256, the first 128 bits in hex) and what it is taken of."""
    known = _named.get((plan.definition, plan.version))
    if known is not None and known[0] == plan:
        return known[1:]
    encoded = encode(plan)
    digest = hashlib.sha256(encoded).hexdigest()[:32]
    if len(_named) >= _KNOWN_PLANS:
        _named.clear()
    _named[plan.definition, plan.version] = (plan, digest, encoded)
    return digest, encoded


def without_plan(started: SagaStarted, digest: str) -> bytes:
    """The event's JSON with the digest where the plan was."""
    # `replace` checks no types, so this keeps whatever other fields the event has.
    return encode(msgspec.structs.replace(started, plan=digest))


def encode_piece(items: Sequence[Item]) -> bytes:
    return b"[%b]" % b",".join([b"[%d,%b]" % item for item in items])


def decode_piece(piece: bytes) -> list[tuple[int, msgspec.Raw]]:
    """Offset and JSON of each event."""
    return _pieces.decode(piece)


def decode_event(event: msgspec.Raw, plans: Mapping[str, bytes]) -> SagaEvent:
    """A stored event as it was; `plans`: those that may be named. Raises `Undecodable`."""
    try:
        digest = _started.decode(event).plan
    except msgspec.MsgspecError:
        return _events.decode(bytes(event))
    fields: dict[str, Any] = msgspec.json.decode(event)
    fields["plan"] = msgspec.Raw(plans.get(digest, b"null"))
    return _events.decode(encode(fields))


class _Started(msgspec.Struct, tag="saga.SagaStarted.v1"):
    plan: str


_started = msgspec.json.Decoder(_Started)
