"""What the bank asks of whoever carries money out of it: a correspondent bank, a clearing house, a
payment provider.
"""

from typing import Annotated

import msgspec

from messages.account import AccountId
from messages.money import Amount, Currency
from messages.participant import StepCommand

CreditorName = Annotated[str, msgspec.Meta(max_length=70)]
CreditorAccount = Annotated[str, msgspec.Meta(max_length=34)]
Remittance = Annotated[str, msgspec.Meta(max_length=140)]


class SendPayout(StepCommand, frozen=True, kw_only=True, tag="payout.SendPayout.v1"):
    """Pay `amount_minor` to `creditor_account`, an IBAN or what the scheme uses, outside the bank.

    The money is reserved at `debtor_account`. Once this is applied nothing takes it back.
    """

    debtor_account: AccountId
    creditor_name: CreditorName
    creditor_account: CreditorAccount
    amount_minor: Amount
    currency: Currency
    reference: Remittance
