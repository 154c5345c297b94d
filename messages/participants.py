"""Who takes a step's command: the accounts of this bank, and whoever else is declared here.

A participant is a topic, the commands that it takes, and what takes each of them back. The
compiler checks the steps of a definition against that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

import msgspec

from messages.account import (
    AccountCommand,
    Capture,
    Credit,
    CreditOnHold,
    Debit,
    Hold,
    RefusalReason,
    Release,
)
from messages.child import StartChild, UndoChild
from messages.claims import AcquireLock, Claim, ClaimCommand, GiveBack, ReleaseLock
from messages.participant import StepCommand
from messages.payout import SendPayout

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
ANYBODYS: Final = frozenset(("clock_ahead", "participant_busy"))
"""Refusals that say nothing about the command: any participant may decline with them."""

MAX_PARTITIONS: Final = 1_000


class ParticipantError(Exception):
    """A participant that can't be declared so; the text names it and says why."""


@dataclass(frozen=True)
class Participant:
    """Takes `commands` from the topic `NAME.input`, in the partition of the field `key`.

    `inverse`: what takes a command back; None: nothing does. A command that is not listed there
    may be taken back by any other. `refusals`: the reasons it declines with besides `ANYBODYS`, for
    retry policies; None: not known. `enquiries`: it answers `messages.participant.Enquire`.

    `partitions`: how many its topic has; it is recorded with every request, and must not change
    while the topic lives. 0: as many as the bank's own topics (the bank's own services).
    `max_unanswered`: how many sagas of one partition of the bank may wait for it before no further
    one that needs it is started; 0: no bound.
    """

    name: str
    key: str
    commands: frozenset[type[StepCommand]]
    inverse: Mapping[type[StepCommand], type[StepCommand] | None]
    refusals: frozenset[str] | None = None
    enquiries: bool = False
    partitions: int = 4
    max_unanswered: int = 1_000

    def __post_init__(self) -> None:
        """Raises ParticipantError."""
        if not _NAME.fullmatch(self.name):
            raise ParticipantError(
                f"participant {self.name[:64]!r}: a name is lower case letters, digits, _ and -"
            )
        if not 0 <= self.partitions <= MAX_PARTITIONS:
            raise ParticipantError(f"participant {self.name}: at most {MAX_PARTITIONS} partitions")
        for kind in self.commands:
            if all(field.name != self.key for field in msgspec.structs.fields(kind)):
                missing = f"{kind.__name__} has no field {self.key!r} to route by"
                raise ParticipantError(f"participant {self.name}: {missing}")
        for kind in (*self.inverse, *filter(None, self.inverse.values())):
            if kind not in self.commands:
                raise ParticipantError(
                    f"participant {self.name}: it doesn't take {kind.__name__}, named in `inverse`"
                )

    @property
    def topic(self) -> str:
        return f"{self.name}.input"


ACCOUNTS: Final = Participant(
    name="account",
    key="account_id",
    commands=frozenset(get_args(AccountCommand)),
    inverse={
        Debit: Credit,
        Credit: Debit,
        CreditOnHold: Capture,
        Hold: Release,
        Capture: None,
        Release: None,
    },
    refusals=frozenset(get_args(RefusalReason)),
    partitions=0,
    max_unanswered=0,
)
"""What moves or reserves money is taken back by one command only."""

CLAIMS: Final = Participant(
    name="claims",
    key="resource",
    commands=frozenset(get_args(ClaimCommand)),
    inverse={Claim: GiveBack, GiveBack: None, AcquireLock: ReleaseLock, ReleaseLock: None},
    refusals=frozenset(
        (
            *("limit_exceeded", "limit_differs", "not_claimed"),
            *("queue_full", "lock_timeout", "lock_held", "lock_unknown"),
        )
    ),
    partitions=0,
    max_unanswered=0,
)
"""The bank's own, too: what sagas take shares of, and what they lock."""

PAYOUTS: Final = Participant(
    name="payout",
    key="debtor_account",
    commands=frozenset({SendPayout}),
    inverse={SendPayout: None},
    enquiries=True,
)
"""Carries money out of the bank; see `external_payout.py`."""

SAGAS: Final = Participant(
    name="orchestrator",
    key="child_id",
    commands=frozenset({StartChild, UndoChild}),
    inverse={StartChild: UndoChild, UndoChild: None},
    partitions=0,
    max_unanswered=0,
)
"""The sagas themselves, for steps that are sagas; see `messages.child`."""
