"""What the clients ask for under attack: transfers of every shape, most of them plain. Some must be
refused, some ask for more than there is, some wait for another person's word, and some are paid out
of the bank.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, NamedTuple

from chaos.outside import NOT_SERVED
from chaos.roles import FREE_UP_TO_MINOR
from saga_definitions.reversal import REVERSIBLE
from saga_definitions.rules import converted

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
    "approved_transfer": 8,
    "fx_transfer": 8,
    "external_payout": 8,
}
SLOW: Final = frozenset(("scheduled_transfer", "approved_transfer", "external_payout"))
"""They may wait for a time, a person or somebody outside."""

INITIATOR: Final = "ann"
LIQUIDITY: Final = {"EUR": "liquidity-eur", "USD": "liquidity-usd"}
_RATES: Final = ("0.5", "1.0837", "0.922763678")
_SERVED: Final = "DE89370400440532013000"
_REMEMBERED: Final = 20


class Paid(NamedTuple):
    """A completed transfer that can be reversed; `as_of`: where it was told to be completed."""

    id: str
    amount_minor: int
    as_of: str


class Orders:
    """Draws bodies for `POST /transfers`. `hot`: the first so many of `accounts`, which take part
    in half of all; `dollars`: those in USD; `much_minor`: more than anybody has."""

    def __init__(
        self,
        rng: Random,
        accounts: Sequence[str],
        hot: int,
        dollars: Sequence[str],
        much_minor: int,
    ) -> None:
        self._rng = rng
        self._accounts = accounts
        self._hot = accounts[:hot]
        self._dollars = dollars
        self._much_minor = much_minor
        self._paid: list[Paid] = []

    def next(self, *, slow: bool = True) -> tuple[dict[str, Any], str]:
        """A body, and what it comes `after`: the position of the transfer that it reverses, or
        "". `slow`: whether it may be one of the slow kinds."""
        rng = self._rng
        kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        if kind in SLOW and not slow:
            kind = "transfer"
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
        if kind == "fx_transfer":
            return self._exchange(source, max(amount, 100)), ""
        body: dict[str, Any] = {"definition": kind, "source": source, "currency": "EUR"}
        if kind in ("split_transfer", "payroll", "payroll_all_or_none"):
            targets = [self._target(one) for one in others]
            if kind != "split_transfer":
                targets *= rng.randint(1, 6)
            legs = [{"target": one, "amount_minor": amount} for one in targets]
            return {**body, "legs": legs, "amount_minor": amount * len(legs)}, ""
        if kind == "external_payout":
            return {**body, "amount_minor": amount, **self._creditor()}, ""
        body |= {"target": self._target(others[0]), "amount_minor": amount}
        if kind == "transfer_with_fee":
            body |= {"fee_account": others[1], "fee_minor": rng.randint(1, 50)}
        elif kind == "scheduled_transfer":
            due = datetime.now(UTC) + timedelta(seconds=rng.uniform(-1, 6))
            body["execute_at"] = due.isoformat(timespec="milliseconds")
        elif kind == "approved_transfer":
            body["initiator"] = INITIATOR
        return body, ""

    def word(self, body: dict[str, Any]) -> tuple[str, str]:
        """What is said to a transfer that waits, and by whom; ("", "") when nobody says anything.
        At times it is the one who asked for it."""
        if body["definition"] != "approved_transfer" or body["amount_minor"] <= FREE_UP_TO_MINOR:
            return "", ""
        return self._rng.choice(
            (
                *[("approve", "bea")] * 4,
                *[("reject", "bea")] * 2,
                ("reject", INITIATOR),
                ("approve", INITIATOR),
                ("", ""),
            )
        )

    def completed(self, body: dict[str, Any], transfer_id: str, as_of: str) -> None:
        """A transfer is told to be completed: it may be reversed."""
        if body["definition"] in REVERSIBLE:
            self._paid.append(Paid(transfer_id, body["amount_minor"], as_of))
            del self._paid[:-_REMEMBERED]

    def _target(self, account: str) -> str:
        return account if self._rng.random() < 0.95 else NOBODY

    def _exchange(self, euros: str, amount_minor: int) -> dict[str, Any]:
        """To or from somebody's dollars, at a quote that may be over before it is used."""
        rng = self._rng
        one, other = rng.sample(tuple(LIQUIDITY), 2)
        dollars, rate = rng.choice(self._dollars), rng.choice(_RATES)
        source, target = (euros, dollars) if one == "EUR" else (dollars, euros)
        ends = datetime.now(UTC) + timedelta(seconds=rng.uniform(0.2, 20))
        return {
            "definition": "fx_transfer",
            "source": source,
            "amount_minor": amount_minor,
            "currency": one,
            "target": self._target(target),
            "target_amount_minor": converted(amount_minor, one, rate, other),
            "target_currency": other,
            "rate": rate,
            "quote_ends_at": ends.isoformat(timespec="milliseconds"),
            "source_liquidity": LIQUIDITY[one],
            "target_liquidity": LIQUIDITY[other],
        }

    def _creditor(self) -> dict[str, Any]:
        served = self._rng.random() < 0.9
        return {
            "creditor_name": "Bob Elsewhere",
            "creditor_account": _SERVED if served else NOT_SERVED,
            "reference": "chaos",
        }
