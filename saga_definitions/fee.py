"""Charge a fee: debit whoever pays it, credit the bank's own account for fees.

It has no pivot, so it can be taken back after its end too: made to be a step of another saga, such
as `transfer_with_fee`. Taking it back debits the account for fees, which should therefore have an
overdraft limit, or always enough.
"""

from messages.account import Credit, Debit
from saga_definitions.dsl import Account, Amount, Currency, Differ, Params, command, define, step


class FeeParams(Params):
    source = Account()
    fee_account = Account()
    amount_minor = Amount()
    currency = Currency()


p = FeeParams()
_MONEY = {"amount_minor": p.amount_minor, "currency": p.currency}

FEE = define(
    "fee",
    version=1,
    params=p,
    rules=(Differ(p.source, p.fee_account),),
    deadline_ms=60_000,
    steps=(
        step(
            "debit",
            do=command(Debit, account_id=p.source, **_MONEY),
            undo=command(Credit, account_id=p.source, **_MONEY),
        ),
        step(
            "credit",
            do=command(Credit, account_id=p.fee_account, **_MONEY),
            undo=command(Debit, account_id=p.fee_account, **_MONEY),
        ),
    ),
)
