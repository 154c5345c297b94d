"""Puts requests from outside on input topics: what gathers while an append is under way goes into
the next one. For the API and other clients; a request is safe to repeat by its own id.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from journal.log import AppendInDoubt, BatchTooLarge, Entry, Log, LogError, Place, Writer

MAX_BATCH_RECORDS = 500
MAX_BATCH_BYTES = 512 * 1024


class TooManyRequests(Exception):
    """More requests wait for one partition than the bound allows: slow down, try again."""

    def __init__(self, place: Place, waiting: int) -> None:
        super().__init__(f"{waiting} requests already wait for {place}")
        self.place = place
        self.waiting = waiting


class RequestInDoubt(Exception):
    """The request may or may not have been written: repeat it under the same id."""

    def __init__(self, place: Place, cause: str) -> None:
        super().__init__(f"a request to {place} is in doubt: {cause}")
        self.place = place


class Requests:
    """`send` returns when the request is durable. One queue and one append at a time per place."""

    def __init__(self, log: Log, max_waiting: int = 10_000) -> None:
        self._log = log
        self._max_waiting = max_waiting
        self._queues: dict[Place, deque[tuple[Entry, asyncio.Future[None]]]] = {}
        self._workers: dict[Place, asyncio.Task[None]] = {}
        self._writer: Writer | None = None
        self._closed = False

    async def send(self, place: Place, entry: Entry) -> None:
        """Raises RequestInDoubt, TooManyRequests, BatchTooLarge."""
        if self._closed:
            raise RequestInDoubt(place, "this sender was closed")
        queue = self._queues.setdefault(place, deque())
        if len(queue) >= self._max_waiting:
            raise TooManyRequests(place, len(queue))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append((entry, done))
        worker = self._workers.get(place)
        if worker is None or worker.done():
            self._workers[place] = asyncio.create_task(self._drain(place, queue))
        await done

    async def _drain(self, place: Place, queue: deque[tuple[Entry, asyncio.Future[None]]]) -> None:
        while queue:
            batch = [queue.popleft()]
            size = len(batch[0][0].value or b"")
            while queue and len(batch) < MAX_BATCH_RECORDS:
                size += len(queue[0][0].value or b"") + 200
                if size > MAX_BATCH_BYTES:
                    break
                batch.append(queue.popleft())
            writer = self._writer = self._writer or self._log.writer()
            try:
                await writer.append(place, [entry for entry, _ in batch])
            except BatchTooLarge as error:
                # Nothing was written, and nothing ever will be.
                _fail(batch, error)
            except LogError as error:
                if isinstance(error, AppendInDoubt) and self._writer is writer:
                    self._writer = None
                    await writer.close()
                _fail(batch, RequestInDoubt(place, str(error)))
            except asyncio.CancelledError:
                _fail(batch, RequestInDoubt(place, "this sender was closed"))
                raise
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)

    async def close(self) -> None:
        """Senders that still wait get RequestInDoubt."""
        self._closed = True
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for place, queue in self._queues.items():
            _fail(queue, RequestInDoubt(place, "this sender was closed"))
            queue.clear()
        if self._writer is not None:
            await self._writer.close()


def _fail(waiting: Iterable[tuple[Entry, asyncio.Future[None]]], error: Exception) -> None:
    for _, done in waiting:
        if not done.done():
            done.set_exception(error)
