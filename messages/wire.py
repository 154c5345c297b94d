"""How messages look on the wire: JSON with the type and its version as the `type` field.

JSON was chosen over MessagePack by measurement (`benchmarks/wire_format.py`, docs/architecture.md):
encoding and decoding cost about the same, and an operator can read JSON with any Kafka tool.
Old types are lifted by upcasters: plain functions from the old fields to the new ones.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, get_args

import msgspec

M = TypeVar("M")

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the fields of an old type (with `type`), returns those of a newer one (with `type`)."""

MAX_UPCASTS = 32

_encoder = msgspec.json.Encoder()
encode: Callable[[object], bytes] = _encoder.encode
"""The wire form of a message."""


class Undecodable(Exception):
    """A record's value is not a message that its reader knows; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def type_name(message: object) -> str:
    """The type name on the wire of a message or message class, e.g. `account.Debited.v1`."""
    config: msgspec.structs.StructConfig = getattr(message, "__struct_config__")  # noqa: B009
    return str(config.tag)


def _types(family: Any) -> frozenset[bytes]:
    return frozenset(type_name(member).encode() for member in get_args(family) or (family,))


class Codec(Generic[M]):
    """Decodes one family of messages (a union of tagged structs).

    `upcasters` maps an old type name to the function that lifts it. A lifted message is looked
    at again, so lifting may go through several versions (at most 32).
    """

    def __init__(self, family: Any, upcasters: Mapping[str, Upcaster] | None = None) -> None:
        self._family = family
        self.types: frozenset[bytes] = _types(family) | {t.encode() for t in upcasters or ()}
        """The type names on the wire that `decode` knows."""
        self._decoder: msgspec.json.Decoder[M] = msgspec.json.Decoder(family)
        self._upcasters = dict(upcasters or {})

    def decode(self, value: bytes | None) -> M:
        """The message in `value`. Raises `Undecodable` with the reason, never anything else."""
        if value is None:
            raise Undecodable("the record has no value")
        try:
            return self._decoder.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if not self._upcasters:
                raise Undecodable(str(error)) from error
            return self._lift(value, error)

    def _lift(self, value: bytes, first_error: Exception) -> M:
        try:
            fields = msgspec.json.decode(value, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Undecodable(str(first_error)) from first_error
        upcast = self._upcaster(fields)
        if upcast is None:
            raise Undecodable(str(first_error)) from first_error
        for _ in range(MAX_UPCASTS):
            try:
                fields = upcast(fields)
                upcast = self._upcaster(fields)
            except Exception as error:  # whatever it is, it is no message
                raise Undecodable(f"the upcaster of an old type failed: {error!r}") from error
            if upcast is None:
                break
        else:
            raise Undecodable("the upcasters go round in a circle")
        return self._convert(fields)

    def _upcaster(self, fields: Mapping[str, Any]) -> Upcaster | None:
        name = fields.get("type")
        return self._upcasters.get(name) if type(name) is str else None

    def _convert(self, fields: dict[str, Any]) -> M:
        try:
            return msgspec.convert(fields, self._family)
        except msgspec.ValidationError as error:
            raise Undecodable(f"after upcasting: {error}") from error
