"""What an audit has found: plain data, for people (`rendering.py`) and as JSON."""

import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from journal.log import Place

MAX_LISTED: Final = 100
"""Violations, unfinished sagas and links that a report lists; the counts count them all."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that does not fit. `place` is a journal partition, or a topic or table if it is
    about the whole of it; `offset` None: about no single record. `subject` is what it is about."""

    check: str
    place: str
    offset: int | None
    subject: str
    expected: str
    found: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """`records` counts all that were read, `void` those of deposed writers among them. A saga that
    began anew under an id that was forgotten counts again in `sagas` (state -> how many)."""

    records: int
    void: int
    accounts: int
    sagas: dict[str, int]
    postings: int
    in_flight: int
    rows: int
    """Rows of the read model that were compared; 0 without a database."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """One currency, in minor units. `sum` is 0 when no money was made or lost."""

    balances: int
    transit: int
    world: int
    sum: int


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """An unfinished saga that has money in transit or reserved. `transit`: currency -> minor."""

    saga_id: str
    state: str
    transit: dict[str, int]
    holds: int


class PendingLink(msgspec.Struct, frozen=True, kw_only=True):
    """Messages on their way: normal while the bank is at work, none when it is at rest."""

    source: str
    destination: str
    sent: int
    received: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`violations` are the first ones by place and offset, `violation_count` is how many there
    are. `positions`: journal partition -> the next offset, up to which it was read."""

    ok: bool
    violation_count: int
    violations: list[Violation]
    counts: Counts
    totals: dict[str, Totals]
    in_flight: list[InFlight]
    pending_links: list[PendingLink]
    positions: dict[str, int]
    database: bool
    duration_s: float


def exit_status(report: Report | None) -> int:
    """0: the books are right; 1: they are not; 2 (None): the audit could not run."""
    if report is None:
        return 2
    return 0 if report.ok else 1


class Findings:
    """Collects violations: counts all, keeps the first ones by place and offset."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[Violation] = []

    def add(
        self,
        check: str,
        place: Place | str,
        offset: int | None,
        subject: str,
        expected: str,
        found: str,
    ) -> None:
        self.count += 1
        self._kept.append(
            Violation(
                check=check,
                place=str(place),
                offset=offset,
                subject=subject,
                expected=expected,
                found=found,
            )
        )
        # They come in no order: keep room to sort in, but not for a journal full of them.
        if len(self._kept) > 20 * MAX_LISTED:
            self._kept = self.first()

    def first(self) -> list[Violation]:
        return heapq.nsmallest(MAX_LISTED, self._kept, key=_order)


def _order(violation: Violation) -> tuple[str, int, int, str]:
    topic, _, partition = violation.place.rpartition("/")
    if not partition.isdigit():
        topic, partition = violation.place, "-1"
    offset = -1 if violation.offset is None else violation.offset
    return topic, int(partition), offset, violation.check


def listed(found: Iterable[InFlight]) -> list[InFlight]:
    """The first ones, by saga."""
    return heapq.nsmallest(MAX_LISTED, found, key=lambda flight: flight.saga_id)
