"""Move money from an account in one currency to an account in another, at a rate that was quoted.

The bank's own liquidity accounts stand between: the source pays `amount_minor` into the one, the
target gets `target_amount_minor` out of the other. Debit the source and the target's liquidity at
once; credit the target; credit the source's liquidity. The credit of the target is the pivot: a
customer's account may refuse, the bank's own one is insisted upon.

The quote names both amounts, so nothing is computed while money moves. It is good only if the
target's amount is exactly the source's times the rate, rounded half to even to the target's minor
unit. The books of each currency balance on their own, so rounding loses nothing: what it takes or
gives, at most half a minor unit, is a part of what the target's liquidity account pays.

`quote_ends_at` is the last moment in which the target is credited for the first time; later the
transfer is taken back (`too_late`).
"""

from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    Amount,
    Converted,
    Currency,
    Differ,
    Instant,
    Params,
    Rate,
    Text,
    command,
    define,
    step,
)


class FxTransferParams(Params):
    source = Account()
    amount_minor = Amount()
    currency = Currency()
    target = Account()
    target_amount_minor = Amount()
    target_currency = Currency()
    rate = Rate()
    quote_ends_at = Instant()
    source_liquidity = Account()
    target_liquidity = Account()
    reference = Text(max_length=140, optional=True)


p = FxTransferParams()
_PAID = {"amount_minor": p.amount_minor, "currency": p.currency}
_GOT = {"amount_minor": p.target_amount_minor, "currency": p.target_currency}

FX_TRANSFER = define(
    "fx_transfer",
    version=1,
    params=p,
    rules=(
        Differ(p.currency, p.target_currency),
        Differ(p.source, p.source_liquidity),
        Differ(p.target, p.target_liquidity),
        Converted(p.amount_minor, p.currency, p.rate, p.target_amount_minor, p.target_currency),
    ),
    deadline_ms=60_000,
    steps=(
        step(
            "debit",
            do=command(Debit, account_id=p.source, **_PAID),
            undo=command(Credit, account_id=p.source, **_PAID),
            after=(),
            by=p.quote_ends_at,
        ),
        step(
            "debit_liquidity",
            do=command(Debit, account_id=p.target_liquidity, **_GOT),
            undo=command(Credit, account_id=p.target_liquidity, **_GOT),
            after=(),
            by=p.quote_ends_at,
        ),
        step(
            "credit",
            do=command(Credit, account_id=p.target, **_GOT),
            pivot=True,
            after=("debit", "debit_liquidity"),
            by=p.quote_ends_at,
        ),
        step(
            "credit_liquidity",
            do=command(Credit, account_id=p.source_liquidity, **_PAID),
            irreversible=True,
        ),
    ),
)
