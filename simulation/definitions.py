"""The sagas that the simulated bank runs: those that ship, one with parallel steps, one that waits
and tries again."""

from typing import Final

from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Differ,
    Params,
    Retry,
    command,
    define,
    step,
)
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


class PatientParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()


q = PatientParams()

PATIENT = define(
    "patient",
    version=1,
    params=q,
    rules=(Differ(q.source, q.target),),
    deadline_ms=30_000,
    steps=(
        step(
            "debit",
            do=command(
                Debit, account_id=q.source, amount_minor=q.amount_minor, currency=q.currency
            ),
            undo=command(
                Credit, account_id=q.source, amount_minor=q.amount_minor, currency=q.currency
            ),
            retry=Retry(
                attempts=4,
                first_delay_ms=2_000,
                retryable=("insufficient_funds", "account_frozen", "account_unknown"),
            ),
            timeout_ms=2_000,
            on_timeout="compensate",
        ),
        step(
            "credit",
            do=command(
                Credit, account_id=q.target, amount_minor=q.amount_minor, currency=q.currency
            ),
            pivot=True,
            retry=Retry(attempts=3, first_delay_ms=1_000, retryable=("account_frozen",)),
            timeout_ms=3_000,
        ),
    ),
)
"""A transfer that tries refusals again and soon loses its patience with silence: all of a saga's
timers are in it."""

DEFINITIONS: Final = Registry((TRANSFER, RESERVED_TRANSFER, COLLECT, PATIENT))
