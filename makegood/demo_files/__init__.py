"""What the demo feeds the bank: `accounts.csv`, `transfers.csv` and what has to come of them.

`python -m makegood.demo_files` writes the files anew, always the same: 1,000 accounts in three
currencies; 5,000 transfers, some of which must fail. Every account gets more money than leaves it,
so that the outcome does not depend on who comes first.
"""

import csv
import io
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import msgspec

FOLDER: Final = Path(__file__).parent
ACCOUNTS: Final = FOLDER / "accounts.csv"
TRANSFERS: Final = FOLDER / "transfers.csv"
EXPECTED: Final = FOLDER / "expected.json"

_SEED: Final = 2026
_CURRENCIES: Final = ("EUR", "USD", "JPY")
_ACCOUNTS: Final = 1_000
_TRANSFERS: Final = 5_000
_FROZEN, _CLOSED = 10, 5
_SPARE_MINOR: Final = 1_000


class DemoAccount(NamedTuple):
    """`then`: what is done to it before the transfers begin: nothing, `freeze` or `close`."""

    id: str
    currency: str
    deposit_minor: int
    then: str


class Expected(msgspec.Struct, frozen=True):
    """How many lines end how; `replayed` lines repeat an earlier one and share its outcome."""

    completed: int
    compensated: int
    refused: int
    broken: int
    replayed: int


def demo_accounts() -> list[DemoAccount]:
    with ACCOUNTS.open(encoding="utf-8", newline="") as file:
        return [
            DemoAccount(row["id"], row["currency"], int(row["deposit_minor"]), row["then"])
            for row in csv.DictReader(file)
        ]


def expected() -> Expected:
    return msgspec.json.decode(EXPECTED.read_bytes(), type=Expected)


def generate() -> dict[Path, str]:
    """The content of the three files."""
    rng = Random(_SEED)
    by_currency = {
        currency: [f"{currency.lower()}-{n:03d}" for n in range(i, _ACCOUNTS, len(_CURRENCIES))]
        for i, currency in enumerate(_CURRENCIES)
    }
    currency_of = {name: c for c, names in by_currency.items() for name in names}
    special = rng.sample(sorted(currency_of), _FROZEN + _CLOSED)
    frozen, closed = set(special[:_FROZEN]), set(special[_FROZEN:])
    active = {c: [n for n in names if n not in special] for c, names in by_currency.items()}
    leaves: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    rows: list[list[str]] = []
    for number in range(_TRANSFERS - 100):
        currency = rng.choice(_CURRENCIES)
        source, target = rng.sample(active[currency], 2)
        amount = rng.randint(1, 50_000)
        end, key = "completed", f"demo-{number:05d}"
        line = [key, source, target, str(amount), currency, f"invoice {number}", "transfer"]
        match number % 50:
            case 7:
                line[2], end = rng.choice(sorted(frozen | closed)), "compensated"
                line[1] = rng.choice(active[currency_of[line[2]]])
                line[4] = currency_of[line[2]]
            case 13:
                line[3], end = str(10**15), "compensated"
            case 21:
                line[2], end = f"nobody-{number}", "compensated"
            case 29 if number % 100 == 29:
                line[3], end = "0", "refused"
            case 37 if number % 100 == 37:
                line[2], end = source, "refused"
            case 43 if number % 200 == 43:
                line[3], end = "12.50", "broken"
            case _:
                line[6] = "reserved_transfer" if number % 10 == 3 else "transfer"
        if end != "refused" and end != "broken" and line[3] != str(10**15):
            leaves[line[1]] += amount
        ends[end] += 1
        rows.append(line)
    # Sent twice: the same key and body again, further down.
    good = [row for row in rows if row[6] == "reserved_transfer" or row[2].startswith("nobody")]
    for row in rng.sample(good, 100):
        ends["compensated" if row[2].startswith("nobody") else "completed"] += 1
        rows.insert(rng.randint(rows.index(row) + 1, len(rows)), row)
    accounts = [
        [
            name,
            currency_of[name],
            str(0 if name in closed else leaves[name] + _SPARE_MINOR),
            "freeze" if name in frozen else "close" if name in closed else "",
        ]
        for name in sorted(currency_of)
    ]
    told = Expected(ends["completed"], ends["compensated"], ends["refused"], ends["broken"], 100)
    return {
        ACCOUNTS: _csv(["id", "currency", "deposit_minor", "then"], accounts),
        TRANSFERS: _csv(
            ["key", "source", "target", "amount_minor", "currency", "reference", "definition"], rows
        ),
        EXPECTED: msgspec.json.format(msgspec.json.encode(told)).decode() + "\n",
    }


def _csv(header: list[str], rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()
