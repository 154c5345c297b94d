"""Move money; above a limit only when another person than the one who asks for it approves.

Hold the amount at the source, wait for the signal `approval`, credit the target, capture the hold.
A rejection, or three days of silence, releases the hold. The money is held meanwhile, not debited:
a hold can be released however long it has stood, and an approval is never given for nothing.

The limit belongs to the definition, not to the request, so nobody can ask for another one. A bank
with another limit, or one per currency, ships a definition of its own (`approved_transfer(...)`).
"""

from typing import Final

from messages.account import Capture, Credit, Hold, Release
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    Differ,
    Params,
    Person,
    Text,
    command,
    condition,
    define,
    effect_of,
    step,
    wait_for,
)

FREE_UP_TO_MINOR: Final = 1_000_000
"""Up to here nobody is asked: 10,000.00 in a currency of two digits."""

SILENCE_MS: Final = 3 * 24 * 3_600 * 1_000


class ApprovedTransferParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    initiator = Person()
    reference = Text(max_length=140, optional=True)


p = ApprovedTransferParams()


def approved_transfer(
    version: int = 1, *, free_up_to_minor: int = FREE_UP_TO_MINOR, silence_ms: int = SILENCE_MS
) -> Definition:
    """Up to `free_up_to_minor` nobody is asked; `silence_ms` is how long a word is waited for.

    Raises `DefinitionError`.
    """
    return define(
        "approved_transfer",
        version=version,
        params=p,
        rules=(Differ(p.source, p.target),),
        deadline_ms=60_000,
        steps=(
            step(
                "hold",
                do=command(
                    Hold, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency
                ),
                undo=command(Release, account_id=p.source, hold_id=effect_of("hold")),
            ),
            wait_for(
                "approval",
                timeout_ms=silence_ms,
                not_by=p.initiator,
                when=condition(p.amount_minor, ">", free_up_to_minor),
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


APPROVED_TRANSFER: Final = approved_transfer()
