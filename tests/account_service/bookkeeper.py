"""An auditor that knows nothing of the account's code: it folds amounts, and complains."""

from collections import defaultdict
from dataclasses import dataclass, field

from messages import account as m
from messages.account import AccountEvent
from tests.account_service.statement import DAY


@dataclass
class Book:
    """What the auditor knows of one account."""

    currency: str
    overdraft: int
    daily_limit: int | None
    version: int = 1
    balance: int = 0
    closed: bool = False
    frozen: bool = False
    holds: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    spent: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    spent_day: int = 0

    @property
    def available(self) -> int:
        return self.balance + self.overdraft - sum(amount for amount, _ in self.holds.values())


class Bookkeeper:
    """Double entry from events alone; asserts after every event."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}
        self.world: dict[str, int] = defaultdict(int)
        self.transit: dict[tuple[str, str], int] = defaultdict(int)
        self.counted_on: dict[str, int | None] = {}
        """Debit or capture -> the day it counted on, for those that can be given back."""

    def note(self, event: AccountEvent) -> None:
        book = self.books.get(event.account_id)
        if isinstance(event, (m.CommandRefused, m.EffectRepeated, m.EffectVoided)):
            assert event.version == (book.version if book else 0)
            return
        if isinstance(event, m.AccountOpened):
            assert book is None
            assert event.version == 1
            self.books[event.account_id] = Book(
                event.currency, event.overdraft_limit_minor, event.daily_limit_minor
            )
            return
        assert book is not None
        assert not book.closed
        assert event.version == book.version + 1
        book.version = event.version
        self._post(book, event)
        assert book.available >= 0
        self._balance_the_books()

    def _post(self, book: Book, event: AccountEvent) -> None:
        today = max(book.spent_day, event.at_ms // DAY)
        transit = (event.saga_id, book.currency)
        match event:
            case m.Deposited():
                self.world[book.currency] -= event.amount_minor
                book.balance += event.amount_minor
                assert event.balance_minor == book.balance
            case m.Withdrawn():
                assert not book.frozen
                self.world[book.currency] += event.amount_minor
                book.balance -= event.amount_minor
                assert event.balance_minor == book.balance
                self._spend(book, today, event.amount_minor)
                self.counted_on[event.effect_id] = today
            case m.Debited():
                assert not book.frozen
                self.transit[transit] += event.amount_minor
                book.balance -= event.amount_minor
                assert event.balance_minor == book.balance
                self._spend(book, today, event.amount_minor)
                self.counted_on[event.effect_id] = today
            case m.Credited():
                self.transit[transit] -= event.amount_minor
                book.balance += event.amount_minor
                assert event.balance_minor == book.balance
                if event.undoes:
                    day = self.counted_on.get(event.undoes)
                    assert event.allowance_day == day
                    if day is not None:
                        book.spent[day] = max(0, book.spent[day] - event.amount_minor)
            case m.CreditedOnHold():
                self.transit[transit] -= event.amount_minor
                book.balance += event.amount_minor
                assert event.balance_minor == book.balance
                book.holds[event.effect_id] = (event.amount_minor, None)
            case m.Held():
                assert not book.frozen
                book.holds[event.effect_id] = (event.amount_minor, today)
                self._spend(book, today, event.amount_minor)
                self.counted_on[event.effect_id] = today
            case m.Captured():
                amount, day = book.holds.pop(event.hold_id)
                assert amount == event.amount_minor
                self.transit[transit] += amount
                book.balance -= amount
                assert event.balance_minor == book.balance
                self.counted_on[event.effect_id] = day
            case m.Released():
                amount, day = book.holds.pop(event.hold_id)
                assert amount == event.amount_minor
                if day is not None:
                    book.spent[day] = max(0, book.spent[day] - amount)
            case m.LimitsChanged():
                book.overdraft = event.overdraft_limit_minor
                book.daily_limit = event.daily_limit_minor
            case m.Frozen():
                book.frozen = True
            case m.Unfrozen():
                book.frozen = False
            case m.AccountClosed():
                assert book.balance == 0
                assert not book.holds
                book.closed = True
            case _:
                raise AssertionError(event)
        assert -(2**63) < book.balance < 2**63
        if isinstance(event, (m.Held, m.CreditedOnHold, m.Captured, m.Released)):
            assert event.held_minor == sum(amount for amount, _ in book.holds.values())

    def _spend(self, book: Book, day: int, amount: int) -> None:
        book.spent_day = day
        book.spent[day] += amount
        assert book.daily_limit is None or book.spent[day] <= book.daily_limit

    def _balance_the_books(self) -> None:
        total: dict[str, int] = defaultdict(int, self.world)
        for (_, currency), amount in self.transit.items():
            total[currency] += amount
        for book in self.books.values():
            total[book.currency] += book.balance
        assert not any(total.values())
