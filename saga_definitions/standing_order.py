"""Pay the same amount again and again, at a local time on days that recur.

When each payment is due is found once, when the order begins, and recorded in `due`; see
`timetable.py`. At each of these instants a `transfer` is begun, a saga of its own: the money is
looked for then, and one that is refused stands in the way of none that follows. Cancelling the
order ends the payments to come; those made, and one under way, stand. An order of which nothing was
paid ends as compensated, any other as completed: `partial` when a payment was refused or cancelled.
"""

from typing import Final

from saga_definitions.dsl import (
    Account,
    Amount,
    Count,
    Currency,
    Day,
    Instants,
    Params,
    Rhythm,
    Text,
    TimeOfDay,
    Timetable,
    Zone,
    define,
    nested,
)
from saga_definitions.transfer import TRANSFER

MAX_PAYMENTS: Final = 100
"""Eight years of months. So few that an order can sleep; see `orchestrator.asleep`."""
WIDTH: Final = 4
"""The payment that is waited for, and some that take long: they don't hold up the next ones."""


class StandingOrderParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    first = Day()
    every = Rhythm()
    at = TimeOfDay()
    zone = Zone()
    times = Count(most=MAX_PAYMENTS)
    reference = Text(max_length=140, optional=True)
    due = Instants()


p = StandingOrderParams()

STANDING_ORDER = define(
    "standing_order",
    version=1,
    params=p,
    timetable=Timetable(p.due, p.first, p.every, p.at, p.zone, p.times),
    deadline_ms=60_000,
    steps=(
        nested(
            "pay",
            TRANSFER,
            each=p.due,
            width=WIDTH,
            given={
                "source": p.source,
                "target": p.target,
                "amount_minor": p.amount_minor,
                "currency": p.currency,
            },
            pivot=True,
        ),
    ),
)
