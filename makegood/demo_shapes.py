"""The demo's other transfers: reserved, split, exchanged, approved, rejected, scheduled and
reversed ones, some with a fee, two payrolls, payouts, and a standing order.

They are few, so each is shown; what has to come of them is known beforehand.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from makegood.client import Client, Transfer
from makegood.demo_files import DemoAccount
from makegood.demo_payouts import ABROAD, GOOD, HALTING, SETTLEMENT

ACCOUNTS: Final = (
    DemoAccount("shapes-payer", "EUR", 9_000_000, ""),
    DemoAccount("shapes-one", "EUR", 0, ""),
    DemoAccount("shapes-other", "EUR", 0, ""),
    DemoAccount("shapes-closed", "EUR", 0, "close"),
    DemoAccount("shapes-yen", "JPY", 0, ""),
    DemoAccount(SETTLEMENT, "EUR", 0, ""),
    DemoAccount("liquidity-eur", "EUR", 0, ""),
    DemoAccount("liquidity-jpy", "JPY", 1_000_000, ""),
)
_WITHIN_S: Final = 30.0
_SOON: Final = timedelta(seconds=2)
_YEAR: Final = timedelta(days=365)
_APPROVED: Final = "a large one, approved"
_LARGE_MINOR: Final = 1_500_000


class Shape(NamedTuple):
    """A transfer of another shape; `verdict`: what is said when it waits: `approve`, `reject` or
    `cancel`; `end`: what it must be; `sagas`: how many it takes, with those that are its steps."""

    what: str
    body: dict[str, Any]
    end: str
    verdict: str = ""
    sagas: int = 1


def shapes(now: datetime) -> list[Shape]:
    payer = {"source": "shapes-payer", "currency": "EUR"}

    def split(other: str) -> dict[str, Any]:
        legs = [("shapes-one", 3_000), (other, 2_000)]
        return {
            **payer,
            "definition": "split_transfer",
            "amount_minor": 5_000,
            "legs": [{"target": target, "amount_minor": amount} for target, amount in legs],
        }

    def with_fee(fee_account: str) -> dict[str, Any]:
        return {
            **payer,
            "definition": "transfer_with_fee",
            "target": "shapes-one",
            "amount_minor": 900,
            "fee_account": fee_account,
            "fee_minor": 25,
        }

    def scheduled(due: datetime) -> dict[str, Any]:
        return {
            **payer,
            "definition": "scheduled_transfer",
            "target": "shapes-other",
            "amount_minor": 700,
            "execute_at": due.isoformat(),
        }

    def payroll(definition: str) -> dict[str, Any]:
        return {
            **payer,
            "definition": definition,
            "amount_minor": 2_000,
            "legs": [
                {"target": f"shapes-{('one', 'closed')[leg % 2]}", "amount_minor": 10}
                for leg in range(200)
            ],
        }

    def payout(creditor_account: str) -> dict[str, Any]:
        return {
            **payer,
            "definition": "external_payout",
            "amount_minor": 4_200,
            "creditor_name": "Bob Elsewhere",
            "creditor_account": creditor_account,
            "reference": "demo",
        }

    ultimo = {
        **payer,
        "definition": "standing_order",
        "target": "shapes-other",
        "amount_minor": 800,
        "first": "2026-01-31",
        "every": "month",
        "at": "09:00",
        "zone": "Europe/Berlin",
        "times": 12,
    }
    large = {
        **payer,
        "definition": "approved_transfer",
        "target": "shapes-one",
        "amount_minor": _LARGE_MINOR,
        "initiator": "ann",
    }
    return [
        Shape(
            "reserved before it is moved",
            {
                **payer,
                "definition": "reserved_transfer",
                "target": "shapes-one",
                "amount_minor": 1_200,
            },
            "completed",
        ),
        Shape("one to two", split("shapes-other"), "completed"),
        Shape("one to two, one of them closed", split("shapes-closed"), "compensated"),
        Shape(
            "EUR to JPY",
            {
                **payer,
                "definition": "fx_transfer",
                "amount_minor": 10_001,
                "target": "shapes-yen",
                "target_amount_minor": 16_237,
                "target_currency": "JPY",
                "rate": "162.35",
                "quote_ends_at": (now + timedelta(minutes=5)).isoformat(),
                "source_liquidity": "liquidity-eur",
                "target_liquidity": "liquidity-jpy",
            },
            "completed",
        ),
        Shape("200 at once, half of them closed", payroll("payroll"), "completed"),
        Shape("all of 200 or none", payroll("payroll_all_or_none"), "compensated"),
        Shape("with its fee", with_fee("shapes-other"), "completed", sagas=3),
        Shape("with a fee that can't be paid", with_fee("shapes-closed"), "compensated", sagas=2),
        Shape(_APPROVED, large, "completed", "approve"),
        Shape("a large one, rejected", large, "compensated", "reject"),
        Shape("out of the bank", payout(GOOD), "completed"),
        Shape("out of the bank, not served there", payout(ABROAD), "compensated"),
        Shape("out of the bank, the answer lost", payout(HALTING), "completed"),
        Shape("2 seconds later", scheduled(now + _SOON), "completed"),
        Shape("a year later, cancelled", scheduled(now + _YEAR), "compensated", "cancel"),
        Shape("on the last day of 12 months, cancelled", ultimo, "compensated", "cancel"),
    ]


def reversals(paid: Transfer) -> list[Shape]:
    """Of the large transfer, one after the other: the second would give back more than there is."""
    body = {"definition": "reversal", "original": paid.id, "amount_minor": 1_000_000}
    return [
        Shape("two thirds of it back", body, "completed"),
        Shape("two thirds of it back, again", body, "compensated"),
    ]


async def show_shapes(console: Console, client: Client) -> tuple[int, list[str]]:
    """Run them all, tell how they end: how many sagas it took, and what did not come out right.

    Raises ApiError, ApiAway.
    """
    todo = shapes(datetime.now(UTC))
    asked = (_end_of(client, number, shape) for number, shape in enumerate(todo))
    ends = await asyncio.gather(*asked)
    paid = next(end for shape, end in zip(todo, ends, strict=True) if shape.what == _APPROVED)
    for shape in reversals(paid):
        number = len(todo)
        todo.append(shape)
        ends.append(await _end_of(client, number, shape, paid.as_of))
    table = Table(title="other shapes", title_justify="left")
    for name in ("definition", "what", "end", "why"):
        table.add_column(name)
    wrong: list[str] = []
    for shape, end in zip(todo, ends, strict=True):
        table.add_row(shape.body["definition"], shape.what, end.state, end.reason)
        if end.state != shape.end:
            wrong.append(f"{shape.what}: {end.state} ({end.reason}) instead of {shape.end}")
    console.print(table)
    return sum(shape.sagas for shape in todo), wrong


async def _end_of(client: Client, number: int, shape: Shape, after: str = "") -> Transfer:
    key = f"shape-{number}"
    told = await client.transfer(key, shape.body, after)
    if shape.verdict == "cancel":
        await client.order(f"/sagas/{told.id}/cancel", f"{key}-word", {"who": "bea", "why": "demo"})
    elif shape.verdict:
        word = {"verdict": shape.verdict, "who": "bea", "why": "demo"}
        await client.order(f"/sagas/{told.id}/signals/approval", f"{key}-word", word)
    async with asyncio.timeout(_WITHIN_S):
        while told.state == "running":
            await asyncio.sleep(0.2)
            told = await client.transfer(key, shape.body, after)
    return told
