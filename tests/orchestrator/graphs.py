"""Definitions of any graph for tests: every step debits the source; its undo credits it."""

from typing import Any

from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    Params,
    Retry,
    Text,
    command,
    define,
    step,
)


class MoveParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    reference = Text(optional=True)


p = MoveParams()
MONEY: dict[str, Any] = {"amount_minor": p.amount_minor, "currency": p.currency}

QUICK = Retry(attempts=3, first_delay_ms=100, max_delay_ms=1_000, retryable=("account_frozen",))
UNDO = Retry(attempts=3, first_delay_ms=100, max_delay_ms=1_000)


def node(name: str, *after: str, **options: Any) -> Any:
    """A reversible step, or with `pivot` or `irreversible` one that is not."""
    once = options.get("pivot") or options.get("irreversible")
    return step(
        name,
        **{
            "do": command(Debit, account_id=p.source, **MONEY),
            "undo": None if once else command(Credit, account_id=p.source, **MONEY),
            "after": after,
            "retry": QUICK,
            "undo_retry": UNDO,
            **options,
        },
    )


def graph(*steps: Any, deadline_ms: int = 3_600_000) -> Definition:
    return define("graph", version=1, params=p, steps=steps, deadline_ms=deadline_ms)
