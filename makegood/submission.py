"""Sends the transfers of a file through the API, some at a time, and counts the ends."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from makegood.client import ApiAway, ApiError, Client, Transfer
from makegood.transfer_file import Broken, Order

Outcome = Literal[
    "completed", "compensated", "parked", "refused", "broken", "unanswered", "waiting"
]

MAX_LISTED: Final = 20
"""Lines of each outcome that the report names; the file of results names all."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one line. `replayed`: it had been sent before."""

    line: int
    outcome: Outcome
    reason: str = ""
    id: str = ""
    replayed: bool = False
    latency_ms: float = 0.0


class Summary:
    """Counts as they come in; `failures` names the first lines of each bad outcome."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[tuple[Outcome, str]] = Counter()
        self.replayed = 0
        self.latencies_ms: list[float] = []
        self.failures: dict[Outcome, list[Result]] = {}

    def add(self, result: Result) -> None:
        self.outcomes[result.outcome] += 1
        self.replayed += result.replayed
        if result.latency_ms:
            self.latencies_ms.append(result.latency_ms)
        if result.outcome != "completed":
            self.reasons[result.outcome, result.reason] += 1
            listed = self.failures.setdefault(result.outcome, [])
            if len(listed) < MAX_LISTED:
                listed.append(result)

    @property
    def lines(self) -> int:
        return sum(self.outcomes.values())

    @property
    def all_completed(self) -> bool:
        return self.outcomes["completed"] == self.lines

    def percentile_ms(self, share: float) -> float:
        """Latency within which `share` (0 .. 1) of the transfers ended; 0 without any."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


async def submit(
    client: Client,
    orders: Iterable[Order | Broken],
    *,
    concurrency: int = 64,
    on_result: Callable[[Result], None] = lambda result: None,
) -> Summary:
    """Send all; at most `concurrency` are under way, and no more lines are read ahead.

    Raises ApiAway once the API has been away for the client's patience.
    """
    summary = Summary()
    lines = iter(orders)
    failed: BaseException | None = None

    async def work() -> None:
        for order in lines:
            result = (
                Result(line=order.line, outcome="broken", reason=order.reason)
                if isinstance(order, Broken)
                else await _send(client, order)
            )
            summary.add(result)
            on_result(result)
            # Broken lines alone must not hold the loop.
            await asyncio.sleep(0)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except* ApiAway as away:
        failed = away.exceptions[0]
    if failed is not None:
        raise failed
    return summary


async def _send(client: Client, order: Order) -> Result:
    began = time.perf_counter()
    try:
        transfer: Transfer = await client.transfer(order.key, order.body)
    except ApiError as error:
        reason = error.reason or error.kind or str(error.status)
        return Result(line=order.line, outcome="refused", reason=f"{reason}: {error.detail}")
    took_ms = (time.perf_counter() - began) * 1000
    return Result(
        line=order.line,
        outcome="waiting" if transfer.state == "running" else transfer.state,  # pyright: ignore[reportArgumentType]
        reason=transfer.reason,
        id=transfer.id,
        replayed=transfer.replayed,
        latency_ms=took_ms,
    )
