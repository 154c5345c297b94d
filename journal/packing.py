"""A snapshot in pieces of one size, however many entries the state has."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from messages.wire import encode

CHUNK_BYTES: Final = 64 * 1024


def in_chunks(head: Mapping[str, object], lists: Mapping[str, Iterable[object]]) -> Iterator[bytes]:
    """JSON objects of about `CHUNK_BYTES`. Each has the fields of `head`; the first one has no
    more, every other the next entries of one list."""
    yield encode(head)
    for name, entries in lists.items():
        for _, rows in groups(entries):
            yield encode({**head, name: rows})


def groups(entries: Iterable[object]) -> Iterator[tuple[int, list[msgspec.Raw]]]:
    """The entries as JSON, about `CHUNK_BYTES` together, with the number of the first. They are
    taken and encoded as groups are asked for."""
    rows: list[msgspec.Raw] = []
    size = first = 0
    for number, entry in enumerate(entries):
        row = encode(entry)
        if rows and size + len(row) > CHUNK_BYTES:
            yield first, rows
            rows, size, first = [], 0, number
        rows.append(msgspec.Raw(row))
        size += len(row) + 1
    if rows:
        yield first, rows
