"""What a handler says became of an effect. A refusal is a value, not an exception."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec

from messages.participant import EFFECT_UNKNOWN, OUTCOME_UNKNOWN
from messages.saga import Result

RESERVED: Final = frozenset(
    (
        OUTCOME_UNKNOWN,
        EFFECT_UNKNOWN,
        "effect_expired",
        "effect_reused",
        "effect_voided",
        "effect_in_progress",
        "clock_ahead",
    )
)
"""Reasons that the SDK itself declines with; a handler's would be misunderstood."""

_REASON = re.compile(r"[a-z][a-z0-9_]{0,99}")


class Applied(msgspec.Struct, frozen=True):
    """It is done, for good. `result`: what later steps may refer to; flat, texts of at most 1,000
    characters. Raises msgspec.ValidationError when it is not."""

    result: Result = {}

    def __post_init__(self) -> None:
        msgspec.convert(self.result, Result)


class Declined(msgspec.Struct, frozen=True):
    """It is not done and won't be. `reason`: for machines, like `creditor_unknown`; `detail`: for
    people, cut at 1,000 characters. Raises ValueError for a reason that can't be one."""

    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        if not _REASON.fullmatch(self.reason) or self.reason in RESERVED:
            raise ValueError(
                f"{self.reason[:100]!r} is no reason to decline with: lower case letters, digits "
                f"and _, and none of {', '.join(sorted(RESERVED))}"
            )


class Unknown(msgspec.Struct, frozen=True):
    """Nobody can tell yet whether it is done. The engine asks again; it never guesses.

    `never_came`: only for an enquiry: what the effect is asked of has not heard of it, so that it
    is right to send it (again).
    """

    detail: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    never_came: bool = False


Outcome = Applied | Declined | Unknown

Handler = Callable[[Any], Awaitable[Outcome]]
"""Takes a command. An exception that it raises is logged and counts as `Unknown`."""
