"""A transfer that the source pays a fee for: two sagas that exist anyway, as the steps of a third.

The fee is charged first; the transfer is the pivot. When the transfer is compensated, the fee,
which is completed by then, is taken back: nobody pays for what did not happen.
"""

from saga_definitions.dsl import Account, Amount, Currency, Params, Text, define, nested
from saga_definitions.fee import FEE
from saga_definitions.transfer import TRANSFER


class TransferWithFeeParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    fee_account = Account()
    fee_minor = Amount()
    reference = Text(max_length=140, optional=True)


p = TransferWithFeeParams()

TRANSFER_WITH_FEE = define(
    "transfer_with_fee",
    version=1,
    params=p,
    deadline_ms=60_000,
    steps=(
        nested(
            "fee",
            FEE,
            given={
                "source": p.source,
                "fee_account": p.fee_account,
                "amount_minor": p.fee_minor,
                "currency": p.currency,
            },
        ),
        nested(
            "payment",
            TRANSFER,
            given={
                "source": p.source,
                "target": p.target,
                "amount_minor": p.amount_minor,
                "currency": p.currency,
            },
            pivot=True,
        ),
    ),
)
