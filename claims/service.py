"""The claims service as the kernel runs it: its topics, codecs and machine."""

from collections.abc import Mapping
from typing import Any, Final

from claims.machine import ClaimsMachine
from journal.records import KernelRecord
from journal.service import Service, Tuning
from journal.topics import ServiceTopics
from messages.claims import ClaimCommand
from messages.participant import Enquire
from messages.participants import CLAIMS
from messages.wire import Codec
from participant.effects import EffectEvent

TOPICS: Final = ServiceTopics(CLAIMS.name)
INPUTS: Final[Codec[ClaimCommand | Enquire]] = Codec(ClaimCommand | Enquire)
EVENTS: Final[Codec[Any]] = Codec(EffectEvent | KernelRecord)


def claims_service(
    partitions: int,
    routes: Mapping[str, int],
    *,
    effect_horizon_ms: int,
    tuning: Tuning | None = None,
) -> Service[ClaimCommand | Enquire, EffectEvent]:
    """`routes`: partition counts of the topics that answers go to. `effect_horizon_ms`: for how
    long after it was first asked for a claim may still be made."""
    return Service(
        topics=TOPICS,
        partitions=partitions,
        machine=lambda _partition: ClaimsMachine(effect_horizon_ms),
        inputs=INPUTS,
        events=EVENTS,
        routes=routes,
        tuning=tuning or Tuning(),
    )
