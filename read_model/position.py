"""Positions in a journal as text: `orchestrator.journal/3@1234`, the next offset to be folded.

The API hands them out as `as_of` and takes them back from anybody, so `parse` trusts nothing.
"""

import re
from typing import Final, NamedTuple

import msgspec

from journal.log import Place

MAX_OFFSET: Final = 2**63 - 1
_MAX_TEXT: Final = 300

# Kafka's rule for topic names, and numbers without sign or leading zeros.
_pattern = re.compile(r"([A-Za-z0-9._-]{1,249})/(0|[1-9][0-9]{0,5})@(0|[1-9][0-9]{0,18})")


class Position(msgspec.Struct, frozen=True):
    """How far a partition is folded: the next offset to read, and the epoch in force there."""

    next_offset: int = 0
    epoch: int = -1


class PositionMalformed(ValueError):
    """The text is not a position."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:80]!r} is not a position: expected topic/partition@offset, as answers give "
            "it in `as_of`, e.g. orchestrator.journal/3@1234"
        )


class Token(NamedTuple):
    """`next_offset` 1234 says: everything before offset 1234 of `place` is folded."""

    place: Place
    next_offset: int


def parse(text: str) -> Token:
    """Raises PositionMalformed."""
    found = _pattern.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if found is None or int(found[3]) > MAX_OFFSET:
        raise PositionMalformed(text)
    return Token(Place(found[1], int(found[2])), int(found[3]))


def format(place: Place, next_offset: int) -> str:
    return f"{place}@{next_offset}"
