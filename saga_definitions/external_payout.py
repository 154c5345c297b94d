"""Pay money out of the bank, through an outside participant.

Hold the amount at the source, have the payout sent, then capture the hold into the bank's
settlement account of that currency, where it stays until it is settled with whoever carried it out
(a withdrawal from there). A declined payout releases the hold.

The payout is the pivot: nothing takes it back. When its answer does not come, its outcome is
enquired after; it is sent again only when the participant has never heard of it. As long as the
outcome is unknown the money stays held, in the end until a person has looked.
"""

from collections.abc import Mapping

from messages.account import Capture, Credit, Hold, Release
from messages.participants import PAYOUTS
from messages.payout import SendPayout
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    Params,
    Retry,
    Text,
    ask,
    command,
    define,
    effect_of,
    step,
)

PATIENT = Retry(
    attempts=20,
    first_delay_ms=1_000,
    max_delay_ms=300_000,
    retryable=("clock_ahead", "participant_busy"),
)
"""About an hour of asking before a person is needed."""


def external_payout(settlement: Mapping[str, str]) -> Definition:
    """`settlement`: currency -> the bank's own account that payouts in it are booked to.

    Raises `DefinitionError`.
    """

    class ExternalPayoutParams(Params):
        source = Account()
        creditor_name = Text(max_length=70)
        creditor_account = Text(max_length=34)
        amount_minor = Amount()
        currency = Currency(among=tuple(settlement))
        reference = Text(max_length=140)

    p = ExternalPayoutParams()
    return define(
        "external_payout",
        version=1,
        params=p,
        deadline_ms=60_000,
        steps=(
            step(
                "hold",
                do=command(
                    Hold, account_id=p.source, amount_minor=p.amount_minor, currency=p.currency
                ),
                undo=command(Release, account_id=p.source, hold_id=effect_of("hold")),
            ),
            step(
                "payout",
                do=ask(
                    PAYOUTS,
                    SendPayout,
                    debtor_account=p.source,
                    creditor_name=p.creditor_name,
                    creditor_account=p.creditor_account,
                    amount_minor=p.amount_minor,
                    currency=p.currency,
                    reference=p.reference,
                ),
                pivot=True,
                retry=PATIENT,
                timeout_ms=30_000,
                on_timeout="enquire",
            ),
            step(
                "capture",
                do=command(Capture, account_id=p.source, hold_id=effect_of("hold")),
                irreversible=True,
            ),
            step(
                "settle",
                do=command(
                    Credit,
                    account_id=p.currency.select(settlement),
                    amount_minor=p.amount_minor,
                    currency=p.currency,
                ),
                irreversible=True,
            ),
        ),
    )
