"""Which services there are and how they are wired to each other."""

from collections.abc import Iterable

import structlog

from account_service.service import TOPICS as ACCOUNT
from account_service.service import account_service
from claims.service import TOPICS as CLAIMS
from claims.service import claims_service
from journal.kafka_log import KafkaLog
from journal.log import Log
from journal.opening import partitions_of
from journal.service import Service, Tuning
from journal.topics import ServiceTopics, dead_letter_spec
from makegood.settings import Settings
from messages.account import AccountCommand, AccountEvent
from messages.claims import ClaimCommand
from messages.participant import Enquire
from messages.participants import PAYOUTS, Participant
from messages.saga import SagaEvent, SagaInput
from orchestrator.service import TOPICS as ORCHESTRATOR
from orchestrator.service import orchestrator
from participant.effects import EffectEvent
from saga_definitions.dsl import Definition
from saga_definitions.registry import Registry, configured

log_event = structlog.get_logger("makegood.topology")

DAY_MS = 24 * 3600 * 1000


async def connect(settings: Settings, client: str, more: Iterable[Definition] = ()) -> KafkaLog:
    """Kafka, with all topics there, also of those whom `more` asks. Raises LogError."""
    log = KafkaLog(settings.kafka(client))
    await log.connect(settings.start_timeout_s)
    await create_topics(log, settings.partitions)
    for participant in outside(settings, more):
        await _create_input(log, participant)
    return log


async def create_topics(log: Log, partitions: int) -> None:
    await log.create(
        [
            *ACCOUNT.specs(partitions),
            *ORCHESTRATOR.specs(partitions),
            *CLAIMS.specs(partitions),
            dead_letter_spec(1),
        ]
    )


def outside(settings: Settings, more: Iterable[Definition]) -> tuple[Participant, ...]:
    """The participants that this bank asks, besides its own services."""
    asked = {one.name: one for definition in more for one in definition.participants}
    if settings.payout_accounts:
        asked[PAYOUTS.name] = PAYOUTS
    return tuple(one for one in asked.values() if one.partitions)


async def _create_input(log: Log, participant: Participant) -> None:
    topics = ServiceTopics(participant.name)
    await log.create([topics.input_spec(participant.partitions)])
    found = await partitions_of(log, topics.input)
    if found < participant.partitions:
        # Its commands have to wait; that is no reason to stop everybody else's.
        log_event.critical(
            "participant_topic_too_small",
            topic=topics.input,
            partitions=found,
            needed=participant.partitions,
        )


def definitions(settings: Settings, more: Iterable[Definition] = ()) -> Registry:
    """What this bank can run; `more`: besides what ships. Raises DefinitionError."""
    return configured(settings.payout_accounts, more)


def accounts(
    settings: Settings, tuning: Tuning | None = None
) -> Service[AccountCommand, AccountEvent]:
    return account_service(
        settings.partitions,
        {ORCHESTRATOR.input: settings.partitions},
        effect_horizon_ms=round(settings.effect_horizon_days * DAY_MS),
        tuning=tuning,
    )


def claims(
    settings: Settings, tuning: Tuning | None = None
) -> Service[ClaimCommand | Enquire, EffectEvent]:
    return claims_service(
        settings.partitions,
        {ORCHESTRATOR.input: settings.partitions},
        effect_horizon_ms=round(settings.effect_horizon_days * DAY_MS),
        tuning=tuning,
    )


def sagas(
    settings: Settings, tuning: Tuning | None = None, more: Iterable[Definition] = ()
) -> Service[SagaInput, SagaEvent]:
    """`more`: definitions besides those that ship."""
    return orchestrator(
        settings.partitions,
        {ACCOUNT.input: settings.partitions, CLAIMS.input: settings.partitions},
        definitions=definitions(settings, more),
        memory_horizon_ms=round(settings.saga_memory_days * DAY_MS),
        tuning=tuning,
    )
