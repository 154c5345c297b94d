"""Sends what committed batches gave out, in order, until every destination has confirmed it.

One per epoch. A failed send is repeated from the last confirmed output with a new writer; the
receivers drop what reaches them twice. The bank's own topics share a lane; every topic of somebody
else's has one of its own, so that one that is missing or full delays nobody but itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import structlog

from journal.log import BatchTooLarge, Entry, Log, LogError, Place, Writer
from journal.metrics import PartitionMetrics
from journal.progress import Progress

MAX_CHUNK_RECORDS = 500
MAX_CHUNK_BYTES = 512 * 1024

log_event = structlog.get_logger("journal.outbox")


class _Lane:
    """What may be sent to some topics: destination -> the last sequence."""

    def __init__(self) -> None:
        self.sendable: dict[Place, int] = {}
        self.news = asyncio.Event()


class Outbox:
    """`release` after a commit; `run` as a task for the epoch's lifetime. `owns`: whether a topic
    is the bank's own."""

    def __init__(
        self,
        log: Log,
        progress: Progress,
        metrics: PartitionMetrics,
        pause: Callable[[int], Awaitable[None]],
        owns: Callable[[str], bool],
    ) -> None:
        self._log = log
        self._progress = progress
        self._metrics = metrics
        self._pause = pause
        self._owns = owns
        self._lanes: dict[str, _Lane] = {"": _Lane()}
        self._opened = asyncio.Event()
        self._progressed = asyncio.Event()

    def release(self) -> None:
        """Everything enqueued so far belongs to a committed batch and may go out."""
        for place, queue in self._progress.waiting.items():
            if queue:
                lane = self._lane(place.topic)
                lane.sendable[place] = queue[-1][0]
                lane.news.set()
                if lane is not self._lanes[""]:
                    self._metrics.waiting(place).set(len(queue))

    def _lane(self, topic: str) -> _Lane:
        name = "" if self._owns(topic) else topic
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
            self._opened.set()
        return lane

    def unconfirmed(self) -> int:
        """How many outputs wait for the bank's own topics. What waits for others is bounded by
        those who ask them (`orchestrator.sagas.Sagas.unanswered`): it must not stop the rest."""
        waiting = self._progress.waiting
        return sum(len(queue) for place, queue in waiting.items() if self._owns(place.topic))

    async def room(self, limit: int) -> None:
        """Wait until fewer than `limit` outputs are unconfirmed: the back-pressure of a link."""
        while self.unconfirmed() >= limit:
            self._progressed.clear()
            await self._progressed.wait()

    async def run(self) -> None:
        """Serve every lane until cancelled. One that breaks breaks all."""
        serving: dict[str, asyncio.Task[None]] = {}
        opened: asyncio.Task[bool] | None = None
        try:
            while True:
                self._opened.clear()
                for name, lane in self._lanes.items():
                    if name not in serving:
                        serving[name] = asyncio.create_task(self._serve(lane))
                opened = asyncio.create_task(self._opened.wait())
                await asyncio.wait({opened, *serving.values()}, return_when=asyncio.FIRST_COMPLETED)
                opened.cancel()
                for task in serving.values():
                    if task.done():
                        task.result()
        finally:
            tasks: list[asyncio.Task[Any]] = [*serving.values()]
            if opened is not None:
                tasks.append(opened)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, lane: _Lane) -> None:
        writer: Writer | None = None
        failures = 0
        try:
            while True:
                await lane.news.wait()
                lane.news.clear()
                while chunks := self._next_chunks(lane):
                    if writer is None:
                        writer = self._log.writer()
                    if await self._send(writer, chunks):
                        failures = 0
                    else:
                        failures += 1
                        await writer.close()
                        writer = None
                        await self._pause(failures)
        finally:
            if writer is not None:
                await writer.close()

    def _next_chunks(self, lane: _Lane) -> list[tuple[Place, int, list[Entry]]]:
        chunks: list[tuple[Place, int, list[Entry]]] = []
        for place, sendable in list(lane.sendable.items()):
            entries: list[Entry] = []
            size = last = 0
            for sequence, entry in islice(self._progress.waiting[place], MAX_CHUNK_RECORDS):
                size += len(entry.value or b"") + 200
                if sequence > sendable or (entries and size > MAX_CHUNK_BYTES):
                    break
                entries.append(entry)
                last = sequence
            if entries:
                chunks.append((place, last, entries))
            else:
                del lane.sendable[place]
        return chunks

    async def _send(self, writer: Writer, chunks: list[tuple[Place, int, list[Entry]]]) -> bool:
        results = await asyncio.gather(
            *(writer.append(place, entries) for place, _, entries in chunks),
            return_exceptions=True,
        )
        clean = True
        for (place, last, entries), result in zip(chunks, results, strict=True):
            if isinstance(result, int):
                self._progress.confirm(place, last)
                self._metrics.sent.inc(len(entries))
                if not self._owns(place.topic):
                    self._metrics.waiting(place).set(len(self._progress.waiting[place]))
            elif isinstance(result, LogError) and not isinstance(result, BatchTooLarge):
                clean = False
                self._metrics.send_failures.inc()
                log_event.warning("send_failed", destination=str(place), cause=str(result))
            else:
                raise result
        self._progressed.set()
        return clean
