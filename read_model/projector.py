"""Keeps the read model up to date: reads both journals, folds, writes rows and positions.

Rows and positions change in one transaction, and only from the positions that the batch began
with. So every record is projected once, whoever crashes, and however many projectors run: the
slower one's batch is given up and read again. While one transaction is in flight the next batch is
being read and folded.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import asyncpg
import msgspec
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from journal.log import Log, LogError, Place, Reader
from journal.opening import PartitionsChanged
from read_model import database, metrics, queries, store
from read_model.batch import CODECS, Batch, Cursor
from read_model.position import Position
from read_model.store import PositionsMoved

log_event = structlog.get_logger("read_model.projector")

_FAILURES = (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class ProjectorTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a projector."""

    max_batch_records: int = 20_000
    max_batch_bytes: int = 32 * 1024 * 1024
    """What one transaction may take in; as much again may be folded while it is in flight."""
    max_read_records: int = 500
    """Records folded at a time: bounds how long the event loop is held (about 2 ms)."""
    min_interval_s: float = 0.01
    max_interval_s: float = 0.5
    record_s: float = 0.0002
    """The first transaction after a pause begins at once, the next one so long after it for each of
    its records, within these bounds. From some 5,000 records a
    second on the intervals grow to the longest: a saga that begins and ends within one transaction
    costs one row and no change of it, a third of the work."""
    max_rest_s: float = 0.1
    """So is reading: who has come up with the journals rests so long for each record that it found,
    at most this. Many small reads cost the projector and the broker more than few."""
    max_behind_s: float = 0.5
    """Who is further behind has not come up: there is more to read already."""
    idle_wait_ms: int = 1_000
    first_pause_s: float = 0.05
    max_pause_s: float = 2.0
    lag_every_s: float = 5.0

    def is_full(self, batch: Batch) -> bool:
        return batch.records >= self.max_batch_records or batch.size >= self.max_batch_bytes

    def interval_s(self, records: int) -> float:
        """From the beginning of a transaction of so many records to that of the next."""
        return max(self.min_interval_s, min(records * self.record_s, self.max_interval_s))

    def rest_s(self, records: int, behind_s: float) -> float:
        """From a read of so many records, the newest of them so old, to the next one. A clock that
        is wrong makes it rest too seldom, or too often and at most `max_rest_s`."""
        if records >= self.max_read_records or behind_s > self.max_behind_s:
            return 0.0
        return min(records * self.record_s, self.max_rest_s)


class Projector:
    """`run` it for as long as the role lives; cancel it to stop. Needs a schema (`migrations`)."""

    def __init__(
        self, log: Log, database_url: str, *, tuning: ProjectorTuning | None = None
    ) -> None:
        self._log = log
        self._tuning = tuning or ProjectorTuning()
        self._where = database.address(database_url)
        self._written: dict[Place, int] = {}
        self._engine = database.engine(
            database_url,
            application_name="makegood-projector",
            pool_size=2,
            # A crash of PostgreSQL may lose the last commits whole, rows and positions alike; the
            # next batch then does not fit the stored positions and the journal is read again from
            # there. So a commit need not wait for the disk: 1 ms less for whoever waits to read.
            settings={"synchronous_commit": "off"},
        )

    async def run(self) -> None:
        """Project for ever. PostgreSQL or Kafka going away is waited out.

        Raises what needs a person: JournalCorrupt, PositionLost, PartitionsChanged, RowsMissing,
        or an error of PostgreSQL that waiting can't cure.
        """
        measuring = asyncio.create_task(self._measure_lag())
        try:
            losses = 0
            while True:
                follower = await self._begin()
                try:
                    await follower.run()
                except PositionsMoved as moved:
                    metrics.conflicts.inc()
                    log_event.warning("projection_overtaken", place=str(moved.place))
                # Two projectors at once are safe but wasteful: the slower one keeps back.
                losses = 0 if follower.writes else losses + 1
                await asyncio.sleep(self._pause_s(losses))
        finally:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)
            await self._engine.dispose()

    def _pause_s(self, failures: int) -> float:
        tuning = self._tuning
        return min(tuning.first_pause_s * 2.0 ** min(failures, 16), tuning.max_pause_s)

    async def _begin(self) -> "Follower":
        """Find out where to go on from."""
        failures = 0
        while True:
            try:
                counts = {topic: await self._log.partitions(topic) for topic in CODECS}
                missing = [topic for topic, count in counts.items() if count == 0]
                if not missing:
                    cursors = await self._cursors(counts)
                    break
                cause = f"no topic {missing[0]} yet"
            except LogError as error:
                cause = str(error)
            except _FAILURES as error:
                cause = await self._after(error)
            self._waits(failures, cause)
            await asyncio.sleep(self._pause_s(failures))
            failures += 1
        self._goes_on(failures)
        self._written = {place: at.next_offset for place, at in cursors.items()}
        reader = self._log.reader(self._written)
        cursors_at = {p: Cursor(p, at, counts[p.topic]) for p, at in cursors.items()}
        return Follower(reader, cursors_at, self.write, self._tuning)

    async def _cursors(self, counts: Mapping[str, int]) -> dict[Place, Position]:
        async with self._engine.begin() as connection:
            stored = await store.load_positions(connection)
            for topic, found in counts.items():
                recorded = sum(place.topic == topic for place in stored)
                if recorded not in (0, found):
                    raise PartitionsChanged(topic, recorded, found)
            places = [
                Place(t, partition) for t, count in counts.items() for partition in range(count)
            ]
            if not stored.keys() >= set(places):
                stored = await store.load_positions(connection, places)
            return {place: stored[place] for place in places}

    async def write(self, batch: Batch) -> None:
        """Write a batch, however long it takes for PostgreSQL to come back.

        A commit in doubt needs no care: if it happened, the repetition finds the positions moved.
        """
        failures = 0
        while True:
            began = time.perf_counter()
            try:
                async with self._engine.begin() as connection:
                    await store.write(connection, batch)
                break
            except _FAILURES as error:
                cause = await self._after(error)
            self._waits(failures, cause)
            await asyncio.sleep(self._pause_s(failures))
            failures += 1
        self._goes_on(failures)
        metrics.write_s.observe(time.perf_counter() - began)
        metrics.void_records.inc(batch.void)
        for place, move in batch.moves.items():
            metrics.projected(place).inc(move.after.next_offset - move.before.next_offset)
            self._written[place] = move.after.next_offset

    async def _after(self, error: Exception) -> str:
        """The cause of a failure that may be tried again; raises any other."""
        if not database.passes(error):
            raise error
        # A session in an unknown state is not used again.
        await self._engine.dispose()
        return database.cause_of(error)

    def _waits(self, failures: int, cause: str) -> None:
        metrics.waiting.set(1)
        # The first one, then more and more rarely.
        if failures & (failures - 1) == 0:
            log_event.warning(
                "projection_waiting", address=self._where, cause=cause, failures=failures + 1
            )

    def _goes_on(self, failures: int) -> None:
        if failures:
            metrics.waiting.set(0)
            log_event.info("projection_resumed", address=self._where, failures=failures)

    async def _measure_lag(self) -> None:
        while True:
            await asyncio.sleep(self._tuning.lag_every_s)
            try:
                for place in list(self._written):
                    _, end = await self._log.bounds(place)
                    metrics.lag(place).set(max(end - self._written[place], 0))
            except LogError as error:
                log_event.info("lag_unknown", cause=str(error))
            try:
                found = await queries.unfinished_sagas(self._engine)
            except _FAILURES as error:
                log_event.info("saga_states_unknown", cause=database.cause_of(error))
            else:
                for state in queries.UNFINISHED:
                    metrics.sagas.labels(state).set(found.get(state, 0))

    @property
    def engine(self) -> AsyncEngine:
        return self._engine


class Follower:
    """Reads from one set of positions on, until somebody else moves them.

    `write` makes a batch count, whole or not at all; it raises PositionsMoved when the stored
    positions are not those that the batch begins with.
    """

    def __init__(
        self,
        reader: Reader,
        cursors: Mapping[Place, Cursor],
        write: Callable[[Batch], Awaitable[None]],
        tuning: ProjectorTuning,
    ) -> None:
        self._reader = reader
        self._cursors = cursors
        self._write = write
        self._tuning = tuning
        self._batch = Batch()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self.writes = 0

    async def run(self) -> None:
        """Raises PositionsMoved, or what `Projector.run` raises."""
        loop = asyncio.get_running_loop()
        filling = asyncio.create_task(self._fill())
        filling.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                while not self._batch.moves and not filling.done():
                    await self._news.wait()
                    self._news.clear()
                batch, self._batch = self._batch, Batch()
                self._room.set()
                if batch.moves:
                    # Also what came before a record that can't be projected.
                    began = loop.time()
                    await self._write(batch)
                    self.writes += 1
                    left_s = began + self._tuning.interval_s(batch.records) - loop.time()
                    if left_s > 0 and not self._tuning.is_full(self._batch):
                        await asyncio.sleep(left_s)
                else:
                    await filling
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            await self._reader.close()

    async def _fill(self) -> None:
        tuning = self._tuning
        while True:
            if tuning.is_full(self._batch):
                self._room.clear()
                await self._room.wait()
            found = await self._reader.read(tuning.max_read_records, tuning.idle_wait_ms)
            for place, records in found.items():
                try:
                    self._cursors[place].fold(records, self._batch)
                finally:
                    self._news.set()
            # Also after a full one: the transaction has to go on, and whoever shares this loop.
            newest_ms = max((records[-1].timestamp for records in found.values()), default=0)
            count = sum(map(len, found.values()))
            await asyncio.sleep(tuning.rest_s(count, time.time() - newest_ms / 1000))


async def run_projector(log: Log, database_url: str) -> None:
    """What the role starts: `Projector(log, database_url).run()`."""
    await Projector(log, database_url).run()
