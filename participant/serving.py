"""A participant as a process: its topics, its share of the partitions, its handlers, its end."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import LogError
from journal.opening import check_partitions
from journal.ownership import share
from journal.records import KernelRecord
from journal.service import Service, Tuning, Watcher
from journal.topics import ServiceTopics, dead_letter_spec
from messages.participant import Enquire, StepCommand
from messages.participants import Participant
from messages.wire import Codec, type_name
from participant.effects import EffectEvent, Effects
from participant.machine import EffectMachine
from participant.outcomes import Handler
from participant.work import Work

Handlers = Mapping[type[StepCommand], Handler]

DAY_MS: Final = 24 * 3_600 * 1_000
_ANSWERS: Final = "orchestrator.input"
# An outcome waits for the next look: nobody wakes a processor that waits for inputs.
_TUNING: Final = Tuning(idle_wait_ms=20)


class HandlersIncomplete(Exception):
    """The handlers do not fit the participant's declaration; the text says which."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`max_concurrent`: handlers at work at once, in this process. `max_under_way`: effects of one
    partition begun and not settled; beyond it commands are declined as `participant_busy`.
    `effect_horizon_ms`: for how long effects are remembered, and may be asked for; the bank's own
    is 7 days. `stop_s`: how long handlers may go on when the process is told to stop."""

    max_concurrent: int = 32
    max_under_way: int = 1_000
    effect_horizon_ms: int = 7 * DAY_MS
    stop_s: float = 20.0


def effect_service(
    declared: Participant,
    answer_partitions: int,
    *,
    enquirable: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    watcher: Watcher | None = None,
    tuning: Tuning = _TUNING,
) -> Service[StepCommand, EffectEvent]:
    """The participant as the kernel runs it. `answer_partitions`: how many the topic of the answers
    has; `enquirable`: the command types, on the wire, whose outcome can be enquired after."""
    bounds = limits or Limits()
    keys = {type_name(kind): declared.key for kind in declared.commands}
    return Service(
        topics=ServiceTopics(declared.name),
        partitions=declared.partitions,
        machine=lambda _partition: EffectMachine(
            Effects(bounds.effect_horizon_ms, bounds.max_under_way, enquirable.__contains__), keys
        ),
        inputs=commands_of(declared),
        events=Codec[Any](EffectEvent | KernelRecord),
        routes={_ANSWERS: answer_partitions},
        tuning=tuning,
        watcher=watcher,
    )


def commands_of(declared: Participant) -> Codec[StepCommand]:
    """Decodes what the participant takes."""
    family: Any = Enquire
    for kind in sorted(declared.commands, key=type_name):
        family |= kind
    return Codec(family)


async def serve(
    kafka: KafkaAddress,
    declared: Participant,
    handlers: Handlers,
    enquiries: Handlers | None = None,
    *,
    instance: str,
    limits: Limits | None = None,
    start_timeout_s: float = 60.0,
) -> None:
    """Take part until cancelled; then let the handlers end, record what they said, and return.

    `handlers`: one for each command. `enquiries`: for commands whose outcome can be looked up
    where they take effect; asked when a handler said `Unknown`. `instance`: this process's name,
    kept over restarts and no other's. Raises HandlersIncomplete, LogError, PartitionsChanged.
    """
    enquiries = enquiries or {}
    bounds = limits or Limits()
    _check(declared, handlers, enquiries)
    work = Work(
        commands_of(declared),
        {type_name(kind): handler for kind, handler in handlers.items()},
        {type_name(kind): handler for kind, handler in enquiries.items()},
        bounds.max_concurrent,
    )
    log = KafkaLog(kafka)
    await log.connect(start_timeout_s)
    try:
        answers = await log.partitions(_ANSWERS)
        if not answers:
            raise LogError(f"there is no topic {_ANSWERS}: start the bank first")
        service = effect_service(
            declared,
            answers,
            enquirable=frozenset(type_name(kind) for kind in enquiries),
            limits=bounds,
            watcher=work,
        )
        await log.create([*service.topics.specs(declared.partitions), dead_letter_spec(1)])
        await check_partitions(log, service)
        owning = asyncio.create_task(share(log, kafka, service, instance))
        try:
            await asyncio.wait({owning})
            owning.result()
        finally:
            await work.drain(bounds.stop_s)
            owning.cancel()
            await asyncio.gather(owning, return_exceptions=True)
    finally:
        await log.close()


def _check(declared: Participant, handlers: Handlers, enquiries: Handlers) -> None:
    missing = sorted(kind.__name__ for kind in declared.commands - handlers.keys())
    unknown = sorted(kind.__name__ for kind in {*handlers, *enquiries} - declared.commands)
    if missing or unknown:
        raise HandlersIncomplete(
            f"participant {declared.name}: "
            + "; ".join(
                f"{what} {', '.join(names)}"
                for what, names in (("no handler for", missing), ("it takes no", unknown))
                if names
            )
        )
