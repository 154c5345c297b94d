"""A saga three deep for the simulated bank, with little patience: a toll is a step of an errand,
which is a step of a journey. Toll and errand can be taken back after their end."""

from typing import Any

from messages.account import Credit, Debit
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Differ,
    Params,
    Retry,
    Step,
    command,
    condition,
    define,
    nested,
    step,
)
from saga_definitions.params import Ref


class JourneyParams(Params):
    source = Account()
    target = Account()
    bank = Account()
    amount_minor = Amount()
    currency = Currency()


p = JourneyParams()
_MONEY: dict[str, Any] = {"amount_minor": p.amount_minor, "currency": p.currency}
_GIVEN: dict[str, Any] = {name: getattr(p, name) for name in vars(JourneyParams) if name[0] != "_"}


def _move(name: str, kind: type[Debit | Credit], account: Ref[str]) -> Step:
    back = Credit if kind is Debit else Debit
    return step(
        name,
        do=command(kind, account_id=account, **_MONEY),
        undo=command(back, account_id=account, **_MONEY),
        retry=Retry(attempts=2, first_delay_ms=500),
        undo_retry=Retry(attempts=3, first_delay_ms=500),
        timeout_ms=2_000,
    )


TOLL = define(
    "toll",
    version=1,
    params=p,
    rules=(Differ(p.source, p.bank),),
    deadline_ms=5_000,
    steps=(_move("pay", Debit, p.source), _move("take", Credit, p.bank)),
)

ERRAND = define(
    "errand",
    version=1,
    params=p,
    deadline_ms=10_000,
    steps=(
        nested("toll", TOLL, given=_GIVEN, timeout_ms=1_500),
        _move("debit", Debit, p.source),
        _move("credit", Credit, p.target),
    ),
)

JOURNEY = define(
    "journey",
    version=1,
    params=p,
    deadline_ms=15_000,
    steps=(
        nested(
            "errand",
            ERRAND,
            given=_GIVEN,
            timeout_ms=3_000,
            # What a child takes is not looked at beforehand where its step may be skipped: some
            # are refused by the child.
            when=condition(p.amount_minor, ">", 1),
        ),
        _move("debit", Debit, p.target),
        step("credit", do=command(Credit, account_id=p.bank, **_MONEY), pivot=True),
    ),
)
