# aiokafka has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Keeps an aiokafka client from waiting for a broker that hangs, and from leaving connections; and
from wrapping every record that it reads.

Such a broker keeps its connections open and says nothing. The cluster gives it up after
`broker.session.timeout.ms` and makes others leaders; a client has to hear of that from them, and to
stop waiting. By itself it learns of it only from requests that time out: each client for itself,
when it is needed, and with one broker after the other.
"""

import asyncio
import contextlib
from collections import defaultdict
from contextvars import ContextVar
from typing import Any, Final

import aiokafka.client
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import PartitionRecords

METADATA_MS: Final = 1_000
"""So often a client asks who leads."""
_ASKED_S: Final = (0.5, 0.5, 0.5, 0.5, 3.0)
"""How long it waits for the answer. The brokers are asked in a random order each time."""
_CONNECT_S: Final = 1.5
"""How long it waits for a connection."""

_connect: Any = aiokafka.client.create_conn
_made: ContextVar[list[Any] | None] = ContextVar("_made", default=None)


async def _noted(*where: Any, **options: Any) -> Any:
    connection = await _connect(*where, **options)
    made = _made.get()
    if made is not None:
        made.append(connection)
    return connection


# A client that is told to stop while it asks its first question knows nothing of the connection
# that it has asked over, so its own stop leaves it open.
aiokafka.client.create_conn = _noted


_fetched: Any = PartitionRecords
_wrap: Any = _fetched._consumer_record


def as_read(data: Any) -> Any:
    """The `key_deserializer` of a consumer whose records come as they were taken apart: they have
    all that `journal.log.Record` asks for, and it takes half the time."""
    return data


def _record_of(records: Any, place: Any, record: Any) -> Any:
    return record if records._key_deserializer is as_read else _wrap(records, place, record)


_fetched._consumer_record = _record_of


def stay_current(client: Any) -> None:
    """`client`: the AIOKafkaClient in a producer, consumer or admin client that is not started yet
    and was made with `metadata_max_age_ms=METADATA_MS`."""
    begin, connect, update = client.bootstrap, client._get_conn, client._metadata_update
    connecting: defaultdict[object, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def begin_whole() -> None:
        made: list[Any] = []
        noting = _made.set(made)
        try:
            await begin()
        except BaseException:
            for connection in made:
                connection.close()
            raise
        finally:
            _made.reset(noting)

    async def connect_in_time(
        node: object, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Any:
        connection = client._conns.get((node, group))
        if connection is not None and connection.connected():
            return connection
        try:
            async with asyncio.timeout(_CONNECT_S), connecting[node]:
                return await connect(node, group=group, no_hint=no_hint)
        except TimeoutError:
            client.force_metadata_update()
            return None

    async def update_in_time(cluster: Any, topics: Any) -> bool:
        for asked_s in _ASKED_S:
            try:
                async with asyncio.timeout(asked_s):
                    return await update(cluster, topics)
            except TimeoutError:
                continue
        return False

    def leave(cluster: Any) -> None:
        """What waits for a broker that was given up fails at once, and is asked anew."""
        for (node, _), connection in [*client._conns.items()]:
            if node != "bootstrap" and cluster.broker_metadata(node) is None:
                connection.close()

    # The client's own lock lets all connections wait for the one that is being made.
    client._get_conn_lock_value = contextlib.nullcontext()
    client.bootstrap = begin_whole
    client._get_conn = connect_in_time
    client._metadata_update = update_in_time
    client.cluster.add_listener(leave)
