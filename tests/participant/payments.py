"""What tests pay out, and what became of the money."""

from typing import Any

from makegood.auditing import audit_at_rest
from makegood.bank import Bank
from makegood.client import Client


def payout(amount_minor: int = 1_000, **other: Any) -> dict[str, Any]:
    return {
        "definition": "external_payout",
        "source": "alice",
        "creditor_name": "Bob Elsewhere",
        "creditor_account": "DE89370400440532013000",
        "amount_minor": amount_minor,
        "currency": "EUR",
        "reference": "invoice 7",
        **other,
    }


async def balances(client: Client, bank: Bank) -> tuple[int, int, int]:
    """Balance and held of the source, balance of the settlement account; of a bank at rest."""
    report = await audit_at_rest(bank.corner)
    assert report.violations == []
    alice = await client.get("/accounts/alice")
    settlement = await client.get("/accounts/settlement-eur")
    return alice["balance_minor"], alice["held_minor"], settlement["balance_minor"]
