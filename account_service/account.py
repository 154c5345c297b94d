"""One account: what it is, what it decides, how it changes. Pure; imports only `messages`.

It promises the others that its available balance (posted + overdraft - holds) never becomes
negative, that its versions have no gaps, and that every command gets exactly one event. That an
effect is applied once is the ledger's promise (`ledger.py`).

The daily limit counts Debit, Withdraw and Hold by the UTC day they are decided on. A hold that is
released, or a debit that is given back, on the day it was counted gives its allowance back: to the
holder a transfer that failed did not happen. On a later day there is nothing to give back to. A
capture counts nothing, its hold already has.
"""

from typing import Final, Literal, assert_never

import msgspec
from msgspec.structs import replace

from account_service.answers import refuse, told
from messages.account import (
    AccountClosed,
    AccountCommand,
    AccountEvent,
    AccountOpened,
    Capture,
    Captured,
    ChangeLimits,
    CloseAccount,
    CommandRefused,
    Credit,
    Credited,
    CreditedOnHold,
    CreditOnHold,
    CreditPolicy,
    Debit,
    Debited,
    Deposit,
    Deposited,
    EffectRepeated,
    EffectVoided,
    Freeze,
    Frozen,
    Held,
    Hold,
    LimitsChanged,
    OpenAccount,
    RefusalReason,
    Release,
    Released,
    Unfreeze,
    Unfrozen,
    Withdraw,
    Withdrawn,
)
from messages.money import MAX_MINOR
from messages.wire import type_name

MAX_HOLDS: Final = 1_000
"""Holds that an account can have at once: keeps its snapshot within one record."""

MS_PER_DAY: Final = 86_400_000


class Reserved(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A hold: its amount, and the UTC day (days since 1970) whose daily limit it has used; None:
    it came in with a credit and has used none."""

    amount_minor: int
    day: int | None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account after `version` changes. Amounts in minor units of `currency`.

    `credits` counts only while frozen. `spent_minor` is what the daily limit has seen on
    `spent_day` (days since 1970, UTC). `holds` is never changed in place.
    """

    account_id: str
    version: int
    currency: str
    state: Literal["open", "frozen", "closed"] = "open"
    credits: CreditPolicy = "accept"
    balance_minor: int = 0
    held_minor: int = 0
    holds: dict[str, Reserved] = {}
    overdraft_limit_minor: int = 0
    transfer_limit_minor: int | None = None
    daily_limit_minor: int | None = None
    spent_day: int = 0
    spent_minor: int = 0

    @property
    def available_minor(self) -> int:
        return self.balance_minor + self.overdraft_limit_minor - self.held_minor

    def spent_on(self, day: int) -> int:
        """What counts against the daily limit of `day`. A clock that went back gets the latest
        day's count: a new allowance only comes with a new day."""
        return 0 if day > self.spent_day else self.spent_minor


class HistoryBroken(Exception):
    """An event doesn't follow on the account's history: the journal is not what was written."""

    def __init__(self, account_id: str, version: int, event: AccountEvent) -> None:
        super().__init__(
            f"{type_name(event)} version {event.version} can't follow version {version} of account "
            f"{account_id}; check the journal (makegood audit) before this partition goes on"
        )
        self.account_id = account_id
        self.version = version
        self.event = event


def decide(
    account: Account | None,
    command: AccountCommand,
    now_ms: int,
    allowance_day: int | None = None,
) -> AccountEvent:
    """The one event that follows from `command`. Never raises.

    `allowance_day`: for a Credit that gives a debit back, the UTC day that the debit counted on.
    """
    if account is None:
        if not isinstance(command, OpenAccount):
            return refuse(command, 0, now_ms, "account_unknown")
        return AccountOpened(
            currency=command.currency,
            overdraft_limit_minor=command.overdraft_limit_minor,
            transfer_limit_minor=command.transfer_limit_minor,
            daily_limit_minor=command.daily_limit_minor,
            **told(command, 1, now_ms),
        )
    reason = _refusal(account, command, now_ms // MS_PER_DAY)
    if reason is not None:
        return refuse(command, account.version, now_ms, reason)
    return _change(account, command, now_ms, allowance_day)


def _refusal(account: Account, command: AccountCommand, day: int) -> RefusalReason | None:
    """Why `account` can't do what is asked; None if it can."""
    if account.state == "closed":
        return "account_closed"
    match command:
        case Debit() | Withdraw() | Hold():
            return _outgoing_refusal(account, command, day)
        case Credit() | Deposit():
            return _incoming_refusal(account, command)
        case CreditOnHold():
            return _incoming_refusal(account, command) or _hold_refusal(account, command)
        case Capture() | Release():
            # A frozen account too: the hold is a promise made before it was frozen, and the
            # other side of the transfer may already rely on it.
            return None if command.hold_id in account.holds else "hold_unknown"
        case OpenAccount():
            return "account_exists"
        case ChangeLimits():
            left = account.balance_minor + command.overdraft_limit_minor - account.held_minor
            return "insufficient_funds" if left < 0 else None
        case Freeze():
            return None
        case Unfreeze():
            return None if account.state == "frozen" else "account_not_frozen"
        case CloseAccount():
            return "account_not_empty" if account.balance_minor or account.holds else None
        case _:
            assert_never(command)


def _outgoing_refusal(
    account: Account, command: Debit | Withdraw | Hold, day: int
) -> RefusalReason | None:
    amount = command.amount_minor
    if command.currency != account.currency:
        return "currency_mismatch"
    if account.state == "frozen":
        return "account_frozen"
    limit = account.transfer_limit_minor
    if limit is not None and amount > limit:
        return "transfer_limit_exceeded"
    limit = account.daily_limit_minor
    if limit is not None and account.spent_on(day) + amount > limit:
        return "daily_limit_exceeded"
    if amount > account.available_minor:
        return "insufficient_funds"
    return _hold_refusal(account, command) if isinstance(command, Hold) else None


def _hold_refusal(account: Account, command: Hold | CreditOnHold) -> RefusalReason | None:
    if command.effect_id in account.holds:
        # A hold can outlive the effect memory; its name is taken as long as it stands.
        return "effect_reused"
    if len(account.holds) >= MAX_HOLDS:
        return "too_many_holds"
    if account.held_minor + command.amount_minor > MAX_MINOR:
        return "balance_overflow"
    return None


def _incoming_refusal(
    account: Account, command: Credit | CreditOnHold | Deposit
) -> RefusalReason | None:
    if command.currency != account.currency:
        return "currency_mismatch"
    # Giving a debit back is not a new credit: it returns what the account had before.
    gives_back = isinstance(command, Credit) and command.undoes != ""
    if account.state == "frozen" and account.credits == "refuse" and not gives_back:
        return "account_frozen"
    if account.balance_minor + command.amount_minor > MAX_MINOR:
        return "balance_overflow"
    return None


def _change(
    account: Account, command: AccountCommand, now_ms: int, allowance_day: int | None
) -> AccountEvent:
    """What happens when nothing speaks against it."""
    common = told(command, account.version + 1, now_ms)
    match command:
        case Debit(amount_minor=amount, currency=currency, undoes=undoes):
            return Debited(
                amount_minor=amount,
                currency=currency,
                balance_minor=account.balance_minor - amount,
                undoes=undoes,
                **common,
            )
        case Credit(amount_minor=amount, currency=currency, undoes=undoes):
            return Credited(
                amount_minor=amount,
                currency=currency,
                balance_minor=account.balance_minor + amount,
                undoes=undoes,
                allowance_day=allowance_day,
                **common,
            )
        case CreditOnHold(amount_minor=amount, currency=currency):
            return CreditedOnHold(
                amount_minor=amount,
                currency=currency,
                balance_minor=account.balance_minor + amount,
                held_minor=account.held_minor + amount,
                **common,
            )
        case Hold(amount_minor=amount, currency=currency):
            held = account.held_minor + amount
            return Held(amount_minor=amount, currency=currency, held_minor=held, **common)
        case Capture(hold_id=hold_id, undoes=undoes):
            amount = account.holds[hold_id].amount_minor
            return Captured(
                hold_id=hold_id,
                amount_minor=amount,
                currency=account.currency,
                balance_minor=account.balance_minor - amount,
                held_minor=account.held_minor - amount,
                undoes=undoes,
                **common,
            )
        case Release(hold_id=hold_id, undoes=undoes):
            amount = account.holds[hold_id].amount_minor
            return Released(
                hold_id=hold_id,
                amount_minor=amount,
                currency=account.currency,
                held_minor=account.held_minor - amount,
                undoes=undoes,
                **common,
            )
        case Deposit(amount_minor=amount, currency=currency):
            balance = account.balance_minor + amount
            return Deposited(
                amount_minor=amount, currency=currency, balance_minor=balance, **common
            )
        case Withdraw(amount_minor=amount, currency=currency):
            balance = account.balance_minor - amount
            return Withdrawn(
                amount_minor=amount, currency=currency, balance_minor=balance, **common
            )
        case ChangeLimits():
            return LimitsChanged(
                overdraft_limit_minor=command.overdraft_limit_minor,
                transfer_limit_minor=command.transfer_limit_minor,
                daily_limit_minor=command.daily_limit_minor,
                **common,
            )
        case Freeze(credits=credits):
            return Frozen(credits=credits, **common)
        case Unfreeze():
            return Unfrozen(**common)
        case CloseAccount():
            return AccountClosed(**common)
        case OpenAccount():
            raise AssertionError("an account that exists refuses to be opened")
        case _:
            assert_never(command)


def evolve(account: Account | None, event: AccountEvent) -> Account | None:
    """The account after `event`. None only while it has not been opened.

    Raises `HistoryBroken` when the event's version is not the next one.
    """
    if isinstance(event, (CommandRefused, EffectRepeated, EffectVoided)):
        return account
    if isinstance(event, AccountOpened):
        if account is not None or event.version != 1:
            raise HistoryBroken(event.account_id, account.version if account else 0, event)
        return Account(
            account_id=event.account_id,
            version=1,
            currency=event.currency,
            overdraft_limit_minor=event.overdraft_limit_minor,
            transfer_limit_minor=event.transfer_limit_minor,
            daily_limit_minor=event.daily_limit_minor,
        )
    if account is None or event.version != account.version + 1:
        raise HistoryBroken(event.account_id, account.version if account else 0, event)
    version = event.version
    match event:
        case Debited() | Withdrawn():
            day, spent = _spend(account, event)
            return replace(
                account,
                version=version,
                balance_minor=event.balance_minor,
                spent_day=day,
                spent_minor=spent,
            )
        case Credited():
            return replace(
                account,
                version=version,
                balance_minor=event.balance_minor,
                spent_minor=_give_back(account, event.allowance_day, event.amount_minor),
            )
        case CreditedOnHold():
            return replace(
                account,
                version=version,
                balance_minor=event.balance_minor,
                held_minor=event.held_minor,
                holds={**account.holds, event.effect_id: Reserved(event.amount_minor, None)},
            )
        case Held():
            day, spent = _spend(account, event)
            return replace(
                account,
                version=version,
                held_minor=event.held_minor,
                holds={**account.holds, event.effect_id: Reserved(event.amount_minor, day)},
                spent_day=day,
                spent_minor=spent,
            )
        case Captured():
            return replace(
                account,
                version=version,
                balance_minor=event.balance_minor,
                held_minor=event.held_minor,
                holds=_without(account.holds, event.hold_id),
            )
        case Released():
            day = account.holds[event.hold_id].day
            return replace(
                account,
                version=version,
                held_minor=event.held_minor,
                holds=_without(account.holds, event.hold_id),
                spent_minor=_give_back(account, day, event.amount_minor),
            )
        case Deposited():
            return replace(account, version=version, balance_minor=event.balance_minor)
        case LimitsChanged():
            return replace(
                account,
                version=version,
                overdraft_limit_minor=event.overdraft_limit_minor,
                transfer_limit_minor=event.transfer_limit_minor,
                daily_limit_minor=event.daily_limit_minor,
            )
        case Frozen():
            return replace(account, version=version, state="frozen", credits=event.credits)
        case Unfrozen():
            return replace(account, version=version, state="open", credits="accept")
        case AccountClosed():
            return replace(account, version=version, state="closed")
        case _:
            assert_never(event)


def _spend(account: Account, event: Debited | Withdrawn | Held) -> tuple[int, int]:
    """The day that the amount counts on, and that day's sum with it."""
    day = max(account.spent_day, event.at_ms // MS_PER_DAY)
    # No limit is above MAX_MINOR, so a sum that is at it need not grow on beyond what JSON holds.
    return day, min(account.spent_on(day) + event.amount_minor, MAX_MINOR)


def _give_back(account: Account, day: int | None, amount_minor: int) -> int:
    """The sum of `spent_day` after an amount that counted on `day` is given back."""
    if day != account.spent_day:
        return account.spent_minor
    return max(account.spent_minor - amount_minor, 0)


def _without(holds: dict[str, Reserved], hold_id: str) -> dict[str, Reserved]:
    left = dict(holds)
    del left[hold_id]
    return left
