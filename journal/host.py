"""Runs the processors of the partitions that this process should own."""

import asyncio
from typing import Generic, TypeVar

import structlog

from journal.clock import Clock
from journal.log import Log
from journal.processor import Ending, Processor
from journal.service import Service

M = TypeVar("M")
E = TypeVar("E")

log_event = structlog.get_logger("journal.host")

_DEPOSED_PAUSE_S = 3.0


class Host(Generic[M, E]):
    """`own` says which partitions; each is then owned as far as its journal allows."""

    def __init__(self, log: Log, service: Service[M, E], owner: str, clock: Clock) -> None:
        self._log = log
        self._service = service
        self._owner = owner
        self._clock = clock
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._processors: dict[int, Processor[M, E]] = {}
        self.halted: set[int] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def working(self) -> set[int]:
        """The partitions that are open and handle inputs."""
        return {p for p, processor in self._processors.items() if processor.working.is_set()}

    def own(self, partitions: frozenset[int]) -> None:
        """Start what is new, stop what is gone, leave the rest at work."""
        for partition in sorted(set(self._tasks) - partitions):
            self._tasks.pop(partition).cancel()
            self._processors.pop(partition, None)
        for partition in sorted(partitions - set(self._tasks)):
            task = asyncio.create_task(self._keep(partition), name=f"partition-{partition}")
            task.add_done_callback(self._ended)
            self._tasks[partition] = task

    async def _keep(self, partition: int) -> None:
        while True:
            processor = Processor(self._log, self._service, partition, self._owner, self._clock)
            self._processors[partition] = processor
            ending = await processor.run()
            if ending is Ending.HALTED:
                self.halted.add(partition)
                return
            # Deposed, yet told to own it: most likely an old owner on its way out.
            await asyncio.sleep(_DEPOSED_PAUSE_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if task not in self._tasks.values():
                return
            # Nobody here did that: a client library leaked a cancellation of its own.
            error: BaseException = RuntimeError(f"{task.get_name()} was cancelled from outside")
        elif (failed := task.exception()) is None:
            return
        else:
            error = failed
        log_event.critical("processor_broke", task=task.get_name(), exc_info=error)
        if not self._broken.done():
            self._broken.set_exception(error)

    async def broken(self) -> None:
        """Never returns; raises what broke a processor. A bug must end the process loudly, not
        leave one partition silently without an owner."""
        await self._broken

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._broken.cancel()
