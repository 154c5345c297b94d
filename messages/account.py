"""What can be asked of an account, and what can have happened to it.

A command names its effect (`effect_id`): the account applies an effect once and answers every
repetition with the first outcome. Commands that a saga sends also say where the answer goes.
"""

from typing import Annotated, Literal

import msgspec

from messages.identity import Direction
from messages.money import Amount, Currency, Limit
from messages.participant import EffectId, StepCommand

AccountId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}(?!\n)$")]
CreditPolicy = Literal["accept", "refuse"]

RefusalReason = Literal[
    "account_unknown",
    "account_exists",
    "account_frozen",
    "account_closed",
    "account_not_frozen",
    "account_not_empty",
    "currency_mismatch",
    "insufficient_funds",
    "transfer_limit_exceeded",
    "daily_limit_exceeded",
    "balance_overflow",
    "hold_unknown",
    "too_many_holds",
    "effect_expired",
    "clock_ahead",
    "effect_reused",
    "effect_voided",
]


class Asked(StepCommand, frozen=True, kw_only=True):
    """What every account command carries."""

    account_id: AccountId


class OpenAccount(Asked, frozen=True, kw_only=True, tag="account.OpenAccount.v1"):
    currency: Currency
    overdraft_limit_minor: Limit = 0
    transfer_limit_minor: Limit | None = None
    daily_limit_minor: Limit | None = None


class ChangeLimits(Asked, frozen=True, kw_only=True, tag="account.ChangeLimits.v1"):
    overdraft_limit_minor: Limit = 0
    transfer_limit_minor: Limit | None = None
    daily_limit_minor: Limit | None = None


class Deposit(Asked, frozen=True, kw_only=True, tag="account.Deposit.v1"):
    """Money enters the bank: from `world` to the account."""

    amount_minor: Amount
    currency: Currency


class Withdraw(Asked, frozen=True, kw_only=True, tag="account.Withdraw.v1"):
    """Money leaves the bank: from the account to `world`."""

    amount_minor: Amount
    currency: Currency


class Debit(Asked, frozen=True, kw_only=True, tag="account.Debit.v1"):
    """From the account to the saga's transit account."""

    amount_minor: Amount
    currency: Currency


class Credit(Asked, frozen=True, kw_only=True, tag="account.Credit.v1"):
    """From the saga's transit account to the account.

    With `undoes` set it gives a debit back: it is accepted by a frozen account too, and does
    nothing (and voids the debit) when that debit was not applied.
    """

    amount_minor: Amount
    currency: Currency


class CreditOnHold(Asked, frozen=True, kw_only=True, tag="account.CreditOnHold.v1"):
    """From the saga's transit account to the account, and reserved there in the same act.

    The money can't be spent until the hold, whose id is this effect id, is released; capturing the
    hold takes it back, whatever has become of the account.
    """

    amount_minor: Amount
    currency: Currency


class Hold(Asked, frozen=True, kw_only=True, tag="account.Hold.v1"):
    """Reserve: lowers the available, not the posted, balance. The hold's id is its effect id."""

    amount_minor: Amount
    currency: Currency


class Capture(Asked, frozen=True, kw_only=True, tag="account.Capture.v1"):
    """Turn a hold into a debit to the saga's transit account.

    With `undoes` set it takes a `CreditOnHold` back.
    """

    hold_id: EffectId


class Release(Asked, frozen=True, kw_only=True, tag="account.Release.v1"):
    """Give a hold up."""

    hold_id: EffectId


class Freeze(Asked, frozen=True, kw_only=True, tag="account.Freeze.v1"):
    credits: CreditPolicy = "refuse"


class Unfreeze(Asked, frozen=True, kw_only=True, tag="account.Unfreeze.v1"):
    pass


class CloseAccount(Asked, frozen=True, kw_only=True, tag="account.CloseAccount.v1"):
    pass


AccountCommand = (
    OpenAccount
    | ChangeLimits
    | Deposit
    | Withdraw
    | Debit
    | Credit
    | CreditOnHold
    | Hold
    | Capture
    | Release
    | Freeze
    | Unfreeze
    | CloseAccount
)


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """What every account event carries.

    `version` counts the changes of this account, from 1, without gaps; a refusal carries the
    version it was decided on. The last fields repeat the command's, so that the answer to it is
    a function of the event alone.
    """

    account_id: str
    version: int
    at_ms: int
    effect_id: str
    fingerprint: int
    attempt: int = 1
    saga_id: str = ""
    step: str = ""
    direction: Direction = "do"
    reply_to: str = ""


class AccountOpened(Happened, frozen=True, kw_only=True, tag="account.AccountOpened.v1"):
    currency: str
    overdraft_limit_minor: int
    transfer_limit_minor: int | None
    daily_limit_minor: int | None


class LimitsChanged(Happened, frozen=True, kw_only=True, tag="account.LimitsChanged.v1"):
    overdraft_limit_minor: int
    transfer_limit_minor: int | None
    daily_limit_minor: int | None


class Deposited(Happened, frozen=True, kw_only=True, tag="account.Deposited.v1"):
    """`world` -> account. `balance_minor` is the posted balance afterwards."""

    amount_minor: int
    currency: str
    balance_minor: int


class Withdrawn(Happened, frozen=True, kw_only=True, tag="account.Withdrawn.v1"):
    """Account -> `world`."""

    amount_minor: int
    currency: str
    balance_minor: int


class Debited(Happened, frozen=True, kw_only=True, tag="account.Debited.v1"):
    """Account -> transit of `saga_id`; `undoes` names the credit that it takes back, if any."""

    amount_minor: int
    currency: str
    balance_minor: int
    undoes: str = ""


class Credited(Happened, frozen=True, kw_only=True, tag="account.Credited.v1"):
    """Transit of `saga_id` -> account; `undoes` names the debit that it gives back, if any, and
    `allowance_day` the UTC day (days since 1970) whose daily limit that debit had used."""

    amount_minor: int
    currency: str
    balance_minor: int
    undoes: str = ""
    allowance_day: int | None = None


class CreditedOnHold(Happened, frozen=True, kw_only=True, tag="account.CreditedOnHold.v1"):
    """Transit of `saga_id` -> account, and held there. Both amounts afterwards."""

    amount_minor: int
    currency: str
    balance_minor: int
    held_minor: int


class Held(Happened, frozen=True, kw_only=True, tag="account.Held.v1"):
    """`held_minor` is the sum of the account's holds afterwards."""

    amount_minor: int
    currency: str
    held_minor: int


class Captured(Happened, frozen=True, kw_only=True, tag="account.Captured.v1"):
    """Account -> transit of `saga_id`, out of a hold; `undoes` names the credit on hold that it
    takes back, if any."""

    hold_id: str
    amount_minor: int
    currency: str
    balance_minor: int
    held_minor: int
    undoes: str = ""


class Released(Happened, frozen=True, kw_only=True, tag="account.Released.v1"):
    hold_id: str
    amount_minor: int
    currency: str
    held_minor: int
    undoes: str = ""


class Frozen(Happened, frozen=True, kw_only=True, tag="account.Frozen.v1"):
    credits: CreditPolicy


class Unfrozen(Happened, frozen=True, kw_only=True, tag="account.Unfrozen.v1"):
    pass


class AccountClosed(Happened, frozen=True, kw_only=True, tag="account.AccountClosed.v1"):
    pass


class CommandRefused(Happened, frozen=True, kw_only=True, tag="account.CommandRefused.v1"):
    """Nothing moved. `command` is the refused command's type, `detail` text for a person.

    `issued_at_ms`: the command's own, if it is the reason (`clock_ahead`); else 0.
    """

    command: str
    reason: RefusalReason
    detail: str
    issued_at_ms: int = 0


class EffectRepeated(Happened, frozen=True, kw_only=True, tag="account.EffectRepeated.v1"):
    """The effect's first outcome, told again: applied (`refused` empty) or refused and why.

    `hold_id` is set when the applied effect made a hold: the answer has to name it again.
    """

    refused: RefusalReason | Literal[""] = ""
    hold_id: str = ""


class EffectVoided(Happened, frozen=True, kw_only=True, tag="account.EffectVoided.v1"):
    """A compensation found nothing to take back; `voided` will be refused if it comes late."""

    voided: str


AccountEvent = (
    AccountOpened
    | LimitsChanged
    | Deposited
    | Withdrawn
    | Debited
    | Credited
    | CreditedOnHold
    | Held
    | Captured
    | Released
    | Frozen
    | Unfrozen
    | AccountClosed
    | CommandRefused
    | EffectRepeated
    | EffectVoided
)
