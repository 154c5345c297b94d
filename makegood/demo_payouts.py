"""Who carries money out of the bank in the demo: a participant as anybody can write one
(docs/participants.md), in the demo's own process. What it is told is lost on the way sometimes.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from journal.kafka_log import KafkaAddress
from makegood.bank import Corner
from messages.participants import PAYOUTS
from messages.payout import SendPayout
from participant import Applied, Declined, Outcome, Unknown, serve

SETTLEMENT: Final = "settlement-eur"
SETTINGS: Final = {"payout_accounts": f'{{"EUR": "{SETTLEMENT}"}}'}
"""The bank's, so that it pays out at all."""

GOOD: Final = "DE89370400440532013000"
ABROAD: Final = "GB29NWBK60161331926819"
HALTING: Final = "DE02120300000000202051"
"""It is paid, but the word of it does not come back; whoever asks afterwards hears it."""


class Carrier:
    """`sent`: how often each effect was paid: once is right, whatever happened."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    async def send(self, command: SendPayout) -> Outcome:
        if not command.creditor_account.startswith("DE"):
            return Declined("country_not_served")
        self.sent[command.effect_id] += 1
        if command.creditor_account == HALTING:
            return Unknown("the line went dead")
        return self._paid(command)

    async def enquire(self, command: SendPayout) -> Outcome:
        if self.sent[command.effect_id]:
            return self._paid(command)
        return Unknown("nothing of it has come", never_came=True)

    def _paid(self, command: SendPayout) -> Applied:
        return Applied({"network_reference": command.effect_id})


@asynccontextmanager
async def carried_out(corner: Corner) -> AsyncGenerator[Carrier]:
    """While payouts are carried out of the bank in `corner`."""
    carrier = Carrier()
    serving = asyncio.create_task(
        serve(
            KafkaAddress(bootstrap=corner.bootstrap, prefix=corner.prefix),
            PAYOUTS,
            {SendPayout: carrier.send},
            {SendPayout: carrier.enquire},
            instance="demo-carrier",
        )
    )
    try:
        yield carrier
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
