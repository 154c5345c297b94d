"""`makegood account ...`: accounts through the API, one command each."""

from typing import Any, Literal

import uvloop
from cyclopts import App
from rich.console import Console
from rich.table import Table

from audit.rendering import money
from makegood.amount_option import AmountMinor
from makegood.api_option import ApiUrl, api_url
from makegood.client import Client, path_of
from makegood.request_key import Key, request_key

app = App(name="account", help="Open, look at and change accounts.")
console = Console()


@app.command
def open(  # the command's name
    currency: str,
    /,
    *,
    id: str | None = None,
    overdraft_limit_minor: AmountMinor = 0,
    transfer_limit_minor: AmountMinor | None = None,
    daily_limit_minor: AmountMinor | None = None,
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """Open an account in CURRENCY (ISO 4217). Amounts are in minor units (cents)."""
    body: dict[str, Any] = {
        "currency": currency,
        "overdraft_limit_minor": overdraft_limit_minor,
        "transfer_limit_minor": transfer_limit_minor,
        "daily_limit_minor": daily_limit_minor,
    }
    _order("/accounts", key, api, body | ({"id": id} if id else {}))


@app.command
def show(account: str, /, *, api: ApiUrl = None) -> None:
    """An account with its balances."""

    async def get() -> dict[str, Any]:
        async with Client(api_url(api)) as client:
            return await client.get(path_of("accounts", account))

    found = uvloop.run(get())
    table = Table(show_header=False, box=None)
    for name, value in found.items():
        if name.endswith("_minor") and value is not None:
            name, value = name[:-6], f"{money(value, found['currency'])} {found['currency']}"
        table.add_row(f"[bold]{name}", "none" if value is None else str(value))
    console.print(table)


@app.command
def deposit(
    account: str,
    amount_minor: AmountMinor,
    currency: str,
    /,
    *,
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """Money enters the bank: AMOUNT_MINOR in minor units."""
    body = {"amount_minor": amount_minor, "currency": currency}
    _order(path_of("accounts", account, "deposits"), key, api, body)


@app.command
def withdraw(
    account: str,
    amount_minor: AmountMinor,
    currency: str,
    /,
    *,
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """Money leaves the bank: AMOUNT_MINOR in minor units."""
    body = {"amount_minor": amount_minor, "currency": currency}
    _order(path_of("accounts", account, "withdrawals"), key, api, body)


@app.command
def freeze(
    account: str,
    /,
    *,
    credits: Literal["accept", "refuse"] = "refuse",
    key: Key = None,
    api: ApiUrl = None,
) -> None:
    """No debits from now on; CREDITS says whether money may still come in."""
    _order(path_of("accounts", account, "freeze"), key, api, {"credits": credits})


@app.command
def unfreeze(account: str, /, *, key: Key = None, api: ApiUrl = None) -> None:
    """The account is open again."""
    _order(path_of("accounts", account, "unfreeze"), key, api)


@app.command
def close(account: str, /, *, key: Key = None, api: ApiUrl = None) -> None:
    """Close an empty account, for good."""
    _order(path_of("accounts", account, "close"), key, api)


def _order(path: str, key: str | None, api: str | None, body: dict[str, Any] | None = None) -> None:
    async def order(named: str) -> dict[str, Any]:
        async with Client(api_url(api)) as client:
            return await client.order(path, named, body)

    with request_key(key) as named:
        changed = uvloop.run(order(named))
    balance = changed.get("balance_minor")
    told = "" if balance is None else f", balance {money(balance, changed['currency'])}"
    console.print(f"{changed['account_id']}: {changed['event']}{told} (key {named})")
