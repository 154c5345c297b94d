"""Keeps an aiokafka client from waiting for a broker that hangs.

Such a broker keeps its connections open and says nothing. The cluster gives it up after
`broker.session.timeout.ms` and makes others leaders; a client has to hear of that from them, and to
stop waiting. By itself it learns of it only from requests that time out: each client for itself,
when it is needed, and with one broker after the other.
"""

import asyncio
import contextlib
from collections import defaultdict
from typing import Any, Final

from aiokafka.client import ConnectionGroup

METADATA_MS: Final = 1_000
"""So often a client asks who leads."""
_ASKED_S: Final = (0.5, 0.5, 0.5, 0.5, 3.0)
"""How long it waits for the answer. The brokers are asked in a random order each time."""
_CONNECT_S: Final = 1.5
"""How long it waits for a connection."""


def stay_current(client: Any) -> None:
    """`client`: the AIOKafkaClient in a producer, consumer or admin client that is not started yet
    and was made with `metadata_max_age_ms=METADATA_MS`."""
    connect, update = client._get_conn, client._metadata_update
    connecting: defaultdict[object, asyncio.Lock] = defaultdict(asyncio.Lock)

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
    client._get_conn = connect_in_time
    client._metadata_update = update_in_time
    client.cluster.add_listener(leave)
