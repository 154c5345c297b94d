"""The sagas that the simulated bank runs: those that ship, and one with parallel steps."""

from typing import Final

from messages.account import Credit, Debit
from saga_definitions.dsl import Account, Amount, Currency, Differ, Params, command, define, step
from saga_definitions.registry import Registry
from saga_definitions.reserved_transfer import RESERVED_TRANSFER
from saga_definitions.transfer import TRANSFER


class CollectParams(Params):
    first = Account()
    second = Account()
    target = Account()
    amount_minor = Amount()
    total_minor = Amount()
    currency = Currency()


p = CollectParams()

COLLECT = define(
    "collect",
    version=1,
    params=p,
    rules=(Differ(p.first, p.target), Differ(p.second, p.target)),
    deadline_ms=60_000,
    steps=(
        step(
            "first",
            do=command(Debit, account_id=p.first, amount_minor=p.amount_minor, currency=p.currency),
            undo=command(
                Credit, account_id=p.first, amount_minor=p.amount_minor, currency=p.currency
            ),
            after=(),
        ),
        step(
            "second",
            do=command(
                Debit, account_id=p.second, amount_minor=p.amount_minor, currency=p.currency
            ),
            undo=command(
                Credit, account_id=p.second, amount_minor=p.amount_minor, currency=p.currency
            ),
            after=(),
        ),
        step(
            "credit",
            do=command(
                Credit, account_id=p.target, amount_minor=p.total_minor, currency=p.currency
            ),
            pivot=True,
            after=("first", "second"),
        ),
    ),
)
"""Two debits at once, then one credit of their sum (`total_minor`, twice `amount_minor`)."""

DEFINITIONS: Final = Registry((TRANSFER, RESERVED_TRANSFER, COLLECT))
