"""What an account says: the fields that an event repeats from its command, the refusals with their
texts, and what the saga that asked is told.

No text and no answer tells an amount: answers leave the account's service.
"""

from typing import Final, TypedDict

from messages.account import (
    AccountCommand,
    AccountEvent,
    CommandRefused,
    CreditedOnHold,
    EffectRepeated,
    Held,
    RefusalReason,
)
from messages.fingerprint import fingerprint
from messages.identity import Direction
from messages.saga import StepApplied, StepDeclined, answer_to
from messages.wire import type_name

DETAILS: Final[dict[RefusalReason, str]] = {
    "account_unknown": "there is no such account",
    "account_exists": "the account is open already; choose another id",
    "account_frozen": "the account is frozen; unfreeze it first",
    "account_closed": "the account is closed, for good",
    "account_not_frozen": "the account is not frozen",
    "account_not_empty": "the balance must be 0 and no hold left before the account is closed",
    "currency_mismatch": "the account is kept in another currency",
    "insufficient_funds": "the available balance does not cover it",
    "transfer_limit_exceeded": "the amount is above the account's limit per transfer",
    "daily_limit_exceeded": "the day's sum would be above the account's daily limit",
    "balance_overflow": "the balance would not fit in 63 bits",
    "hold_unknown": "there is no such hold: never made, captured or released",
    "too_many_holds": "the account has as many holds as it can have; capture or release some",
    "effect_expired": "asked for too long ago to tell whether it was applied; look in the journal",
    "clock_ahead": "issued in the future: a sender's clock is wrong; nothing was done",
    "effect_reused": "the effect id stands for another request; choose another",
    "effect_voided": "its compensation came first; it will not be applied any more",
}
"""The text for a person."""


class Told(TypedDict):
    """The fields that every event repeats from its command."""

    account_id: str
    version: int
    at_ms: int
    effect_id: str
    fingerprint: int
    attempt: int
    saga_id: str
    step: str
    direction: Direction
    reply_to: str


def told(command: AccountCommand, version: int, at_ms: int) -> Told:
    """`version`: the account's after a change, the account's now (0 if unknown) without one."""
    return {
        "account_id": command.account_id,
        "version": version,
        "at_ms": at_ms,
        "effect_id": command.effect_id,
        "fingerprint": fingerprint(command),
        "attempt": command.attempt,
        "saga_id": command.saga_id,
        "step": command.step,
        "direction": command.direction,
        "reply_to": command.reply_to,
    }


def refuse(
    command: AccountCommand, version: int, at_ms: int, reason: RefusalReason, detail: str = ""
) -> CommandRefused:
    """The refusal of `command`, with the reason's usual text unless `detail` says more."""
    return CommandRefused(
        command=type_name(command),
        reason=reason,
        detail=detail or DETAILS[reason],
        issued_at_ms=command.issued_at_ms if reason == "clock_ahead" else 0,
        **told(command, version, at_ms),
    )


def answer(event: AccountEvent) -> StepApplied | StepDeclined | None:
    """What the saga that asked is told; None when nobody waits for an answer.

    A function of the event alone. A balance is nobody's business but the account's: only the
    name of a hold goes out, for the saga needs it to capture it.
    """
    if not event.reply_to or not event.saga_id:
        return None
    if isinstance(event, CommandRefused):
        return answer_to(event, event.reason, event.detail)
    hold_id = ""
    if isinstance(event, EffectRepeated):
        if event.refused:
            return answer_to(event, event.refused, DETAILS[event.refused])
        hold_id = event.hold_id
    elif isinstance(event, (Held, CreditedOnHold)):
        hold_id = event.effect_id
    return answer_to(event, result={"hold_id": hold_id} if hold_id else {})
