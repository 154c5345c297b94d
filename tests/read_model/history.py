"""Journals to project, written the way the processors write them, in memory."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from journal.log import Entry, Place, TopicSpec
from journal.memory_log import MemoryLog
from journal.records import Advanced, EventEntries, Opened, opened_entry
from messages.account import AccountOpened, Credited, Debited, Deposited, Withdrawn
from messages.saga import SagaStarted
from read_model import queries
from read_model.batch import ACCOUNT_JOURNAL, SAGA_JOURNAL
from read_model.projector import Projector, ProjectorTuning
from saga_definitions.transfer import TRANSFER

PARTITIONS = 2
ACCOUNTS = Place(ACCOUNT_JOURNAL, 0)
SAGAS = Place(SAGA_JOURNAL, 1)

AT_MS = 1_700_000_000_123
"""2023-11-14 22:13:20.123 UTC."""

SMALL = ProjectorTuning(
    max_batch_records=3,
    max_read_records=2,
    min_interval_s=0,
    idle_wait_ms=100,
    first_pause_s=0.001,
    max_pause_s=0.05,
)
"""Many small transactions, so that there is much between them."""


class Journals:
    """Both journals; every partition that is written to is opened first."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self._epochs: dict[Place, EventEntries] = {}

    async def create(self, partitions: int = PARTITIONS) -> "Journals":
        await self.log.create(
            [TopicSpec(ACCOUNT_JOURNAL, partitions), TopicSpec(SAGA_JOURNAL, partitions)]
        )
        return self

    def open(self, place: Place, partitions: int = PARTITIONS) -> EventEntries:
        """A new owner takes `place` over; gives what its records are made with."""
        opened = Opened(owner="test", partitions=partitions, at_ms=AT_MS)
        epoch = self.log.land(place, [opened_entry(opened, str(place))])
        self._epochs[place] = EventEntries(epoch, str(place))
        return self._epochs[place]

    def write(self, place: Place, *events: Any) -> None:
        """One batch of the present owner, closed as every batch is."""
        entries = self._epochs.get(place) or self.open(place)
        self.write_as(entries, place, *events)

    def write_as(self, entries: EventEntries, place: Place, *events: Any) -> None:
        batch = [*events, Advanced(input_next=1, at_ms=AT_MS)]
        self.log.land(place, [entries.entry(event, _key(event), 0) for event in batch])

    def write_raw(self, entries: EventEntries, place: Place, value: bytes) -> None:
        """A record that carries its writer's epoch, whatever is in it."""
        made = entries.entry(Advanced(input_next=1, at_ms=AT_MS), "key", 0)
        headers = [(name, b"x" if name == "ce_type" else held) for name, held in made.headers]
        self.log.land(place, [Entry(made.key, value, headers)])

    def ends(self) -> dict[Place, int]:
        return {place: len(records) for place, records in self.log.records.items()}


def _key(event: Any) -> str:
    return getattr(event, "saga_id", "") or getattr(event, "account_id", "key")


def opened(account_id: str, **fields: Any) -> AccountOpened:
    given: dict[str, Any] = {
        "currency": "EUR",
        "overdraft_limit_minor": 0,
        "transfer_limit_minor": None,
        "daily_limit_minor": None,
        **fields,
    }
    return AccountOpened(**happened(account_id, 1), **given)


def happened(account_id: str, version: int) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "version": version,
        "at_ms": AT_MS + version,
        "effect_id": f"{account_id}/{version}",
        "fingerprint": 1,
    }


def deposited(account_id: str, version: int, amount: int, balance: int) -> Deposited:
    return Deposited(
        **happened(account_id, version), amount_minor=amount, currency="EUR", balance_minor=balance
    )


def withdrawn(account_id: str, version: int, amount: int, balance: int) -> Withdrawn:
    return Withdrawn(
        **happened(account_id, version), amount_minor=amount, currency="EUR", balance_minor=balance
    )


def debited(account_id: str, version: int, amount: int, balance: int) -> Debited:
    return Debited(
        **happened(account_id, version), amount_minor=amount, currency="EUR", balance_minor=balance
    )


def credited(account_id: str, version: int, amount: int, balance: int) -> Credited:
    return Credited(
        **happened(account_id, version), amount_minor=amount, currency="EUR", balance_minor=balance
    )


def started(saga_id: str, at_ms: int = AT_MS, tenant: str = "acme", **params: Any) -> SagaStarted:
    return SagaStarted(
        saga_id=saga_id,
        at_ms=at_ms,
        tenant=tenant,
        params=params
        or {"source": "alice", "target": "bob", "amount_minor": 500, "currency": "EUR"},
        fingerprint="f",
        request_id="r",
        plan=TRANSFER.plan,
    )


def deposits(count: int, account_id: str = "alice") -> Sequence[Any]:
    """An account that is opened and gets 1 EUR cent, `count` times."""
    return [
        opened(account_id),
        *(deposited(account_id, number + 2, 1, number + 1) for number in range(count)),
    ]


@asynccontextmanager
async def projecting(
    journals: Journals, database_url: str, tuning: ProjectorTuning = SMALL
) -> AsyncGenerator["asyncio.Task[None]"]:
    """A projector at work; it crashes at the end of the block."""
    task = asyncio.create_task(Projector(journals.log, database_url, tuning=tuning).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def caught_up(engine: AsyncEngine, journals: Journals, timeout_s: float = 20.0) -> None:
    """Wait until everything in the journals is projected."""
    for place, end in journals.ends().items():
        assert await queries.wait_for(engine, place, end, timeout_s), (
            f"{place}@{end}: {await queries.positions(engine)}"
        )
