"""Move money that is reserved first, so that the source's posted balance changes last.

Hold the amount at the source, credit the target, then capture the hold. A refused credit releases
the hold. The credit is the pivot: the hold guarantees the money, so from there the saga insists
on the capture.
"""

from messages.account import Capture, Credit, Hold, Release
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Differ,
    Params,
    Text,
    command,
    define,
    effect_of,
    step,
)


class ReservedTransferParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    reference = Text(max_length=140, optional=True)


p = ReservedTransferParams()

RESERVED_TRANSFER = define(
    "reserved_transfer",
    version=1,
    params=p,
    rules=(Differ(p.source, p.target),),
    deadline_ms=60_000,
    steps=(
        step(
            "hold",
            do=command(Hold, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency),
            undo=command(Release, account_id=p.source, hold_id=effect_of("hold")),
        ),
        step(
            "credit",
            do=command(
                Credit, account_id=p.target, amount_minor=p.amount_minor, currency=p.currency
            ),
            pivot=True,
        ),
        step(
            "capture",
            do=command(Capture, account_id=p.source, hold_id=effect_of("hold")),
            irreversible=True,
        ),
    ),
)
