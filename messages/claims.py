"""What sagas ask for that belongs to none of them: shares of a limited quantity.

A quota is named by what it is for (`purpose`) and what it is of (`resource`); all claims of it
together never exceed its limit, whichever sagas make them and whenever. `claims/` keeps them.
"""

from typing import Annotated

import msgspec

from messages.money import Amount
from messages.participant import StepCommand

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


ClaimCommand = Claim | GiveBack
