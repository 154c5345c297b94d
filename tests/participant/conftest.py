"""A bank that can pay out, one a module: another participant would do old effects anew."""

import uuid
from collections.abc import AsyncIterator

import pytest

from makegood.bank import Bank, Corner, own_database
from makegood.client import Client
from tests.conftest import Addresses

FUNDS_MINOR = 1_000_000


@pytest.fixture(scope="module")
async def bank(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    corner = f"payouts_{uuid.uuid4().hex[:8]}"
    url = await own_database(stack.database_url, corner)
    where = Corner(stack.bootstrap, url, f"{corner}-")
    settings = {"partitions": "2", "payout_accounts": '{"EUR": "settlement-eur"}'}
    async with Bank(where, tmp_path_factory.mktemp("logs"), settings=settings) as running:
        async with Client(running.url) as client:
            for name in ("alice", "settlement-eur"):
                await client.order("/accounts", f"open-{name}", {"id": name, "currency": "EUR"})
            money = {"amount_minor": FUNDS_MINOR, "currency": "EUR"}
            await client.order("/accounts/alice/deposits", "fund-alice", money)
        yield running
