"""One process's share of a service: a member of its group, a host of the partitions it is given."""

import asyncio
import os
import uuid
from typing import Any

import structlog

from journal.clock import SystemClock
from journal.host import Host
from journal.kafka_log import KafkaAddress
from journal.log import Log
from journal.membership import take_part
from journal.service import Service

log_event = structlog.get_logger("journal.ownership")


async def share(log: Log, address: KafkaAddress, service: Service[Any, Any], instance: str) -> None:
    """Own partitions of `service` until cancelled. `instance`: this process's name in the service,
    kept over restarts and no other's. Raises what broke a processor: a bug ends the process."""
    name = service.topics.name
    owner = f"{name}/{instance}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    host = Host(log, service, owner, SystemClock())
    log_event.info("role_started", role=name, owner=owner, partitions=service.partitions)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(host.broken())
            tasks.create_task(
                take_part(
                    address,
                    group=f"{name}.owners",
                    topic=service.topics.input,
                    instance=f"{name}-{instance}",
                    on_change=host.own,
                )
            )
    finally:
        await host.close()
