"""Move money from one account to another at once.

Debit the source, then credit the target. A refused credit gives the debit back. The credit is the
pivot: once the target has the money it may be spent, so it is never taken back, and a credit that
nobody answers is asked for again under the same effect id, never guessed about.
"""

from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Differ,
    Params,
    Text,
    command,
    define,
    step,
)


class TransferParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    reference = Text(max_length=140, optional=True)


p = TransferParams()

TRANSFER = define(
    "transfer",
    version=1,
    params=p,
    rules=(Differ(p.source, p.target),),
    deadline_ms=60_000,
    steps=(
        step(
            "debit",
            do=command(
                Debit, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency
            ),
            undo=command(
                Credit, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency
            ),
        ),
        step(
            "credit",
            do=command(
                Credit, account_id=p.target, amount_minor=p.amount_minor, currency=p.currency
            ),
            pivot=True,
        ),
    ),
)
