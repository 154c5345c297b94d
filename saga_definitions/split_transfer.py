"""Move money from one account to several at once: all of them get their part, or none does.

Hold the sum at the source; credit all targets, in parallel, on hold; when every one of them has
accepted, capture the source's hold and release the targets'. The capture is the pivot.

Why on hold: a target that could spend its part while another one is still being asked might have
nothing left to take back. Here every way back is a hold that only this saga can use: no target has
had a cent to spend before all have accepted, and giving up never needs anybody's balance. For the
moment between the first credit and the capture the saga's transit account is below zero: the
source's hold stands for that money.
"""

from typing import Final

from messages.account import Capture, CreditOnHold, Hold, Release
from saga_definitions.dsl import (
    Account,
    AddUp,
    Amount,
    Condition,
    Currency,
    Legs,
    Params,
    Step,
    Text,
    command,
    condition,
    define,
    effect_of,
    step,
)

MAX_LEGS: Final = 10


class SplitTransferParams(Params):
    source = Account()
    amount_minor = Amount()
    currency = Currency()
    legs = Legs(most=MAX_LEGS)
    reference = Text(max_length=140, optional=True)


p = SplitTransferParams()


def _is_there(leg: int) -> tuple[Condition, ...]:
    """The first leg always is."""
    return (condition(p.legs[leg], "!=", None),) if leg else ()


def _credit(leg: int) -> Step:
    name, target = f"credit_{leg}", p.legs[leg].target
    return step(
        name,
        do=command(
            CreditOnHold,
            account_id=target,
            amount_minor=p.legs[leg].amount_minor,
            currency=p.currency,
        ),
        undo=command(Capture, account_id=target, hold_id=effect_of(name)),
        after=("hold",),
        when=_is_there(leg),
    )


def _release(leg: int) -> Step:
    return step(
        f"release_{leg}",
        do=command(Release, account_id=p.legs[leg].target, hold_id=effect_of(f"credit_{leg}")),
        irreversible=True,
        after=("capture",),
        when=_is_there(leg),
    )


SPLIT_TRANSFER = define(
    "split_transfer",
    version=1,
    params=p,
    rules=(AddUp(p.legs, p.amount_minor, p.source),),
    deadline_ms=60_000,
    steps=(
        step(
            "hold",
            do=command(Hold, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency),
            undo=command(Release, account_id=p.source, hold_id=effect_of("hold")),
        ),
        *(_credit(leg) for leg in range(MAX_LEGS)),
        step(
            "capture",
            do=command(Capture, account_id=p.source, hold_id=effect_of("hold")),
            pivot=True,
            after=tuple(f"credit_{leg}" for leg in range(MAX_LEGS)),
        ),
        *(_release(leg) for leg in range(MAX_LEGS)),
    ),
)
