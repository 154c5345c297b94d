"""One quota: what it is, what it decides, how it changes. Pure.

It promises that what is claimed of it in all is never below 0 and never above its limit. That one
effect claims once and is given back once is the effect memory's promise (`participant.effects`).
"""

from typing import assert_never

import msgspec

from messages.claims import Claim, GiveBack, QuotaCommand
from messages.wire import type_name
from participant.outcomes import Applied, Declined


class Quota(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """0 <= `claimed` <= `limit`, in whatever minor units its claims are."""

    limit: int
    claimed: int


class QuotaBroken(Exception):
    """A claim is said to be applied that can't have been: the journal is not what was written."""

    def __init__(self, quota: Quota | None, command: QuotaCommand) -> None:
        claimed = quota.claimed if quota else 0
        super().__init__(
            f"{type_name(command)} of {command.amount_minor} can't have been applied to quota "
            f"{command.purpose} of {command.resource}, of which {claimed} are claimed; "
            "check the journal (makegood audit) before this partition goes on"
        )
        self.quota = quota
        self.command = command


def decide(quota: Quota | None, command: QuotaCommand) -> Applied | Declined:
    """What becomes of `command`; `quota` None: nothing of it was claimed so far. Never raises."""
    match command:
        case Claim():
            return _claim(quota or Quota(command.limit_minor, 0), command)
        case GiveBack():
            # Not as a step of its own: it would give back what another saga relies on.
            if not command.undoes or quota is None or command.amount_minor > quota.claimed:
                return Declined("not_claimed", "there is no claim that this takes back")
            return Applied()
        case _:
            assert_never(command)


def _claim(quota: Quota, command: Claim) -> Applied | Declined:
    if command.limit_minor != quota.limit:
        return Declined("limit_differs", f"its limit is {quota.limit}")
    left = quota.limit - quota.claimed
    if command.amount_minor > left:
        return Declined("limit_exceeded", f"{left} of {quota.limit} are left")
    return Applied()


def evolve(quota: Quota | None, command: QuotaCommand) -> Quota:
    """The quota after `command` was applied. Raises `QuotaBroken` when it can't have been."""
    if not isinstance(decide(quota, command), Applied):
        raise QuotaBroken(quota, command)
    match command:
        case Claim():
            claimed = 0 if quota is None else quota.claimed
            return Quota(command.limit_minor, claimed + command.amount_minor)
        case GiveBack():
            assert quota is not None, "decide has checked it"
            return Quota(quota.limit, quota.claimed - command.amount_minor)
        case _:
            assert_never(command)
