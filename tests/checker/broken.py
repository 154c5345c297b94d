"""Definitions that no compiler would let pass: plans made by hand."""

from typing import Any

import msgspec

from messages.plan import CommandTemplate, Plan, PlannedStep, Retry
from saga_definitions.dsl import Definition

RETRY = Retry(attempts=2, retryable=("clock_ahead",))


def asks(kind: str, account: str, amount_minor: int = 100, **fields: Any) -> CommandTemplate:
    moves = {"amount_minor": amount_minor, "currency": "EUR"} if "hold_id" not in fields else {}
    return CommandTemplate(
        "account.input",
        f"account.{kind}.v1",
        "account_id",
        {"account_id": account, **moves, **fields},
    )


def debit(name: str = "debit", *after: str, **changes: Any) -> PlannedStep:
    return _step(name, after, asks("Debit", "alice"), asks("Credit", "alice"), changes)


def credit(name: str = "credit", *after: str, **changes: Any) -> PlannedStep:
    return _step(name, after, asks("Credit", "bob"), None, {"pivot": True, **changes})


def _step(
    name: str,
    after: tuple[str, ...],
    do: CommandTemplate,
    undo: CommandTemplate | None,
    changes: dict[str, Any],
) -> PlannedStep:
    step = PlannedStep(name, do, undo, after=after, retry=RETRY, undo_retry=Retry(attempts=2))
    return msgspec.structs.replace(step, **changes)


def by_hand(*steps: PlannedStep, deadline_ms: int = 60_000) -> Definition:
    """A definition without parameters, whatever its plan says."""
    return Definition("by_hand", 1, Plan("by_hand", 1, deadline_ms, steps), (), (), ())
