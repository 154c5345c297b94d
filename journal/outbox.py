"""Sends what committed batches gave out, in order, until every destination has confirmed it.

One per epoch. A failed send is repeated from the last confirmed output with a new writer; the
receivers drop what reaches them twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice

import structlog

from journal.log import BatchTooLarge, Entry, Log, LogError, Place, Writer
from journal.metrics import PartitionMetrics
from journal.progress import Progress

MAX_CHUNK_RECORDS = 500
MAX_CHUNK_BYTES = 512 * 1024

log_event = structlog.get_logger("journal.outbox")


class Outbox:
    """`release` after a commit; `run` as a task for the epoch's lifetime."""

    def __init__(
        self,
        log: Log,
        progress: Progress,
        metrics: PartitionMetrics,
        pause: Callable[[int], Awaitable[None]],
    ) -> None:
        self._log = log
        self._progress = progress
        self._metrics = metrics
        self._pause = pause
        self._sendable: dict[Place, int] = {}
        self._news = asyncio.Event()
        self._progressed = asyncio.Event()

    def release(self) -> None:
        """Everything enqueued so far belongs to a committed batch and may go out."""
        for place, queue in self._progress.waiting.items():
            if queue:
                self._sendable[place] = queue[-1][0]
        if self._sendable:
            self._news.set()

    async def room(self, limit: int) -> None:
        """Wait until fewer than `limit` outputs are unconfirmed: the back-pressure of a link."""
        while self._progress.unconfirmed() >= limit:
            self._progressed.clear()
            await self._progressed.wait()

    async def run(self) -> None:
        writer: Writer | None = None
        failures = 0
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while chunks := self._next_chunks():
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

    def _next_chunks(self) -> list[tuple[Place, int, list[Entry]]]:
        chunks: list[tuple[Place, int, list[Entry]]] = []
        for place, sendable in list(self._sendable.items()):
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
                del self._sendable[place]
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
            elif isinstance(result, LogError) and not isinstance(result, BatchTooLarge):
                clean = False
                self._metrics.send_failures.inc()
                log_event.warning("send_failed", destination=str(place), cause=str(result))
            else:
                raise result
        self._progressed.set()
        return clean
