"""The ledger as the journal's kernel wants it: everything here is passing on.

The rules are in `ledger.py`, which knows nothing of a journal.
"""

from collections.abc import Iterable, Sequence

from account_service.answers import answer
from account_service.ledger import DEFAULT_HORIZON_MS, Ledger
from journal.machine import Machine, Output
from journal.topics import ANSWERS
from messages.account import AccountCommand, AccountEvent
from messages.wire import encode, type_name


class AccountMachine(Machine[AccountCommand, AccountEvent]):
    """One partition of the account service."""

    def __init__(self, effect_horizon_ms: int = DEFAULT_HORIZON_MS) -> None:
        self.ledger = Ledger(effect_horizon_ms)

    def decide(self, message: AccountCommand, now_ms: int) -> Sequence[AccountEvent]:
        return (self.ledger.decide(message, now_ms),)

    def evolve(self, event: AccountEvent) -> None:
        self.ledger.evolve(event)

    def outputs(self, event: AccountEvent) -> Sequence[Output]:
        told = answer(event)
        if told is None:
            return (Output(ANSWERS, event.account_id, type_name(event), encode(event)),)
        return (Output(event.reply_to, event.saga_id, type_name(told), encode(told)),)

    def key_of(self, event: AccountEvent) -> str:
        return event.account_id

    def next_due_ms(self) -> int | None:
        """None: an account waits for nothing."""
        return None

    def fire(self, now_ms: int) -> Sequence[AccountEvent]:
        return ()

    def snapshot(self) -> Iterable[bytes]:
        return self.ledger.snapshot()

    def restore(self, chunk: bytes) -> None:
        self.ledger.restore(chunk)
