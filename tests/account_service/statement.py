"""Bank statements for tests: `given(events).when(command).then(event)`.

Builders leave out what an event repeats from its command; `then` checks that part in every test.
"""

from typing import Any

from msgspec.structs import asdict, replace

from account_service.answers import answer
from account_service.ledger import Ledger
from messages import account as m
from messages.account import AccountCommand, AccountEvent
from messages.fingerprint import fingerprint
from messages.saga import StepApplied, StepDeclined
from messages.wire import type_name

NOW = 1_736_942_400_000
"""2025-01-15 12:00:00 UTC."""

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

NOT_CHANGES = (m.CommandRefused, m.EffectRepeated, m.EffectVoided)


class Statement:
    """A ledger with a memory of the last command and its event."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.events: list[AccountEvent] = []

    def when(self, command: AccountCommand, at_ms: int = NOW) -> "Statement":
        account = self.ledger.account(command.account_id)
        self.version = 0 if account is None else account.version
        self.command = command
        self.event = self.ledger.decide(command, at_ms)
        self.ledger.evolve(self.event)
        self.events.append(self.event)
        return self

    def then(self, expected: AccountEvent) -> "Statement":
        event, command = self.event, self.command
        changed = not isinstance(expected, NOT_CHANGES)
        repeated = {
            "account_id": command.account_id,
            "version": self.version + changed,
            "at_ms": event.at_ms,
            "effect_id": command.effect_id,
            "fingerprint": fingerprint(command),
            "attempt": command.attempt,
            "saga_id": command.saga_id,
            "step": command.step,
            "direction": command.direction,
            "reply_to": command.reply_to,
        }
        assert event == replace(expected, **repeated)
        return self

    def then_refused(self, reason: m.RefusalReason) -> "Statement":
        event = self.event
        assert isinstance(event, m.CommandRefused), event
        assert event.reason == reason
        assert event.detail
        return self.then(
            m.CommandRefused(
                command=type_name(self.command),
                reason=reason,
                detail=event.detail,
                issued_at_ms=self.command.issued_at_ms if reason == "clock_ahead" else 0,
                **PAST,
            )
        )

    def then_told(self, expected: StepApplied | StepDeclined | None) -> "Statement":
        assert answer(self.event) == expected
        return self

    def account(self, account_id: str = "alice") -> dict[str, Any]:
        account = self.ledger.account(account_id)
        assert account is not None
        return asdict(account) | {"available_minor": account.available_minor}


def given(*events: AccountEvent, effect_horizon_ms: int = 7 * DAY) -> Statement:
    """What happened before: versions and effect ids are filled in where a builder left them."""
    ledger = Ledger(effect_horizon_ms)
    for number, event in enumerate(events, 1):
        account = ledger.account(event.account_id)
        version = (0 if account is None else account.version) + (not isinstance(event, NOT_CHANGES))
        effect_id = event.effect_id or f"past-{number}"
        ledger.evolve(replace(event, version=version, effect_id=effect_id))
    return Statement(ledger)


PAST: dict[str, Any] = {
    "account_id": "alice",
    "version": 0,
    "at_ms": NOW,
    "effect_id": "",
    "fingerprint": 0,
}


def opened(**fields: Any) -> m.AccountOpened:
    limits: dict[str, Any] = {
        "currency": "EUR",
        "overdraft_limit_minor": 0,
        "transfer_limit_minor": None,
        "daily_limit_minor": None,
    }
    return m.AccountOpened(**{**PAST, **limits, **fields})


def deposited(amount: int, balance: int, **fields: Any) -> m.Deposited:
    money = {"amount_minor": amount, "balance_minor": balance, "currency": "EUR"}
    return m.Deposited(**{**PAST, **money, **fields})


def withdrawn(amount: int, balance: int, **fields: Any) -> m.Withdrawn:
    money = {"amount_minor": amount, "balance_minor": balance, "currency": "EUR"}
    return m.Withdrawn(**{**PAST, **money, **fields})


def debited(amount: int, balance: int, **fields: Any) -> m.Debited:
    money = {"amount_minor": amount, "balance_minor": balance, "currency": "EUR"}
    return m.Debited(**{**PAST, **money, **fields})


def credited(amount: int, balance: int, **fields: Any) -> m.Credited:
    money = {"amount_minor": amount, "balance_minor": balance, "currency": "EUR"}
    return m.Credited(**{**PAST, **money, **fields})


def credited_on_hold(amount: int, balance: int, total: int, **fields: Any) -> m.CreditedOnHold:
    money = {
        "amount_minor": amount,
        "balance_minor": balance,
        "held_minor": total,
        "currency": "EUR",
    }
    return m.CreditedOnHold(**{**PAST, **money, **fields})


def held(amount: int, total: int, **fields: Any) -> m.Held:
    money = {"amount_minor": amount, "held_minor": total, "currency": "EUR"}
    return m.Held(**{**PAST, **money, **fields})


def captured(hold: str, amount: int, balance: int, total: int = 0, **fields: Any) -> m.Captured:
    money = {
        "hold_id": hold,
        "amount_minor": amount,
        "balance_minor": balance,
        "held_minor": total,
        "currency": "EUR",
    }
    return m.Captured(**{**PAST, **money, **fields})


def released(hold: str, amount: int, total: int = 0, **fields: Any) -> m.Released:
    money = {"hold_id": hold, "amount_minor": amount, "held_minor": total, "currency": "EUR"}
    return m.Released(**{**PAST, **money, **fields})


def frozen(credits: m.CreditPolicy = "refuse", **fields: Any) -> m.Frozen:
    return m.Frozen(**{**PAST, "credits": credits, **fields})


def unfrozen(**fields: Any) -> m.Unfrozen:
    return m.Unfrozen(**{**PAST, **fields})


def closed(**fields: Any) -> m.AccountClosed:
    return m.AccountClosed(**{**PAST, **fields})


def limits_changed(**fields: Any) -> m.LimitsChanged:
    limits: dict[str, Any] = {
        "overdraft_limit_minor": 0,
        "transfer_limit_minor": None,
        "daily_limit_minor": None,
    }
    return m.LimitsChanged(**{**PAST, **limits, **fields})


def repeated(refused: Any = "", hold_id: str = "") -> m.EffectRepeated:
    return m.EffectRepeated(**PAST, refused=refused, hold_id=hold_id)


def voided(effect: str) -> m.EffectVoided:
    return m.EffectVoided(**PAST, voided=effect)


ASKED: dict[str, Any] = {
    "account_id": "alice",
    "effect_id": "e1",
    "issued_at_ms": NOW,
    "saga_id": "saga-1",
    "step": "pay",
    "reply_to": "orchestrator.input",
}


def open_account(**fields: Any) -> m.OpenAccount:
    return m.OpenAccount(**{**ASKED, "currency": "EUR", **fields})


def deposit(amount: int, **fields: Any) -> m.Deposit:
    return m.Deposit(**{**ASKED, "amount_minor": amount, "currency": "EUR", **fields})


def withdraw(amount: int, **fields: Any) -> m.Withdraw:
    return m.Withdraw(**{**ASKED, "amount_minor": amount, "currency": "EUR", **fields})


def debit(amount: int, **fields: Any) -> m.Debit:
    return m.Debit(**{**ASKED, "amount_minor": amount, "currency": "EUR", **fields})


def credit(amount: int, **fields: Any) -> m.Credit:
    return m.Credit(**{**ASKED, "amount_minor": amount, "currency": "EUR", **fields})


def credit_on_hold(amount: int, **fields: Any) -> m.CreditOnHold:
    return m.CreditOnHold(**{**ASKED, "amount_minor": amount, "currency": "EUR", **fields})


def hold(amount: int, **fields: Any) -> m.Hold:
    return m.Hold(**{**ASKED, "amount_minor": amount, "currency": "EUR", **fields})


def capture(hold_id: str, **fields: Any) -> m.Capture:
    return m.Capture(**{**ASKED, "hold_id": hold_id, **fields})


def release(hold_id: str, **fields: Any) -> m.Release:
    return m.Release(**{**ASKED, "hold_id": hold_id, **fields})


def freeze(credits: m.CreditPolicy = "refuse", **fields: Any) -> m.Freeze:
    return m.Freeze(**{**ASKED, "credits": credits, **fields})


def unfreeze(**fields: Any) -> m.Unfreeze:
    return m.Unfreeze(**{**ASKED, **fields})


def close(**fields: Any) -> m.CloseAccount:
    return m.CloseAccount(**{**ASKED, **fields})


def change_limits(**fields: Any) -> m.ChangeLimits:
    return m.ChangeLimits(**{**ASKED, **fields})
