"""The sagas that the simulated bank runs: those that ship, one with parallel steps, one that waits
and tries again, one for whose approvals nobody has days, and those that
`simulation/drawn.py` draws."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from messages.account import Capture, Credit, Debit, Hold, Release
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    Differ,
    Params,
    Person,
    Retry,
    command,
    condition,
    define,
    effect_of,
    step,
    wait_for,
)
from saga_definitions.external_payout import external_payout
from saga_definitions.fx_transfer import FX_TRANSFER
from saga_definitions.payroll import PAYROLL
from saga_definitions.payroll_all_or_none import PAYROLL_ALL_OR_NONE
from saga_definitions.registry import Registry
from saga_definitions.reserved_transfer import RESERVED_TRANSFER
from saga_definitions.reversal import REVERSAL
from saga_definitions.scheduled_transfer import SCHEDULED_TRANSFER
from saga_definitions.split_transfer import SPLIT_TRANSFER
from saga_definitions.standing_order import STANDING_ORDER
from saga_definitions.timetable import Timetable
from saga_definitions.transfer import TRANSFER
from saga_definitions.transfer_with_fee import TRANSFER_WITH_FEE
from simulation.conditions import PAYOUT
from simulation.nested import JOURNEY


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


class ApprovedParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    initiator = Person()


r = ApprovedParams()
_LARGE = condition(r.amount_minor, ">", 300)
_HUGE = condition(r.amount_minor, ">", 1_000)

APPROVED = define(
    "approved",
    version=1,
    params=r,
    rules=(Differ(r.source, r.target),),
    deadline_ms=30_000,
    steps=(
        step(
            "hold",
            do=command(Hold, account_id=r.source, amount_minor=r.amount_minor, currency=r.currency),
            undo=command(Release, account_id=r.source, hold_id=effect_of("hold")),
            after=(),
        ),
        wait_for("approval", timeout_ms=20_000, not_by=r.initiator, when=_LARGE, after=("hold",)),
        wait_for("second", timeout_ms=30_000, not_by=r.initiator, when=_HUGE, after=()),
        step(
            "credit",
            do=command(
                Credit, account_id=r.target, amount_minor=r.amount_minor, currency=r.currency
            ),
            pivot=True,
            after=("approval", "second"),
        ),
        step(
            "capture",
            do=command(Capture, account_id=r.source, hold_id=effect_of("hold")),
            irreversible=True,
        ),
    ),
)
"""A large transfer needs one approval, a huge one two, which wait side by side."""


def _narrow(definition: Definition) -> Definition:
    """With few legs at once, so that some have to wait for others."""
    steps = (
        msgspec.structs.replace(step, width=2 if step.each else 0) for step in definition.plan.steps
    )
    return replace(definition, plan=msgspec.structs.replace(definition.plan, steps=tuple(steps)))


class _Seconds(Timetable):
    """Of a day or a month it makes a few seconds: a run has no more."""

    def instants(self, params: Mapping[str, Any], now_ms: int) -> list[str]:
        return [instant(now_ms + 4_000 * (n + 1)) for n in range(params[self.times.name])]


def _hurried(definition: Definition) -> Definition:
    table = definition.timetable
    assert table is not None
    return replace(definition, timetable=_Seconds(**vars(table)))


WRITTEN: Final = (
    TRANSFER,
    RESERVED_TRANSFER,
    COLLECT,
    PATIENT,
    APPROVED,
    SPLIT_TRANSFER,
    FX_TRANSFER,
    SCHEDULED_TRANSFER,
    TRANSFER_WITH_FEE,
    JOURNEY,
    _narrow(_hurried(STANDING_ORDER)),
    _narrow(PAYROLL),
    _narrow(PAYROLL_ALL_OR_NONE),
)

LIQUIDITY: Final = {"EUR": "bank-eur", "USD": "bank-usd"}
"""The bank's own accounts; payouts are settled there, too."""


def instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def registry(
    drawn: Sequence[Definition], participant: str = "", *, claims: bool = False
) -> Registry:
    """`participant`: who else takes part; payouts can be started where it carries them out.
    `claims`: they are kept, and so transfers can be reversed."""
    payouts = (external_payout(LIQUIDITY),) if participant == PAYOUT else ()
    reversals = (REVERSAL,) if claims else ()
    return Registry((*WRITTEN, *payouts, *reversals, *drawn))
