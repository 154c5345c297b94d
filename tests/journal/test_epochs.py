"""The reader rule: a record counts if its epoch is the offset of the latest `Opened` before it."""

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.epochs import EpochRule
from journal.log import Headers, Record
from journal.memory_log import MemoryRecord
from journal.records import Advanced, EventEntries, Opened, opened_entry

OPENED = ("ce_type", b"journal.Opened.v1")
ADDED = ("ce_type", b"toy.Added.v1")
SOURCE = ("ce_source", b"ping.journal/0")


def record(offset: int, *headers: tuple[str, bytes]) -> Record:
    return MemoryRecord(offset, 0, b"k", b"{}", headers)


def opened(offset: int) -> Record:
    return record(offset, OPENED, SOURCE)


def of_epoch(offset: int, epoch: int) -> Record:
    return record(offset, ("ce_epoch", b"%d" % epoch), ADDED, SOURCE)


def orders(headers: Headers) -> list[tuple[tuple[str, bytes], ...]]:
    """The headers in every order."""
    return list(permutations(headers))


def counting(records: Sequence[Record], rule: EpochRule | None = None) -> list[int]:
    """The offsets of those that count."""
    rule = rule or EpochRule()
    return [record.offset for record in records if rule.admits(record)]


# An epoch and its records


def test_an_opened_counts_and_begins_the_epoch_of_its_offset():
    rule = EpochRule()
    assert rule.admits(opened(5))
    assert rule.epoch == 5


def test_records_of_the_epoch_in_force_count():
    assert counting([opened(0), of_epoch(1, 0), of_epoch(2, 0)]) == [0, 1, 2]


@pytest.mark.parametrize("epoch", [-1, 0, 1, 5, 2**63])
def test_records_before_the_first_opened_are_void(epoch: int):
    assert counting([of_epoch(1, epoch), opened(2), of_epoch(3, 2)]) == [2, 3]


def test_a_record_without_headers_is_void():
    assert counting([record(0), opened(1), record(2)]) == [1]


def test_a_record_without_an_epoch_is_void():
    assert counting([record(0, ADDED), opened(1), record(2, ADDED, SOURCE)]) == [1]


def test_records_of_an_older_epoch_are_void():
    history = [opened(0), of_epoch(1, 0), opened(2), of_epoch(3, 0), of_epoch(4, 2)]
    assert counting(history) == [0, 1, 2, 4]


def test_records_of_an_epoch_that_has_not_begun_are_void():
    assert counting([opened(0), of_epoch(1, 2), opened(2), of_epoch(3, 2)]) == [0, 2, 3]


def test_an_opened_ends_its_predecessors_epoch_although_nothing_follows_it():
    assert counting([opened(0), opened(1), of_epoch(2, 0)]) == [0, 1]


def test_the_void_records_are_counted():
    rule = EpochRule()
    counting([of_epoch(0, 0), opened(1), of_epoch(2, 1), of_epoch(3, 0), record(4)], rule)
    assert rule.void == 3


def test_void_records_do_not_change_the_epoch():
    rule = EpochRule()
    counting([opened(1), of_epoch(2, 2), record(3)], rule)
    assert rule.epoch == 1


def test_a_reader_that_begins_in_the_middle_goes_by_the_epoch_it_was_given():
    assert counting([of_epoch(8, 3), of_epoch(9, 7)], EpochRule(7)) == [9]


def test_a_rule_that_has_seen_nothing_has_no_epoch():
    assert EpochRule().epoch == -1


def test_what_the_kernel_writes_counts():
    entries = EventEntries(4, "ping.journal/0")
    headers = [
        opened_entry(Opened(owner="first", partitions=1, at_ms=0), "ping.journal/0").headers,
        entries.entry(Advanced(input_next=0, at_ms=0), "", 5).headers,
    ]
    assert counting([record(4 + i, *given) for i, given in enumerate(headers)]) == [4, 5]


# Headers as strangers write them


@pytest.mark.parametrize("headers", orders([("ce_epoch", b"0"), ADDED, SOURCE]))
def test_the_order_of_an_events_headers_does_not_matter(headers: Headers):
    assert counting([opened(0), record(1, *headers)]) == [0, 1]


@pytest.mark.parametrize("headers", orders([("ce_epoch", b"0"), ADDED, SOURCE]))
def test_the_order_of_a_void_records_headers_does_not_matter(headers: Headers):
    assert counting([opened(0), opened(1), record(2, *headers)]) == [0, 1]


@pytest.mark.parametrize("headers", orders([OPENED, SOURCE, ("ce_id", b"first")]))
def test_the_order_of_an_openeds_headers_does_not_matter(headers: Headers):
    assert counting([record(3, *headers), of_epoch(4, 3)]) == [3, 4]


@pytest.mark.parametrize("headers", orders([OPENED, SOURCE, ("ce_epoch", b"7")]))
def test_an_opened_that_carries_an_epoch_is_no_opened(headers: Headers):
    rule = EpochRule()
    assert counting([opened(0), record(1, *headers), of_epoch(2, 1)], rule) == [0]
    assert rule.epoch == 0


@pytest.mark.parametrize("headers", orders([OPENED, SOURCE, ("ce_epoch", b"0")]))
def test_an_opened_that_carries_the_epoch_in_force_begins_none(headers: Headers):
    rule = EpochRule()
    assert counting([opened(0), record(1, *headers), of_epoch(2, 0)], rule) == [0, 1, 2]
    assert rule.epoch == 0


@pytest.mark.parametrize("text", [b"", b"07", b"+7", b" 7", b"7.0", b"7 ", b"\xff", b"x"])
def test_an_epoch_counts_only_as_it_is_written(text: bytes):
    epoch = ("ce_epoch", text)
    assert counting([opened(7), record(8, epoch, ADDED), record(9, ADDED, epoch)]) == [7]


def test_the_first_of_two_epochs_counts():
    here, elsewhere = ("ce_epoch", b"0"), ("ce_epoch", b"9")
    twice = [record(1, here, elsewhere), record(2, elsewhere, here)]
    twice += [record(3, ADDED, here, elsewhere), record(4, ADDED, elsewhere, here)]
    assert counting([opened(0), *twice]) == [0, 1, 3]


# Against the sentence itself


def said(record: Record, name: str) -> bytes | None:
    """What the first header of this name says."""
    return next((value for key, value in record.headers if key == name), None)


def opens(record: Record) -> bool:
    return said(record, "ce_type") == OPENED[1] and said(record, "ce_epoch") is None


def by_the_sentence(records: Sequence[Record]) -> list[int]:
    """The offsets of those that count, each looked up in the whole history before it."""
    found: list[int] = []
    for i, one in enumerate(records):
        latest = max((before.offset for before in records[:i] if opens(before)), default=None)
        if opens(one) or (latest is not None and said(one, "ce_epoch") == str(latest).encode()):
            found.append(one.offset)
    return found


epochs = st.integers(-1, 12).map(lambda epoch: ("ce_epoch", b"%d" % epoch))
junk = st.sampled_from([SOURCE, ("ce_epoch", b""), ("ce_epoch", b"x"), ("", b"")])
headers = st.lists(epochs | junk | st.sampled_from([OPENED, OPENED, ADDED]), max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), headers), max_size=12))
def test_the_rule_admits_what_the_sentence_says(history: list[tuple[int, Headers]]):
    records: list[Record] = []
    for step, given_headers in history:
        offset = records[-1].offset + step if records else step - 1
        records.append(record(offset, *given_headers))
    rule = EpochRule()
    assert counting(records, rule) == by_the_sentence(records)
    assert rule.void == len(records) - len(by_the_sentence(records))
    assert rule.epoch == max((one.offset for one in records if opens(one)), default=-1)


@pytest.mark.parametrize("headers", orders([("ce_epoch", None), ADDED]))
def test_an_epoch_without_a_value_is_void_before_the_first_opened(headers: Headers):
    assert counting([record(0, *headers), opened(1)]) == [1]


@pytest.mark.parametrize("headers", orders([OPENED, ("ce_epoch", None)]))
def test_the_order_of_headers_does_not_matter_for_an_epoch_without_a_value(headers: Headers):
    # Void or not is a decision; but journal.epochs, is_opened and the audit must agree on it.
    other = tuple(reversed(headers))
    assert counting([opened(0), record(1, *headers)]) == counting([opened(0), record(1, *other)])
