"""What readers saw while the bank was under attack, held against the journals: at the position that
an answer names, the balances must have been exactly what it said.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from audit.journals import ACCOUNT_INPUT, ACCOUNTS, Journal
from audit.report import Findings
from journal.log import Log, Place

ALL: Final = ""
_MOST: Final = 100
_READ_RECORDS: Final = 5_000


class Look(NamedTuple):
    """An answer: so much was on `account` (ALL: on all accounts of the partition together) and so
    much of it held, in minor units, by everything before `next_offset` of the account journal."""

    partition: int
    next_offset: int
    account: str
    balance_minor: int
    held_minor: int


class Fold:
    """The balances of one partition as its events go by; `check` looks as of the next event's
    offset, in the order of their offsets."""

    def __init__(self) -> None:
        self._found: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def take(self, event: Any) -> None:
        """An account's event. Those that move money say what it led to."""
        balance, held = self._found[event.account_id]
        now = (getattr(event, "balance_minor", balance), getattr(event, "held_minor", held))
        self._found[event.account_id] = now
        total, total_held = self._found[ALL]
        self._found[ALL] = (total + now[0] - balance, total_held + now[1] - held)

    def check(self, look: Look) -> str:
        """What is wrong with the look; "" when it is true."""
        found = self._found[look.account]
        if found == (look.balance_minor, look.held_minor):
            return ""
        return (
            f"{look.account or 'all accounts'} of partition {look.partition} at offset "
            f"{look.next_offset}: told {look.balance_minor} ({look.held_minor} held), and it was "
            f"{found[0]} ({found[1]} held)"
        )


async def untrue(log: Log, looks: Iterable[Look]) -> list[str]:
    """Looks that the journals contradict, at most 100. Raises LogError."""
    by_partition: defaultdict[int, list[Look]] = defaultdict(list)
    for look in sorted(looks, reverse=True):
        by_partition[look.partition].append(look)
    partitions = {ACCOUNT_INPUT: await log.partitions(ACCOUNTS)}
    wrong: list[str] = []
    for partition, waiting in by_partition.items():
        wrong += await _untrue_in(log, Place(ACCOUNTS, partition), waiting, partitions)
    return wrong[:_MOST]


async def _untrue_in(
    log: Log, place: Place, waiting: list[Look], partitions: dict[str, int]
) -> list[str]:
    """`waiting`: the latest look first."""
    fold, wrong = Fold(), list[str]()
    end = waiting[0].next_offset

    def reach(offset: int) -> None:
        while waiting and waiting[-1].next_offset <= offset:
            if said := fold.check(waiting.pop()):
                wrong.append(said)

    def handle(event: Any, _: Place, offset: int) -> None:
        reach(offset)
        fold.take(event)

    # Which records count is read by the audit's rule; what it finds, `audit` has told already.
    journal = Journal(
        place, cut=end, end=end, partitions=partitions, findings=Findings(), handle=handle
    )
    reader = log.reader({place: 0})
    try:
        while journal.next_offset < end:
            journal.read((await reader.read(_READ_RECORDS, 1_000)).get(place, ()), end)
    finally:
        await reader.close()
    reach(end)
    return wrong
