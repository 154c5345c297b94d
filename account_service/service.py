"""The account service as the kernel runs it: its topics, codecs and machine."""

from collections.abc import Mapping
from typing import Any

from account_service.ledger import DEFAULT_HORIZON_MS
from account_service.machine import AccountMachine
from journal.records import KernelRecord
from journal.service import Service, Tuning
from journal.topics import ServiceTopics
from messages.account import AccountCommand, AccountEvent
from messages.wire import Codec

TOPICS = ServiceTopics("account")
INPUTS: Codec[AccountCommand] = Codec(AccountCommand)
EVENTS: Codec[Any] = Codec(AccountEvent | KernelRecord)
ANSWERS: Codec[AccountEvent] = Codec(AccountEvent)


def account_service(
    partitions: int,
    routes: Mapping[str, int],
    *,
    effect_horizon_ms: int = DEFAULT_HORIZON_MS,
    tuning: Tuning | None = None,
) -> Service[AccountCommand, AccountEvent]:
    """`routes`: partition counts of the topics that answers go to."""
    return Service(
        topics=TOPICS,
        partitions=partitions,
        machine=lambda _partition: AccountMachine(effect_horizon_ms),
        inputs=INPUTS,
        events=EVENTS,
        routes=routes,
        tuning=tuning or Tuning(),
    )
