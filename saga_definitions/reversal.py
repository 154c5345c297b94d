"""Give a completed transfer back, whole or in parts, never more than it was.

Claim the amount of what can be reversed of the original; debit who got it; credit who paid. The
claim stands for ever, so all reversals of one transfer together give back at most its amount,
whoever asks, at whatever time, under whatever keys. A reversal that fails takes its claim back.

A reversal is a saga of its own that refers to the original, which stays as it is. It needs the
money: an account that has spent it makes the reversal end as `compensated`. Nothing is reversed
twice by reversing a reversal: that is not offered, since it is a plain transfer.

What the original was, its caller can't say: the API looks it up (`api/reversals.py`), and the audit
holds every reversal against the original's own journal.
"""

from typing import Final

from messages.account import Credit, Debit
from messages.claims import Claim, GiveBack
from messages.participants import CLAIMS
from saga_definitions.dsl import (
    Account,
    Amount,
    AtMost,
    Currency,
    Differ,
    Params,
    Text,
    Transfer,
    ask,
    command,
    define,
    step,
)

PURPOSE: Final = "reversal"

REVERSIBLE: Final = frozenset(
    ("transfer", "reserved_transfer", "approved_transfer", "scheduled_transfer")
)
"""The definitions that move `amount_minor` of `currency` from `source` to `target`, and no more."""


class ReversalParams(Params):
    """`source` and `target` are the original's, the other way round; `total_minor` its amount."""

    original = Transfer()
    source = Account()
    target = Account()
    amount_minor = Amount()
    total_minor = Amount()
    currency = Currency()
    reference = Text(max_length=140, optional=True)


p = ReversalParams()

REVERSAL = define(
    "reversal",
    version=1,
    params=p,
    rules=(Differ(p.source, p.target), AtMost(p.amount_minor, p.total_minor)),
    deadline_ms=60_000,
    steps=(
        step(
            "claim",
            do=ask(
                CLAIMS,
                Claim,
                purpose=PURPOSE,
                resource=p.original,
                amount_minor=p.amount_minor,
                limit_minor=p.total_minor,
            ),
            undo=ask(
                CLAIMS,
                GiveBack,
                purpose=PURPOSE,
                resource=p.original,
                amount_minor=p.amount_minor,
            ),
        ),
        step(
            "debit",
            do=command(
                Debit, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency
            ),
            undo=command(
                Credit, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency
            ),
        ),
        step(
            "credit",
            do=command(
                Credit, account_id=p.target, amount_minor=p.amount_minor, currency=p.currency
            ),
            pivot=True,
        ),
    ),
)
