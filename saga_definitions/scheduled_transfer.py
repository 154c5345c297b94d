"""Move money at a time to come.

Nothing is done before `execute_at`: no money is reserved, and what the source holds then decides. A
time that is past is now. Until then the transfer can be cancelled.
"""

from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Differ,
    Instant,
    Params,
    Text,
    command,
    define,
    step,
    wait_until,
)


class ScheduledTransferParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    execute_at = Instant()
    reference = Text(max_length=140, optional=True)


p = ScheduledTransferParams()

SCHEDULED_TRANSFER = define(
    "scheduled_transfer",
    version=1,
    params=p,
    rules=(Differ(p.source, p.target),),
    deadline_ms=60_000,
    steps=(
        wait_until("due", p.execute_at),
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
