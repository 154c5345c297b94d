"""An account's row is what the account aggregate itself folds from the same events."""

import random
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from account_service.account import Account, decide, evolve
from messages.account import (
    AccountCommand,
    Capture,
    ChangeLimits,
    CloseAccount,
    Credit,
    Debit,
    Deposit,
    Deposited,
    Freeze,
    Hold,
    OpenAccount,
    Release,
    Unfreeze,
    Withdraw,
    Withdrawn,
)
from read_model import queries
from tests.read_model.history import ACCOUNTS, AT_MS, Journals, caught_up, projecting

SEEDS = range(5)
COMMANDS = 400


def any_command(
    chance: random.Random, account_id: str, account: Account | None, number: int
) -> AccountCommand:
    asked: dict[str, Any] = {
        "account_id": account_id,
        "effect_id": f"e{number}",
        "issued_at_ms": AT_MS,
    }
    money: dict[str, Any] = {"amount_minor": chance.randint(1, 50), "currency": "EUR"}
    limits: dict[str, Any] = {
        "overdraft_limit_minor": chance.choice((0, 100)),
        "transfer_limit_minor": chance.choice((None, 40)),
        "daily_limit_minor": chance.choice((None, 10_000)),
    }
    if account is None:
        return OpenAccount(**asked, currency="EUR", **limits)
    hold_id = chance.choice([*account.holds, "unknown"])
    kinds: list[AccountCommand] = [
        *(kind(**asked, **money) for kind in (Deposit, Deposit, Withdraw, Debit, Credit, Hold)),
        Capture(**asked, hold_id=hold_id),
        Release(**asked, hold_id=hold_id),
        ChangeLimits(**asked, **limits),
        Freeze(**asked, credits=chance.choice(("accept", "refuse"))),
        Unfreeze(**asked),
        Unfreeze(**asked),
        CloseAccount(**asked),
    ]
    return chance.choice(kinds)


async def test_rows_equal_the_aggregates_for_random_histories(
    engine: AsyncEngine, database_of_test: str
) -> None:
    journals = await Journals().create()
    accounts: dict[str, Account | None] = {}
    world = 0
    async with projecting(journals, database_of_test):
        for seed in SEEDS:
            chance = random.Random(seed)
            for number in range(COMMANDS):
                account_id = f"account-{seed}-{chance.randrange(4)}"
                account = accounts.get(account_id)
                command = any_command(chance, account_id, account, number)
                event = decide(account, command, AT_MS + number)
                accounts[account_id] = evolve(account, event)
                match event:
                    case Deposited(amount_minor=amount):
                        world -= amount
                    case Withdrawn(amount_minor=amount):
                        world += amount
                    case _:
                        pass
                journals.write(ACCOUNTS, event)
            await caught_up(engine, journals)
    for account_id, account in accounts.items():
        row = await queries.account(engine, account_id)
        assert account is not None and row is not None
        assert (
            row.version,
            row.status,
            row.credits,
            row.currency,
            row.balance_minor,
            row.held_minor,
            row.overdraft_limit_minor,
            row.transfer_limit_minor,
            row.daily_limit_minor,
        ) == (
            account.version,
            account.state,
            account.credits,
            account.currency,
            account.balance_minor,
            account.held_minor,
            account.overdraft_limit_minor,
            account.transfer_limit_minor,
            account.daily_limit_minor,
        )
    assert await queries.world_balances(engine) == {"EUR": world}
