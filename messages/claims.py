"""What sagas ask for that belongs to none of them: shares of a limited quantity, and locks.

A quota or a lock is named by what it is for (`purpose`) and what it is of (`resource`). All claims
of a quota together never exceed its limit, whichever sagas make them and whenever; a lock is held
by one saga at a time. `claims/` keeps them.
"""

from typing import Annotated, Final

import msgspec

from messages.money import Amount
from messages.participant import EffectId, StepCommand

Resource = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,100}(?!\n)$")]
Purpose = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}(?!\n)$")]


class Claim(StepCommand, frozen=True, kw_only=True, tag="claims.Claim.v1"):
    """Take `amount_minor` of the quota, for good, unless all claims of it would exceed the limit
    (`limit_exceeded`). The first claim that is applied sets the limit; one with another limit is
    refused (`limit_differs`)."""

    purpose: Purpose
    resource: Resource
    amount_minor: Amount
    limit_minor: Amount


class GiveBack(StepCommand, frozen=True, kw_only=True, tag="claims.GiveBack.v1"):
    """Take a `Claim` back, the one that `undoes` names."""

    purpose: Purpose
    resource: Resource
    amount_minor: Amount


QuotaCommand = Claim | GiveBack

MAX_LOCK_WAIT_MS: Final = 3_600_000
MAX_LOCK_QUEUE: Final = 10_000


class AcquireLock(StepCommand, frozen=True, kw_only=True, tag="claims.AcquireLock.v1"):
    """Hold the lock from when it is free; the lock is named by this effect id. Whoever comes first
    has it first.

    Refused when more than `max_waiting` would wait (`queue_full`), when it has not become free
    within `timeout_ms` (`lock_timeout`), and to a saga that holds it or waits for it already
    (`lock_held`).
    """

    purpose: Purpose
    resource: Resource
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=MAX_LOCK_WAIT_MS)]
    max_waiting: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOCK_QUEUE)]


class ReleaseLock(StepCommand, frozen=True, kw_only=True, tag="claims.ReleaseLock.v1"):
    """Hold the lock no longer; with `undoes`, do not wait for it either. `lock_id`: the effect id
    of the `AcquireLock`."""

    purpose: Purpose
    resource: Resource
    lock_id: EffectId


ClaimCommand = QuotaCommand | AcquireLock | ReleaseLock
