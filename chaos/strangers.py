"""Members that join one of the bank's consumer groups, do none of the work, and leave again."""

# pyright: reportUnknownMemberType=false, reportMissingTypeArgument=false
# pyright: reportUnknownVariableType=false

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from aiokafka import AIOKafkaConsumer

from makegood.bank import Corner

_BOUND_S: Final = 12.0


async def come_and_go(
    corner: Corner,
    group: str,
    topic: str,
    times: int,
    goes_on: Callable[[], bool],
    pause_s: Callable[[], float],
) -> int:
    """At most `times` members, one after the other, while `goes_on`. How many rebalances it made:
    one with each member that came, one with each that left. `pause_s` is asked how long a member
    stays, and how long none is there."""
    rebalances = 0
    for _ in range(times):
        if not goes_on():
            break
        # Without a static name, so that it is missed as soon as it leaves.
        stranger = AIOKafkaConsumer(
            bootstrap_servers=corner.bootstrap,
            client_id="stranger",
            group_id=corner.prefix + group,
            enable_auto_commit=False,
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
            request_timeout_ms=8_000,
        )
        stranger.subscribe([corner.prefix + topic])
        # Meanwhile brokers may be away; then there is no rebalance, or one less.
        came = await _within_bound(stranger.start())
        if came:
            await asyncio.sleep(pause_s())
        left = await _within_bound(stranger.stop())
        rebalances += came + (came and left)
        await asyncio.sleep(pause_s())
    return rebalances


async def _within_bound(done: Coroutine[None, None, None]) -> bool:
    """Whether it was done in time. In a task of its own: the client leaks its cancellations."""
    task = asyncio.create_task(done)
    try:
        await asyncio.wait({task}, timeout=_BOUND_S)
    finally:
        task.cancel()
    await asyncio.wait({task}, timeout=_BOUND_S)
    return task.done() and not task.cancelled() and task.exception() is None
