"""Pay many at once out of one account, and give back what could not be paid.

Debit the sum at the source, credit the targets, some at a time; what a target refuses goes back to
the source. The payment is the pivot: once somebody is paid, all others are, too, as far as they can
be. The saga is then completed, `partial` if somebody could not be paid, and its legs tell who and
why. When nobody can be paid, the debit is taken back. A target that nobody can tell about is asked
again and again, then the saga is parked for it, with all the others paid.
"""

from typing import Final

from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    AddUp,
    Amount,
    Currency,
    Legs,
    Params,
    Text,
    command,
    condition,
    define,
    result_of,
    step,
)

MAX_LEGS: Final = 10_000
WIDTH: Final = 100


class PayrollParams(Params):
    source = Account()
    amount_minor = Amount()
    currency = Currency()
    legs = Legs(most=MAX_LEGS)
    reference = Text(max_length=140, optional=True)


p = PayrollParams()
unpaid_minor = result_of("pay", "refused_minor")

PAYROLL = define(
    "payroll",
    version=1,
    params=p,
    rules=(AddUp(p.legs, p.amount_minor, p.source),),
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
            "pay",
            each=p.legs,
            width=WIDTH,
            do=command(
                Credit,
                account_id=p.legs.leg.target,
                amount_minor=p.legs.leg.amount_minor,
                currency=p.currency,
            ),
            pivot=True,
        ),
        step(
            "give_back",
            do=command(Credit, account_id=p.source, amount_minor=unpaid_minor, currency=p.currency),
            irreversible=True,
            when=condition(unpaid_minor, ">", 0),
        ),
    ),
)
