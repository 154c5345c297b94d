"""What the clients ask for under attack: transfers of every shape that needs nobody outside the
bank, most of them plain. Some must be refused, some ask for more than there is.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, NamedTuple

from saga_definitions.reversal import REVERSIBLE

NOBODY: Final = "nobody"
"""An account that is not there."""

_KINDS: Final = {
    "transfer": 40,
    "reserved_transfer": 20,
    "reversal": 10,
    "split_transfer": 6,
    "transfer_with_fee": 8,
    "payroll": 4,
    "payroll_all_or_none": 4,
    "scheduled_transfer": 6,
}
_REMEMBERED: Final = 20


class Paid(NamedTuple):
    """A completed transfer that can be reversed; `as_of`: where it was told to be completed."""

    id: str
    amount_minor: int
    as_of: str


class Orders:
    """Draws bodies for `POST /transfers`. `hot`: the first so many of `accounts`, which take part
    in half of all; `much_minor`: more than anybody has."""

    def __init__(self, rng: Random, accounts: Sequence[str], hot: int, much_minor: int) -> None:
        self._rng = rng
        self._accounts = accounts
        self._hot = accounts[:hot]
        self._much_minor = much_minor
        self._paid: list[Paid] = []

    def next(self) -> tuple[dict[str, Any], str]:
        """A body, and what it comes `after`: the position of the transfer that it reverses, or
        ""."""
        rng = self._rng
        kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        if kind == "reversal" and self._paid:
            paid = rng.choice(self._paid)
            # Several of the larger parts are more than it was.
            part = rng.choice((1, paid.amount_minor // 2 or 1, paid.amount_minor))
            return {"definition": kind, "original": paid.id, "amount_minor": part}, paid.as_of
        if kind == "reversal":
            kind = "transfer"
        among = self._hot if rng.random() < 0.5 else self._accounts
        source, *others = rng.sample(among, min(len(among), 6))
        amount = rng.choice((1, 100, 5_000, self._much_minor))
        body: dict[str, Any] = {"definition": kind, "source": source, "currency": "EUR"}
        if kind in ("split_transfer", "payroll", "payroll_all_or_none"):
            targets = [self._target(one) for one in others]
            if kind != "split_transfer":
                targets *= rng.randint(1, 6)
            legs = [{"target": one, "amount_minor": amount} for one in targets]
            return {**body, "legs": legs, "amount_minor": amount * len(legs)}, ""
        body |= {"target": self._target(others[0]), "amount_minor": amount}
        if kind == "transfer_with_fee":
            body |= {"fee_account": others[1], "fee_minor": rng.randint(1, 50)}
        elif kind == "scheduled_transfer":
            due = datetime.now(UTC) + timedelta(seconds=rng.uniform(-1, 6))
            body["execute_at"] = due.isoformat(timespec="milliseconds")
        return body, ""

    def completed(self, body: dict[str, Any], transfer_id: str, as_of: str) -> None:
        """A transfer is told to be completed: it may be reversed."""
        if body["definition"] in REVERSIBLE:
            self._paid.append(Paid(transfer_id, body["amount_minor"], as_of))
            del self._paid[:-_REMEMBERED]

    def _target(self, account: str) -> str:
        return account if self._rng.random() < 0.95 else NOBODY
