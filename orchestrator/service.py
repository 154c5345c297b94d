"""The saga engine as the kernel runs it: its topics, codecs and machine."""

from collections.abc import Mapping
from typing import Any

from journal.records import KernelRecord
from journal.service import Service, Tuning
from journal.topics import ServiceTopics
from messages.saga import SagaAnswer, SagaEvent, SagaInput
from messages.wire import Codec
from orchestrator.machine import SagaMachine
from orchestrator.saga import MEMORY_HORIZON_MS
from saga_definitions.registry import Registry

TOPICS = ServiceTopics("orchestrator")
INPUTS: Codec[SagaInput] = Codec(SagaInput)
EVENTS: Codec[Any] = Codec(SagaEvent | KernelRecord)
ANSWERS: Codec[SagaAnswer] = Codec(SagaAnswer)


def orchestrator(
    partitions: int,
    routes: Mapping[str, int],
    *,
    definitions: Registry | None = None,
    memory_horizon_ms: int = MEMORY_HORIZON_MS,
    tuning: Tuning | None = None,
) -> Service[SagaInput, SagaEvent]:
    """`routes`: partition counts of the participants' input topics."""
    return Service(
        topics=TOPICS,
        partitions=partitions,
        machine=lambda _partition: SagaMachine(definitions, memory_horizon_ms),
        inputs=INPUTS,
        events=EVENTS,
        routes={TOPICS.input: partitions, **routes},
        tuning=tuning or Tuning(),
    )
