"""From records to a batch: the reader rule, and where a batch ends."""

import pytest

from journal.log import Place
from journal.memory_log import MemoryRecord
from journal.opening import JournalCorrupt, PartitionsChanged
from messages.saga import SagaCompleted
from read_model.batch import Batch, Cursor, Move
from read_model.position import Position
from read_model.projector import ProjectorTuning
from tests.read_model.history import ACCOUNTS, PARTITIONS, SAGAS, Journals, deposited, opened


def records(journals: Journals, place: Place = ACCOUNTS) -> list[MemoryRecord]:
    return journals.log.records[place]


async def test_a_batch_remembers_where_it_began_over_several_reads() -> None:
    journals = await Journals().create()
    journals.write(ACCOUNTS, opened("alice"), deposited("alice", 2, 5, 5))
    cursor, batch = Cursor(ACCOUNTS, Position(), PARTITIONS), Batch()
    cursor.fold(records(journals)[:2], batch)
    cursor.fold(records(journals)[2:], batch)
    assert batch.moves == {ACCOUNTS: Move(Position(0, -1), Position(4, 0))}
    assert batch.records == 4
    size = sum(len(record.value or b"") for record in records(journals))
    assert batch.size == size
    # Large records fill a transaction before they are many: PostgreSQL takes 1 GB in one parameter.
    assert ProjectorTuning(max_batch_bytes=size).is_full(batch)
    assert not ProjectorTuning(max_batch_bytes=size + 1).is_full(batch)
    assert ProjectorTuning(max_batch_records=4).is_full(batch)
    assert batch.changes.account_changes["alice"].balance_minor == 5


async def test_a_reader_that_begins_in_the_middle_knows_the_epoch_in_force() -> None:
    journals = await Journals().create()
    journals.write(ACCOUNTS, opened("alice"))
    journals.write(ACCOUNTS, deposited("alice", 2, 5, 5))
    batch = Batch()
    Cursor(ACCOUNTS, Position(3, 0), PARTITIONS).fold(records(journals)[3:], batch)
    assert batch.changes.account_changes["alice"].balance_minor == 5
    assert batch.void == 0


async def test_late_records_of_a_deposed_writer_do_not_count() -> None:
    journals = await Journals().create()
    old = journals.open(ACCOUNTS)
    journals.write(ACCOUNTS, opened("alice"), deposited("alice", 2, 5, 5))
    journals.open(ACCOUNTS)
    journals.write_as(old, ACCOUNTS, deposited("alice", 3, 100, 105))
    journals.write_raw(old, ACCOUNTS, b"not even JSON")
    journals.write(ACCOUNTS, deposited("alice", 3, 1, 6))
    batch = Batch()
    Cursor(ACCOUNTS, Position(), PARTITIONS).fold(records(journals), batch)
    assert batch.changes.account_changes["alice"].balance_minor == 6
    assert batch.changes.world == {("EUR", 0): -6}
    assert batch.void == 3
    assert batch.moves[ACCOUNTS].after == Position(len(records(journals)), 4)


async def test_a_record_that_counts_and_cannot_be_decoded_ends_the_batch_before_it() -> None:
    journals = await Journals().create()
    entries = journals.open(SAGAS)
    journals.write(SAGAS, SagaCompleted(saga_id="s1", at_ms=1))
    journals.write_raw(entries, SAGAS, b'{"type":"saga.FromTheFuture.v9"}')
    journals.write(SAGAS, SagaCompleted(saga_id="s2", at_ms=1))
    cursor, batch = Cursor(SAGAS, Position(), PARTITIONS), Batch()
    with pytest.raises(JournalCorrupt) as caught:
        cursor.fold(records(journals, SAGAS), batch)
    assert caught.value.offset == 3
    assert batch.moves[SAGAS].after == Position(3, 0)
    assert set(batch.changes.outcomes) == {"s1"}


async def test_a_journal_made_with_another_partition_count_is_refused() -> None:
    journals = await Journals().create()
    journals.open(ACCOUNTS, partitions=PARTITIONS + 1)
    with pytest.raises(PartitionsChanged):
        Cursor(ACCOUNTS, Position(), PARTITIONS).fold(records(journals), Batch())
