"""The accounts, folded again from their journal: what every event says has to follow from the
events before it. Postings that a saga asked for go on to the sagas' side (`cases.py`).

After a violation the fold goes on from what the journal says, so that one fault is told once.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from audit.cases import Cases
from audit.report import Findings
from journal.log import Place
from messages.account import (
    AccountClosed,
    AccountOpened,
    Captured,
    CommandRefused,
    Credited,
    CreditedOnHold,
    Debited,
    Deposited,
    EffectRepeated,
    EffectVoided,
    Frozen,
    Held,
    LimitsChanged,
    Released,
    Unfrozen,
    Withdrawn,
)

_UNCHANGED: Final = (CommandRefused, EffectRepeated, EffectVoided)


class Book(msgspec.Struct, gc=False):
    """One account as its events leave it."""

    partition: int
    currency: str
    version: int = 1
    status: str = "open"
    credits: str = "accept"
    balance: int = 0
    held: int = 0
    overdraft: int = 0
    transfer_limit: int | None = None
    daily_limit: int | None = None
    holds: dict[str, int] = {}

    @property
    def available(self) -> int:
        return self.balance + self.overdraft - self.held


class At(NamedTuple):
    """Where an event stands."""

    place: Place
    offset: int


class Accounts:
    """All accounts. `world`: (currency, partition) -> balance of where money enters and leaves.

    `effect_horizon_ms`: for how long an effect id that no saga names can't be used again.
    """

    def __init__(self, cases: Cases, findings: Findings, effect_horizon_ms: int) -> None:
        self.books: dict[str, Book] = {}
        self.world: dict[tuple[str, int], int] = {}
        self.opened: dict[int, int] = {}
        self.postings = 0
        self._cases = cases
        self._findings = findings
        self._horizon_ms = effect_horizon_ms
        self._direct: dict[str, int] = {}
        self._direct_order: deque[tuple[int, str]] = deque()
        self._changes: dict[type[Any], Callable[[Any, Book, At], None]] = {
            Debited: self._debited,
            Credited: self._credited,
            Withdrawn: self._withdrawn,
            Deposited: self._deposited,
            CreditedOnHold: self._credited_on_hold,
            Held: self._held,
            Captured: self._captured,
            Released: self._released,
            LimitsChanged: _limits_changed,
            Frozen: _frozen,
            Unfrozen: _unfrozen,
            AccountClosed: self._closed,
        }

    def fold(self, event: Any, place: Place, offset: int) -> None:
        at = At(place, offset)
        book = self.books.get(event.account_id)
        if isinstance(event, _UNCHANGED):
            self._unchanged(event, book, at)
            return
        if type(event) is AccountOpened:
            self._opened(event, book, at)
        elif book is None:
            self._say("account_opened", event, at, "an account that was opened before", "no such")
            book = self.books[event.account_id] = Book(
                place.partition, getattr(event, "currency", "?"), event.version
            )
            book.balance = getattr(event, "balance_minor", 0)
            book.held = getattr(event, "held_minor", 0)
        else:
            self._change(event, book, at)
        if event.saga_id:
            self._cases.applied(event, place, offset)
        else:
            self._applied_directly(event, at)

    def _unchanged(self, event: Any, book: Book | None, at: At) -> None:
        version = 0 if book is None else book.version
        if event.version != version:
            self._say("version", event, at, f"version {version} repeated", f"{event.version}")
        if event.saga_id:
            self._cases.told(event, at.place, at.offset)

    def _opened(self, event: AccountOpened, book: Book | None, at: At) -> None:
        if book is not None:
            found = f"opened again, at version {book.version}"
            self._say("account_opened", event, at, "to be opened once", found)
            book.version = event.version
            return
        if event.version != 1:
            self._say("version", event, at, "version 1", f"{event.version}")
        self.opened[at.place.partition] = self.opened.get(at.place.partition, 0) + 1
        self.books[event.account_id] = Book(
            at.place.partition,
            event.currency,
            event.version,
            overdraft=event.overdraft_limit_minor,
            transfer_limit=event.transfer_limit_minor,
            daily_limit=event.daily_limit_minor,
        )

    def _change(self, event: Any, book: Book, at: At) -> None:
        if event.version != book.version + 1:
            self._say("version", event, at, f"version {book.version + 1}", f"{event.version}")
        book.version = event.version
        if book.status == "closed":
            self._say("account_closed", event, at, "no change of a closed account", _kind(event))
        if getattr(event, "currency", book.currency) != book.currency:
            self._say("currency", event, at, book.currency, event.currency)
        before = book.available
        self._changes[type(event)](event, book, at)
        # Told when an event makes it worse, not again for every event after that.
        if book.available < 0 and book.available < before:
            self._say(
                "available",
                event,
                at,
                "balance + overdraft - held of 0 or more",
                f"{book.balance} + {book.overdraft} - {book.held} = {book.available}",
            )

    def _debited(self, event: Debited, book: Book, at: At) -> None:
        self._not_frozen(event, book, at)
        self._move(event, book, -event.amount_minor, at)

    def _credited(self, event: Credited, book: Book, at: At) -> None:
        if book.status == "frozen" and book.credits == "refuse" and not event.undoes:
            self._say("account_frozen", event, at, "no new credit while frozen", _kind(event))
        self._move(event, book, event.amount_minor, at)

    def _withdrawn(self, event: Withdrawn, book: Book, at: At) -> None:
        self._not_frozen(event, book, at)
        self._move(event, book, -event.amount_minor, at)
        key = (event.currency, at.place.partition)
        self.world[key] = self.world.get(key, 0) + event.amount_minor

    def _deposited(self, event: Deposited, book: Book, at: At) -> None:
        self._move(event, book, event.amount_minor, at)
        key = (event.currency, at.place.partition)
        self.world[key] = self.world.get(key, 0) - event.amount_minor

    def _credited_on_hold(self, event: CreditedOnHold, book: Book, at: At) -> None:
        if book.status == "frozen" and book.credits == "refuse":
            self._say("account_frozen", event, at, "no new credit while frozen", _kind(event))
        self._hold(event, book, at)
        self._move(event, book, event.amount_minor, at)

    def _held(self, event: Held, book: Book, at: At) -> None:
        self._not_frozen(event, book, at)
        self._hold(event, book, at)

    def _hold(self, event: Held | CreditedOnHold, book: Book, at: At) -> None:
        if event.effect_id in book.holds:
            self._say("hold", event, at, "a hold of a new name", event.effect_id)
        book.holds = {**book.holds, event.effect_id: event.amount_minor}
        self._reserve(event, book, event.amount_minor, at)

    def _captured(self, event: Captured, book: Book, at: At) -> None:
        self._settle(event, book, at)
        self._move(event, book, -event.amount_minor, at)

    def _released(self, event: Released, book: Book, at: At) -> None:
        self._settle(event, book, at)

    def _closed(self, event: AccountClosed, book: Book, at: At) -> None:
        if book.balance or book.held or book.holds:
            found = f"balance {book.balance}, held {book.held}"
            self._say("account_closed", event, at, "to be empty when it is closed", found)
        book.status = "closed"

    def _not_frozen(self, event: Any, book: Book, at: At) -> None:
        if book.status == "frozen":
            self._say("account_frozen", event, at, "no debit while frozen", _kind(event))

    def _move(self, event: Any, book: Book, amount: int, at: At) -> None:
        self.postings += 1
        after = book.balance + amount
        if event.balance_minor != after:
            expected = f"balance {book.balance} {amount:+} = {after}"
            self._say("balance", event, at, expected, f"balance {event.balance_minor}")
        book.balance = event.balance_minor

    def _reserve(self, event: Any, book: Book, amount: int, at: At) -> None:
        after = book.held + amount
        if event.held_minor != after:
            expected = f"held {book.held} {amount:+} = {after}"
            self._say("held", event, at, expected, f"held {event.held_minor}")
        book.held = event.held_minor

    def _settle(self, event: Captured | Released, book: Book, at: At) -> None:
        held = book.holds.get(event.hold_id)
        if held is None:
            self._say("hold", event, at, f"a hold {event.hold_id}", "no such hold")
        else:
            book.holds = {name: held for name, held in book.holds.items() if name != event.hold_id}
            if held != event.amount_minor:
                self._say("hold", event, at, f"the held {held}", f"{event.amount_minor}")
        self._reserve(event, book, -event.amount_minor, at)

    def _applied_directly(self, event: Any, at: At) -> None:
        if isinstance(event, Debited | Credited | CreditedOnHold | Held | Captured):
            self._say("saga_known", event, at, "a saga that it belongs to", "none")
        order, effect_id, now_ms = self._direct_order, event.effect_id, event.at_ms
        while order and order[0][0] + self._horizon_ms <= now_ms:
            applied_ms, forgotten = order.popleft()
            if self._direct.get(forgotten) == applied_ms:
                del self._direct[forgotten]
        if effect_id in self._direct:
            self._say("effect_once", event, at, f"effect {effect_id} once", "again")
        self._direct[effect_id] = now_ms
        order.append((now_ms, effect_id))

    def _say(self, check: str, event: Any, at: At, expected: str, found: str) -> None:
        subject = f"account {event.account_id}"
        self._findings.add(check, at.place, at.offset, subject, expected, found)


def _kind(event: Any) -> str:
    return type(event).__name__


def _limits_changed(event: LimitsChanged, book: Book, at: At) -> None:
    book.overdraft = event.overdraft_limit_minor
    book.transfer_limit = event.transfer_limit_minor
    book.daily_limit = event.daily_limit_minor


def _frozen(event: Frozen, book: Book, at: At) -> None:
    book.status, book.credits = "frozen", event.credits


def _unfrozen(event: Unfrozen, book: Book, at: At) -> None:
    book.status, book.credits = "open", "accept"
