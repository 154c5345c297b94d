"""Pay many at once out of one account: all of them get their part, or none does.

As `split_transfer`, for thousands: hold the sum at the source; credit all targets on hold, some at
a time; when every one of them has accepted, capture the source's hold and release the targets'. The
capture is the pivot. Nobody can spend a cent before everybody has been credited.
"""

from messages.account import Capture, CreditOnHold, Hold, Release
from saga_definitions.dsl import AddUp, command, define, effect_of, leg_effect_of, step
from saga_definitions.payroll import WIDTH, PayrollParams

p = PayrollParams()

PAYROLL_ALL_OR_NONE = define(
    "payroll_all_or_none",
    version=1,
    params=p,
    rules=(AddUp(p.legs, p.amount_minor, p.source),),
    deadline_ms=15 * 60_000,
    steps=(
        step(
            "hold",
            do=command(Hold, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency),
            undo=command(Release, account_id=p.source, hold_id=effect_of("hold")),
        ),
        step(
            "credit",
            each=p.legs,
            width=WIDTH,
            do=command(
                CreditOnHold,
                account_id=p.legs.leg.target,
                amount_minor=p.legs.leg.amount_minor,
                currency=p.currency,
            ),
            undo=command(Capture, account_id=p.legs.leg.target, hold_id=leg_effect_of("credit")),
        ),
        step(
            "capture",
            do=command(Capture, account_id=p.source, hold_id=effect_of("hold")),
            pivot=True,
        ),
        step(
            "release",
            each=p.legs,
            width=WIDTH,
            do=command(Release, account_id=p.legs.leg.target, hold_id=leg_effect_of("credit")),
            irreversible=True,
        ),
    ),
)
