"""TCP ports on 127.0.0.1 for servers that have to be told their port before they start."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

from devstack.errors import NoFreePort

# Below the range from which Linux (32768 up) and macOS (49152 up) take the local ports of outgoing
# connections: a port found free here is not lost to some client before the server binds it.
_FIRST_PORT, _LAST_PORT = 20_000, 30_000
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Kafka and PostgreSQL do: connections of the last run in TIME_WAIT don't matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(count: int, preferred: Sequence[int] = ()) -> list[int]:
    """`count` distinct free ports: the preferred ones where they are free, else others.

    The i-th result stands in for the i-th preferred port. Raises NoFreePort.
    """
    ports = [
        preferred[i] if i < len(preferred) and is_free(preferred[i]) else 0 for i in range(count)
    ]
    for i, port in enumerate(ports):
        if port == 0:
            ports[i] = _pick(set(ports))
    return ports


def _pick(taken: set[int]) -> int:
    # Random, not counted up: two stacks that start at the same moment must not race for one port.
    chance = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chance.randrange(_FIRST_PORT, _LAST_PORT)
        if port not in taken and is_free(port):
            return port
    raise NoFreePort(_ATTEMPTS)
