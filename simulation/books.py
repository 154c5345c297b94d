"""The bank's books, kept a second time from the account journals alone (design: section 3).

Double entry: every posting moves money between an account, `world` and a saga's transit account.
What the events say an account has must be what the postings add up to.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

from simulation.history import Fact, Histories

_NO_CHANGE: Final = frozenset(
    ("account.CommandRefused", "account.EffectRepeated", "account.EffectVoided")
)
_IN: Final = {
    "account.Deposited": "world",
    "account.Credited": "transit",
    "account.CreditedOnHold": "transit",
}
_OUT: Final = {"account.Withdrawn": "world", "account.Debited": "transit"}


_STATUS: Final = {
    "account.Frozen": "frozen",
    "account.Unfrozen": "open",
    "account.AccountClosed": "closed",
}


class Ledger:
    """One account as its events tell it."""

    def __init__(self, partition: int, currency: str) -> None:
        self.partition = partition
        self.currency = currency
        self.status = "open"
        self.balance = 0
        self.overdraft = 0
        self.holds: dict[str, int] = {}


class Books:
    """`transit`: (saga, currency) -> minor units under way. `wrong`: the rules that were broken."""

    def __init__(self, histories: Histories) -> None:
        self.accounts: dict[str, Ledger] = {}
        self.transit: Counter[tuple[str, str]] = Counter()
        self.world: Counter[str] = Counter()
        self.applied: dict[str, Fact] = {}
        """Effect id -> the one event that applied it."""
        self.moved: dict[str, list[Fact]] = defaultdict(list)
        """Saga -> its postings and holds."""
        self.wrong: list[str] = []
        self._undone: dict[str, str] = {}
        self.versions: Counter[str] = Counter()
        for journal in histories.accounts:
            for fact in journal.facts:
                if fact.type.startswith("account."):
                    self._enter(fact)
        self.wrong += self._balance_sheet()

    def _enter(self, fact: Fact) -> None:
        fields = fact.fields
        account = self.accounts.get(fields["account_id"])
        version = self.versions[fields["account_id"]]
        if fact.type in _NO_CHANGE:
            if fields["version"] != version:
                self._say(fact, f"is decided on version {fields['version']}, not {version}")
            return
        if fields["version"] != version + 1:
            self._say(fact, f"has version {fields['version']} after {version}")
        self.versions[fields["account_id"]] = fields["version"]
        if fields["effect_id"] in self.applied:
            self._say(fact, f"applies effect {fields['effect_id']} again")
        self.applied[fields["effect_id"]] = fact
        if fields.get("saga_id"):
            self.moved[fields["saga_id"]].append(fact)
        if undoes := fields.get("undoes"):
            if undoes in self._undone:
                self._say(fact, f"takes {undoes} back again")
            self._undone[undoes] = fields["effect_id"]
        if fact.type == "account.AccountOpened":
            self.accounts[fields["account_id"]] = Ledger(fact.place.partition, fields["currency"])
            self.accounts[fields["account_id"]].overdraft = fields["overdraft_limit_minor"]
        elif account is None:
            self._say(fact, "concerns an account that was never opened")
        else:
            account.status = _STATUS.get(fact.type, account.status)
            self._post(fact, account, fields)

    def _post(self, fact: Fact, account: Ledger, fields: dict[str, Any]) -> None:
        amount = fields.get("amount_minor", 0)
        if fact.type == "account.LimitsChanged":
            account.overdraft = fields["overdraft_limit_minor"]
        elif fact.type == "account.Held":
            account.holds[fields["effect_id"]] = amount
        elif fact.type == "account.Released":
            self._end_hold(fact, account, amount)
        elif fact.type == "account.Captured":
            self._end_hold(fact, account, amount)
            self._move(account, -amount, "transit", fields)
        elif fact.type in _IN:
            self._move(account, amount, _IN[fact.type], fields)
            if fact.type == "account.CreditedOnHold":
                account.holds[fields["effect_id"]] = amount
        elif fact.type in _OUT:
            self._move(account, -amount, _OUT[fact.type], fields)
        elif fact.type == "account.AccountClosed" and (account.balance or account.holds):
            self._say(fact, "closes an account that is not empty")
        if fields.get("currency", account.currency) != account.currency:
            self._say(fact, f"moves {fields['currency']} on an account in {account.currency}")
        if fields.get("balance_minor", account.balance) != account.balance:
            self._say(fact, f"tells balance {fields['balance_minor']}, not {account.balance}")
        held = sum(account.holds.values())
        if fields.get("held_minor", held) != held:
            self._say(fact, f"tells {fields['held_minor']} held, not {held}")
        if account.balance + account.overdraft - held < 0:
            self._say(fact, f"leaves {account.balance} with {held} held: below the limit")

    def _move(self, account: Ledger, amount: int, against: str, fields: dict[str, Any]) -> None:
        account.balance += amount
        if against == "world":
            self.world[account.currency] -= amount
        else:
            self.transit[fields["saga_id"], account.currency] -= amount

    def _end_hold(self, fact: Fact, account: Ledger, amount: int) -> None:
        if account.holds.pop(fact.fields["hold_id"], None) != amount:
            self._say(fact, f"ends hold {fact.fields['hold_id']}, which is not there like that")

    def _balance_sheet(self) -> Iterator[str]:
        for currency in sorted({account.currency for account in self.accounts.values()}):
            balances = sum(a.balance for a in self.accounts.values() if a.currency == currency)
            transit = sum(left for (_, c), left in self.transit.items() if c == currency)
            total = balances + transit + self.world[currency]
            if total:
                yield f"books: {currency} does not add up: {total} too much"

    def _say(self, fact: Fact, what: str) -> None:
        self.wrong.append(f"books: {fact.place} offset {fact.offset}: {fact.type} {what}")
