"""One effect of a saga, as three witnesses tell it: the command that asked for it, the account that
applied it, and the saga that was told so.
"""

from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from journal.log import Place
from messages.account import (
    AccountCommand,
    Captured,
    Credited,
    CreditedOnHold,
    Debited,
    Held,
    Released,
)
from messages.claims import AcquireLock, Claim, ClaimCommand, GiveBack, ReleaseLock
from messages.identity import effect_id
from messages.participant import StepCommand
from messages.saga import StepRequested
from messages.wire import Codec, Undecodable

COMMANDS: Final[Codec[AccountCommand]] = Codec(AccountCommand)

C = TypeVar("C")

_OUTSIDE: Final = msgspec.json.Decoder(StepCommand)
_ACCOUNT_INPUT: Final = "account.input"
_CLAIM_INPUT: Final = "claims.input"
_CLAIM_COMMANDS: Final[Codec[ClaimCommand]] = Codec(ClaimCommand)

_DOES: Final = {
    "Debit": "Debited",
    "Credit": "Credited",
    "CreditOnHold": "CreditedOnHold",
    "Hold": "Held",
    "Capture": "Captured",
    "Release": "Released",
}


class Posting(NamedTuple):
    """What has to be the same in a command and in the event that applies it. A capture and a
    release name their hold; its amount is the account's to know. A claim has its resource for the
    account, and its purpose for the currency."""

    kind: str
    account_id: str
    amount: int
    currency: str
    hold_id: str

    def __str__(self) -> str:
        what = self.hold_id or f"{self.amount} {self.currency}".strip()
        return f"{self.kind} {what} at {self.account_id}"


class Effect(msgspec.Struct, gc=False):
    """`asked` None: nobody asked, as far as is read; `applied_at`, `succeeded_at`: offsets, -1
    while it has not happened. `void`: who was asked found nothing to take back and said so.
    `revoked`: its compensation came first, so it must not be applied any more."""

    asked: Posting | None = None
    attempt: int = 0
    applied: Posting | None = None
    applied_in: Place | None = None
    applied_at: int = -1
    void: bool = False
    revoked: bool = False
    succeeded_at: int = -1

    @property
    def outside(self) -> bool:
        """Asked of somebody else: that it was applied only the saga can say."""
        return self.asked is not None and self.asked.kind == "Asked"


class Misnamed(Exception):
    """A command is not what the event that carries it says; `expected` and `found` say how."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected = expected
        self.found = found


def asked_of(event: StepRequested) -> Posting:
    """What the command in `event` asks for. Raises Misnamed."""
    if event.topic == _CLAIM_INPUT:
        _asked_outside(event)
        return claimed(_decoded(_CLAIM_COMMANDS, event, "a claim's command"))
    if event.topic != _ACCOUNT_INPUT:
        return _asked_outside(event)
    command = _decoded(COMMANDS, event, "an account command")
    named = (command.effect_id, command.saga_id, command.step, command.direction, command.attempt)
    name = effect_id(event.saga_id, event.step, event.direction)
    wanted = (name, event.saga_id, event.step, event.direction, event.attempt)
    if named != wanted or command.account_id != event.key:
        raise Misnamed(
            f"a command for {name}, attempt {event.attempt}, to {event.key}",
            f"one for {command.effect_id}, attempt {command.attempt}, to {command.account_id}",
        )
    kind = type(command).__name__
    fields: Any = command
    return Posting(
        _DOES.get(kind, kind),
        command.account_id,
        getattr(fields, "amount_minor", 0),
        getattr(fields, "currency", ""),
        getattr(fields, "hold_id", ""),
    )


def claimed(command: ClaimCommand) -> Posting:
    """What the command takes of its quota, or gives back; or which lock it takes or releases."""
    resource, purpose = command.resource, command.purpose
    match command:
        case Claim():
            return Posting("Claimed", resource, command.amount_minor, purpose, "")
        case GiveBack():
            return Posting("GivenBack", resource, command.amount_minor, purpose, "")
        case AcquireLock():
            return Posting("Locked", resource, 0, purpose, "")
        case ReleaseLock():
            return Posting("Unlocked", resource, 0, purpose, command.lock_id)


def _decoded(codec: Codec[C], event: StepRequested, what: str) -> C:
    try:
        return codec.decode(bytes(event.command))
    except Undecodable as error:
        raise Misnamed(what, error.reason) from error


def _asked_outside(event: StepRequested) -> Posting:
    """Of a command to somebody else's topic only the name is the bank's to check."""
    try:
        command = _OUTSIDE.decode(bytes(event.command))
    except msgspec.MsgspecError as error:
        raise Misnamed("a participant's command", str(error)) from error
    name = effect_id(event.saga_id, event.step, event.direction)
    named = (command.effect_id, command.saga_id, command.step, command.direction, command.attempt)
    if named != (name, event.saga_id, event.step, event.direction, event.attempt):
        raise Misnamed(
            f"a command for {name}, attempt {event.attempt}",
            f"one for {command.effect_id}, attempt {command.attempt}",
        )
    return Posting("Asked", event.topic, 0, "", "")


def applied_by(event: Any) -> Posting:
    """What an account's event did, to be compared with what was asked."""
    match event:
        case Debited() | Credited() | CreditedOnHold() | Held():
            return Posting(
                type(event).__name__, event.account_id, event.amount_minor, event.currency, ""
            )
        case Captured() | Released():
            return Posting(type(event).__name__, event.account_id, 0, "", event.hold_id)
        case _:
            return Posting(type(event).__name__, event.account_id, 0, "", "")
