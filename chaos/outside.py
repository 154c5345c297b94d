"""Who carries payouts out of the bank under attack: a participant like any other
(docs/participants.md) that is late, unsure, mute or says things twice, and whose deeds may land
when it has long said that it does not know.
"""

import asyncio
import contextlib
import random
from typing import Final

from chaos.payments import Payments
from journal.kafka_log import KafkaLog
from journal.log import LogError, Place
from journal.records import request_entry
from makegood.roles import take_part
from makegood.settings import Settings
from makegood.topology import connect
from messages.participants import PAYOUTS
from messages.payout import SendPayout
from messages.routing import partition_of
from messages.saga import answer_to
from messages.wire import encode, type_name
from orchestrator.service import TOPICS as ORCHESTRATOR
from participant import Applied, Declined, Outcome, Unknown

NOT_SERVED: Final = "GB29NWBK60161331926819"
"""Payouts to this account are declined."""

_ILL_ATTEMPTS: Final = 3
"""Later attempts fare well: pauses between attempts grow, and a run has to end."""

_LATE_S: Final = (1.0, 6.0)
_HUNG_S: Final = 40.0
"""Longer than the 30 s that the bank waits for an answer."""

_FATES: Final = {
    "well": 60,
    "twice": 12,
    "late": 8,
    "answer_lost": 6,
    "never_sent": 4,
    "lands_late": 4,
    "breaks": 4,
    "hangs": 2,
}


class Unanswered(Exception):
    """The line broke; nobody knows whether the payment was made."""


class Carrier:
    """Its handlers. `log`: for answers that it gives a second time, past its own journal."""

    def __init__(self, payments: Payments, log: KafkaLog, saga_partitions: int, who: str) -> None:
        self._payments = payments
        self._writer = log.writer()
        self._saga_partitions = saga_partitions
        self._who = who
        self._by_chance = random.Random()
        self._landing: set[asyncio.Task[None]] = set()

    async def send(self, command: SendPayout) -> Outcome:
        if command.creditor_account == NOT_SERVED:
            return Declined("country_not_served")
        # By its name, so that it fares alike when it is begun again after a crash.
        rng = random.Random(f"{command.effect_id} {command.attempt}")
        match self._fate(command, rng):
            case "late":
                self._payments.pay(command)
                await self._wait(rng.uniform(*_LATE_S))
            case "answer_lost":
                self._payments.pay(command)
                return Unknown("the line went dead")
            case "never_sent":
                return Unknown("the line was dead")
            case "lands_late":
                landing = asyncio.create_task(self._lands(command, rng.uniform(*_LATE_S)))
                self._landing.add(landing)
                landing.add_done_callback(self._landing.discard)
                return Unknown("the line went dead, and the payment is on it")
            case "breaks":
                if rng.random() < 0.5:
                    self._payments.pay(command)
                raise Unanswered
            case "hangs" if rng.random() < 0.5:
                await self._wait(_HUNG_S)
                self._payments.pay(command)
            case "hangs":
                self._payments.pay(command)
                await self._wait(_HUNG_S)
            case "twice":
                self._payments.pay(command)
                await self._say_beside(command)
            case _:
                self._payments.pay(command)
        return _paid(command)

    async def enquire(self, command: SendPayout) -> Outcome:
        if self._payments.has(command):
            return _paid(command)
        if self._by_chance.random() < 0.2 and not self._payments.fair:
            return Unknown("it is being looked for")
        return Unknown("nothing of it has come", never_came=True)

    def _fate(self, command: SendPayout, rng: random.Random) -> str:
        fate = rng.choices(list(_FATES), list(_FATES.values()))[0]
        return "well" if command.attempt > _ILL_ATTEMPTS or self._payments.fair else fate

    async def _wait(self, seconds: float) -> None:
        """So long, or until it is fair weather."""
        until_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until_s and not self._payments.fair:
            await asyncio.sleep(0.1)

    async def _lands(self, command: SendPayout, seconds: float) -> None:
        await self._wait(seconds)
        self._payments.pay(command)

    async def _say_beside(self, command: SendPayout) -> None:
        """The same answer as the one that follows, in a record of its own without a number."""
        answer = answer_to(command, result=_paid(command).result)
        to = Place(ORCHESTRATOR.input, partition_of(command.saga_id, self._saga_partitions))
        entry = request_entry(
            command.saga_id, encode(answer), type_name(answer), self._who, command.effect_id
        )
        # When the log is away it is said only once.
        with contextlib.suppress(LogError):
            await self._writer.append(to, [entry])


def _paid(command: SendPayout) -> Applied:
    return Applied({"network_reference": command.effect_id})


async def run_outside(settings: Settings, payments: Payments) -> None:
    """One process of it, until cancelled. Raises LogError."""
    # The participant's own connection, once the topics are there.
    log = await connect(settings, "outside")
    try:
        carrier = Carrier(
            payments, log, await log.partitions(ORCHESTRATOR.input), f"/{settings.instance}"
        )
        await take_part(
            settings, PAYOUTS, {SendPayout: carrier.send}, {SendPayout: carrier.enquire}
        )
    finally:
        await log.close()
