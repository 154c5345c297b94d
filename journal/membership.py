"""Who should try to own which partition, by a Kafka consumer group that reads nothing.

Only a hint: two owners at once are settled by the journal. A static member (`instance`) that dies
and comes back within the session time gets its partitions back at once, without a rebalance.
"""

# pyright: reportUnknownMemberType=false, reportMissingTypeArgument=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from journal.kafka_client import stay_current
from journal.kafka_log import KafkaAddress, stop_client

log_event = structlog.get_logger("journal.membership")

_START_S: Final = 30.0
_SESSION_MS: Final = 10_000
"""How long the partitions of a member that is gone for good stay without an owner, at most."""
_REQUEST_MS: Final = 15_000
"""The answer to a joining member waits for those that are missing, which takes a session."""
_PAUSE_S: Final = 1.0
_POLL_MS: Final = 1000


class _Listener(ConsumerRebalanceListener):
    """Between a revocation and the next assignment owners stay as they are: most partitions come
    back to the same member."""

    def __init__(self, group: str, on_change: Callable[[frozenset[int]], None]) -> None:
        self._group = group
        self._on_change = on_change

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        mine = frozenset(at.partition for at in assigned)
        log_event.info("partitions_assigned", group=self._group, partitions=sorted(mine))
        self._on_change(mine)


async def take_part(
    address: KafkaAddress,
    *,
    group: str,
    topic: str,
    instance: str,
    on_change: Callable[[frozenset[int]], None],
) -> None:
    """Be a member of `group` until cancelled; `on_change` gets this member's partitions of
    `topic` whenever they change. Rejoins by itself."""
    while True:
        consumer = AIOKafkaConsumer(
            **address.client_options(_REQUEST_MS),
            group_id=address.prefix + group,
            group_instance_id=instance,
            enable_auto_commit=False,
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=60_000,
            max_poll_interval_ms=60_000,
        )
        try:
            stay_current(consumer._client)
            consumer.subscribe([address.prefix + topic], listener=_Listener(group, on_change))
            async with asyncio.timeout(_START_S):
                await consumer.start()
            while True:
                consumer.pause(*consumer.assignment())
                await consumer.getmany(timeout_ms=_POLL_MS)
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            log_event.warning("membership_lost", group=group, cause=repr(error))
            await asyncio.sleep(_PAUSE_S)
        finally:
            await stop_client(consumer, _PAUSE_S)
