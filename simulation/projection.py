"""The read model in memory: the projector's own fold, on tables that stand in for PostgreSQL.

A transaction is whole or not at all, its positions are compared and set, it can die between any
two rows, and its commit can happen without the projector hearing of it.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import msgspec

from journal.log import Log, Place
from journal.memory_log import MemoryLog
from read_model.batch import CODECS, Batch, Cursor
from read_model.history import Item
from read_model.position import Position
from read_model.projection import AccountChange, Changes, SagaOutcome
from read_model.projector import Follower, ProjectorTuning
from read_model.store import PositionsMoved, RowsMissing
from simulation.books import Books
from simulation.courses import Courses
from simulation.history import Fact, Histories
from simulation.process import Gate, GatedLog
from simulation.weather import SeededWeather

_TUNING: Final = ProjectorTuning(
    max_batch_records=200, max_read_records=50, min_interval_s=1.0, idle_wait_ms=20_000
)
_PAUSE_S: Final = 2.0
_LINGER_S: Final = 0.25


class AccountRow(msgspec.Struct, frozen=True):
    partition: int
    currency: str
    version: int
    balance_minor: int
    held_minor: int
    status: str
    overdraft_minor: int


class SagaRow(msgspec.Struct, frozen=True):
    partition: int
    definition: str
    state: str


class Rows(NamedTuple):
    """One state of the tables. `world`: (currency, partition) -> balance in minor units;
    `histories`: saga -> its events, some of which name `plans` by digest."""

    accounts: dict[str, AccountRow]
    sagas: dict[str, SagaRow]
    world: dict[tuple[str, int], int]
    histories: dict[str, tuple[Item, ...]]
    plans: dict[str, bytes]
    positions: dict[Place, Position]

    def copy(self) -> "Rows":
        return Rows(*(dict(table) for table in self))


class CommitInDoubt(Exception):
    """The transaction may have been committed; the projector looks at the positions again."""


class Tables:
    """`rows` is what is committed; it is replaced, never changed."""

    def __init__(
        self, weather: SeededWeather, places: Iterable[Place], happened: Counter[str]
    ) -> None:
        self.rows = Rows({}, {}, {}, {}, {}, {place: Position() for place in places})
        self._weather = weather
        self._happened = happened
        self._turn = asyncio.Lock()

    def behind(self, log: MemoryLog) -> bool:
        """Whether some journal holds more than is projected."""
        return any(log.end(place) > at.next_offset for place, at in self.rows.positions.items())

    async def write(self, batch: Batch) -> None:
        """Raises PositionsMoved, RowsMissing, CommitInDoubt."""
        async with self._turn:
            for place, move in batch.moves.items():
                now = self.rows.positions[place]
                if now != move.before:
                    raise PositionsMoved(place, move.before.next_offset, now.next_offset)
            rows = self.rows.copy()
            for _ in _written(rows, batch.changes):
                if took_s := self._weather.row_s():
                    await self._pause(took_s)
            rows.positions.update((place, move.after) for place, move in batch.moves.items())
            self.rows = rows
        if self._weather.commit_in_doubt():
            raise CommitInDoubt

    async def _pause(self, for_s: float) -> None:
        try:
            await asyncio.sleep(for_s)
        except asyncio.CancelledError:
            self._happened["projector_crash_between_rows"] += 1
            raise


def _written(rows: Rows, changes: Changes) -> Iterator[None]:
    """Write the rows one by one."""
    for saga_id, outcome in changes.outcomes.items():
        rows.sagas[saga_id] = _saga(rows, changes, outcome)
        yield
    rows.plans.update(changes.plans)
    for key, items in changes.histories.items():
        saga_id = (key or b"").decode()
        rows.histories[saga_id] = (*rows.histories.get(saga_id, ()), *items)
        yield
    for account_id, change in changes.account_changes.items():
        rows.accounts[account_id] = _account(rows, changes, change)
        yield
    for key, delta in changes.world.items():
        rows.world[key] = rows.world.get(key, 0) + delta
        yield


def _saga(rows: Rows, changes: Changes, outcome: SagaOutcome) -> SagaRow:
    new = changes.new_sagas.get(outcome.saga_id)
    if new is not None:
        return SagaRow(new.partition, new.definition, outcome.state)
    row = rows.sagas.get(outcome.saga_id)
    if row is None:
        raise RowsMissing("sagas", 1, 0)
    return msgspec.structs.replace(row, state=outcome.state)


def _account(rows: Rows, changes: Changes, change: AccountChange) -> AccountRow:
    new = changes.new_accounts.get(change.account_id)
    if new is not None:
        row = AccountRow(new.partition, new.currency, 0, 0, 0, "", 0)
    elif (found := rows.accounts.get(change.account_id)) is not None:
        row = found
    else:
        raise RowsMissing("accounts", 1, 0)
    told = {
        "balance_minor": change.balance_minor,
        "held_minor": change.held_minor,
        "status": change.status,
        "overdraft_minor": change.limits and change.limits.overdraft_minor,
    }
    changed = {name: value for name, value in told.items() if value is not None}
    return msgspec.structs.replace(row, version=change.version, **changed)


class Projector:
    """A process that projects; can be killed at any await, also between two rows."""

    def __init__(
        self,
        name: str,
        log: MemoryLog,
        weather: SeededWeather,
        tables: Tables,
        partitions: int,
        happened: Counter[str],
    ) -> None:
        self.name = name
        self._happened = happened
        self._log = log
        self._weather = weather
        self._tables = tables
        self._partitions = partitions
        self._lives: list[asyncio.Task[None]] = []
        self.start()

    def start(self) -> None:
        log = GatedLog(self._log, self._weather, Gate(), linger_s=_LINGER_S)
        life = asyncio.create_task(self._run(log), name=f"{self.name}.{len(self._lives)}")
        self._lives.append(life)

    def crash(self) -> None:
        self._lives[-1].cancel()

    def troubles(self) -> list[str]:
        return [
            f"{life.get_name()}: {life.exception()!r}"
            for life in self._lives
            if life.done() and not life.cancelled()
        ]

    async def _run(self, log: Log) -> None:
        while True:
            positions = self._tables.rows.positions
            reader = log.reader({place: at.next_offset for place, at in positions.items()})
            cursors = {
                place: Cursor(place, at, self._partitions) for place, at in positions.items()
            }
            try:
                await Follower(reader, cursors, self._tables.write, _TUNING).run()
            except (PositionsMoved, CommitInDoubt) as error:
                self._happened[type(error).__name__] += 1
                await asyncio.sleep(_PAUSE_S)


def places(partitions: int) -> list[Place]:
    return [Place(topic, partition) for topic in CODECS for partition in range(partitions)]


def projected(rows: Rows, histories: Histories, books: Books, courses: Courses) -> Iterator[str]:
    """The rows are what the journals say. All of `histories` up to the positions of `rows`."""
    for journal in histories.projected:
        at = rows.positions[journal.place]
        if at.epoch != journal.epoch:
            yield f"projection: {journal.place} at {at}: the epoch in force is {journal.epoch}"
    yield from _differ("account", _accounts(books), rows.accounts)
    sagas = {
        saga_id: SagaRow(course.place.partition, course.plan["definition"], course.state)
        for saga_id, course in courses.by_id.items()
    }
    yield from _differ("saga", sagas, rows.sagas)
    yield from _histories_differ(histories, rows)
    world: Counter[str] = Counter()
    for (currency, _), balance in rows.world.items():
        world[currency] += balance
    if world != books.world:
        yield f"projection: world {dict(world)} instead of {dict(books.world)}"


def projected_up_to(rows: Rows, histories: Histories) -> Iterator[str]:
    """The same for rows that were stored while the bank was at work."""
    cut = histories.until({place: at.next_offset for place, at in rows.positions.items()})
    yield from projected(rows, cut, Books(cut), Courses(cut))


def _histories_differ(histories: Histories, rows: Rows) -> Iterator[str]:
    """Events are compared as they are written; a start by its fields, for its plan is stored
    apart."""
    told = _told(histories)
    for saga_id in sorted(told.keys() | rows.histories.keys()):
        both = zip_longest(told.get(saga_id, ()), rows.histories.get(saga_id, ()))
        for fact, item in both:
            if fact is None or item is None or not _same(fact, item, histories, rows.plans):
                stored = item and (item[0], _fields(item, rows.plans))
                expected = fact and (fact.offset, fact.fields)
                yield f"projection: history of saga {saga_id}: {stored} instead of {expected}"
                break


def _told(histories: Histories) -> dict[str, list[Fact]]:
    told: dict[str, list[Fact]] = defaultdict(list)
    for journal in histories.sagas:
        for fact in journal.facts:
            if fact.type.startswith("saga."):
                told[fact.fields["saga_id"]].append(fact)
    return told


def _same(fact: Fact, item: Item, histories: Histories, plans: Mapping[str, bytes]) -> bool:
    offset, event = item
    if fact.type == "saga.SagaStarted":
        return (fact.offset, fact.fields) == (offset, _fields(item, plans))
    written = histories.records[fact.place][fact.offset].value
    return (fact.offset, written) == (offset, event)


def _fields(item: Item, plans: Mapping[str, bytes]) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(item[1])
    if "plan" in fields:
        fields["plan"] = msgspec.json.decode(plans.get(fields["plan"], b"null"))
    return fields


def _accounts(books: Books) -> dict[str, AccountRow]:
    return {
        name: AccountRow(
            account.partition,
            account.currency,
            books.versions[name],
            account.balance,
            sum(account.holds.values()),
            account.status,
            account.overdraft,
        )
        for name, account in books.accounts.items()
    }


def _differ(
    what: str, expected: Mapping[str, object], found: Mapping[str, object]
) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            yield f"projection: {what} {name}: {found.get(name)} instead of {expected.get(name)}"
