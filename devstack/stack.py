"""Kafka and PostgreSQL together: started at the same time, stopped together, with one data
directory. A service whose address is given by the environment is used, not started."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from devstack.directory import DataDirectory, default_data_dir
from devstack.errors import NotOurs, NotStarted
from devstack.kafka import Kafka
from devstack.postgres import Postgres
from devstack.processes import Child

KAFKA_VARIABLE = "MAKEGOOD_KAFKA_BOOTSTRAP"
DATABASE_VARIABLE = "MAKEGOOD_DATABASE_URL"

_WATCH_S = 0.5


class Stack:
    """An async context manager; or call `start` and `stop`.

    data_dir: kept between starts, used by one stack at a time (default: `.makegood/devstack` in
    the project's folder). brokers: 1, or 3 with replication factor 3 and two in-sync replicas.
    kafka_heap: the limit of each broker's heap, as Java writes it. kafka_gates, kafka_disks,
    lasting: see `Kafka`. fresh: delete the data first.
    announce: is told, in a sentence, what a first start is waiting for.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        brokers: int = 1,
        kafka_heap: str = "512m",
        kafka_gates: Sequence[int] = (),
        kafka_disks: Mapping[int, Path] | None = None,
        lasting: bool = False,
        fresh: bool = False,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        if brokers not in (1, 3):
            raise ValueError(f"brokers must be 1 or 3, not {brokers}")
        self._directory = DataDirectory(data_dir or default_data_dir())
        self._fresh = fresh
        self._given_bootstrap = os.environ.get(KAFKA_VARIABLE, "")
        self._given_database = os.environ.get(DATABASE_VARIABLE, "")
        path = self._directory.path
        self._kafka = Kafka(
            path / "kafka",
            brokers=brokers,
            gates=kafka_gates,
            disks=kafka_disks,
            heap=kafka_heap,
            lasting=lasting,
            log_dir=path / "log",
            announce=announce,
        )
        self._postgres = Postgres(path / "postgres", log_dir=path / "log")
        self._started = False

    @property
    def data_dir(self) -> Path:
        return self._directory.path

    @property
    def kafka(self) -> Kafka:
        """The cluster, to be killed and suspended by tests. Raises NotOurs when it was given."""
        if self._given_bootstrap:
            raise NotOurs("Kafka", KAFKA_VARIABLE)
        return self._kafka

    @property
    def postgres(self) -> Postgres:
        """The server, to be killed by tests. Raises NotOurs when it was given."""
        if self._given_database:
            raise NotOurs("PostgreSQL", DATABASE_VARIABLE)
        return self._postgres

    @property
    def bootstrap(self) -> str:
        """Kafka's addresses, `host:port,...`. Raises NotStarted."""
        if self._given_bootstrap:
            return self._given_bootstrap
        if not self._started:
            raise NotStarted("Kafka")
        return self._kafka.bootstrap

    @property
    def database_url(self) -> str:
        """PostgreSQL's address, `postgresql+asyncpg://...`. Raises NotStarted."""
        if self._given_database:
            return with_asyncpg(self._given_database)
        if not self._started:
            raise NotStarted("PostgreSQL")
        return self._postgres.url

    @property
    def children(self) -> list[Child]:
        """The servers of this stack that run."""
        every = (*(broker.child for broker in self._kafka.brokers), self._postgres.child)
        return [child for child in every if child.running]

    async def start(self) -> None:
        """Returns when both answer. Raises a DevstackError; then nothing is left running."""
        if self._started:
            return
        services = self._own_services()
        if services:
            self._directory.acquire()
        complete = False
        try:
            for service in services:
                await service.end_left_over()
                if self._fresh:
                    await asyncio.to_thread(shutil.rmtree, service.directory, ignore_errors=True)
            await _together([service.start() for service in services])
            complete = True
        finally:
            if not complete:
                await self.stop()
        self._started = True

    async def stop(self) -> None:
        """Stop what this stack started. May be called at any time, more than once."""
        try:
            await asyncio.gather(*(service.stop() for service in self._own_services()))
        finally:
            self._started = False
            self._directory.release()

    async def watch(self) -> None:
        """Run until a server ends that nobody stopped. Raises ChildFailed then."""
        children = self.children
        while True:
            for child in children:
                if not child.running:
                    raise child.failure()
            await asyncio.sleep(_WATCH_S)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _own_services(self) -> list[Kafka | Postgres]:
        kafka: list[Kafka | Postgres] = [] if self._given_bootstrap else [self._kafka]
        return kafka if self._given_database else [*kafka, self._postgres]


def with_asyncpg(url: str) -> str:
    """The same address for SQLAlchemy's asyncpg driver."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+asyncpg://", url)


async def _together(starts: list[Coroutine[None, None, None]]) -> None:
    """Run all; when one fails, cancel the others, wait for them, and raise its error."""
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
