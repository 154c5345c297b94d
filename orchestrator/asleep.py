"""Sagas that only wait for a time far off, or for a person: a million of them cost 200 MB.

They are kept in blocks of compressed JSON; of each of them there is an entry of some bytes beside
that says in which block it is. Which sagas sleep is a function of the events alone, so that every
reader of the journal agrees; how they are packed is not, and nobody sees it.
"""

import heapq
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from journal.parted_dict import PartedDict
from messages.plan import Plan
from orchestrator.progress import Saga, next_due_ms

FAR_MS: Final = 3_600_000
"""How far off what a saga waits for must be, for it to sleep."""
BLOCK: Final = 128
"""Sagas in a block: about 50 KB, at most 512 KiB, before it is compressed."""
MAX_ROW_BYTES: Final = 4 * 1024
"""A saga that is larger stays awake, for a block has to be decoded whole."""
_MAX_LEGS: Final = 128
"""With more it is larger than that anyway."""
NO_PLAN: Final = Plan("", 0, 0, ())

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Saga])


def sleeps(saga: Saga, at_ms: int) -> bool:
    """Whether nothing happens to the saga for long unless somebody asks."""
    if saga.state != "running" or any(len(legs.letters) > _MAX_LEGS for legs in saga.legs.values()):
        return False
    if any(step.open for _, step in saga.under_way()):
        return False
    due_ms = next_due_ms(saga)
    if due_ms is None or due_ms <= at_ms + FAR_MS:
        return False
    return len(_encoder.encode(_bare(saga))) <= MAX_ROW_BYTES


def _bare(saga: Saga) -> Saga:
    return msgspec.structs.replace(saga, plan=NO_PLAN)


_Key = tuple[int, str]
"""The number of a block, or -1 and the id of a loose saga, which comes first at equal times."""


class Block(NamedTuple):
    """Sagas of one plan, each with `NO_PLAN` in its place. `due_ms`: the first one's."""

    plan: Plan
    packed: bytes
    due_ms: int

    @property
    def rows(self) -> bytes:
        """The sagas as a JSON list."""
        return zlib.decompress(self.packed)

    def sagas(self) -> list[Saga]:
        return [
            msgspec.structs.replace(saga, plan=self.plan) for saga in _decoder.decode(self.rows)
        ]


class Asleep:
    """Sleeping sagas by id. A saga is in a block, or, loose, among those that came last."""

    def __init__(self) -> None:
        self._loose: dict[str, Saga] = {}
        self._blocks: dict[int, Block] = {}
        self._block_of = PartedDict[int, int]()
        """By the hash of a saga's id, which is all that is kept of it."""
        self._due: list[tuple[int, _Key]] = []
        self._numbers = 0
        self._count = 0
        self._added = 0

    def __len__(self) -> int:
        return self._count

    def add(self, saga: Saga, at_ms: int) -> None:
        """`at_ms`: the time now; what is due soon is not packed."""
        self._count += 1
        self._added += 1
        self._add_loose(saga)
        if self._added >= BLOCK:
            self._added = 0
            self._pack(at_ms)

    def get(self, saga_id: str) -> Saga | None:
        """The saga; it goes on sleeping."""
        saga = self._loose.get(saga_id)
        if saga is not None or not self._count:
            return saga
        number = self._block_of.get(hash(saga_id))
        if number is None:
            return None
        sagas = self._blocks[number].sagas()
        if all(one.id != saga_id for one in sagas):
            return None
        # Whoever looks at a saga mostly changes it next.
        self._loosen(number, [one for one in sagas if one.id == saga_id], sagas)
        return self._loose[saga_id]

    def pop(self, saga_id: str) -> Saga | None:
        """Wake the saga; None: it doesn't sleep."""
        saga = self.get(saga_id)
        if saga is not None:
            self._count -= 1
            del self._loose[saga_id]
        return saga

    def next_due_ms(self) -> int | None:
        """When the first one is due."""
        while self._due and not self._is_current(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _is_current(self, due_ms: int, key: _Key) -> bool:
        number, saga_id = key
        if number >= 0:
            return number in self._blocks and self._blocks[number].due_ms == due_ms
        return saga_id in self._loose and next_due_ms(self._loose[saga_id]) == due_ms

    def due(self, now_ms: int) -> Saga | None:
        """A saga that is due; it stays so until it is woken."""
        while self._due and self._due[0][0] <= now_ms:
            _, (number, saga_id) = self._due[0]
            if number < 0:
                saga = self._loose.get(saga_id)
                due_ms = None if saga is None else next_due_ms(saga)
                if due_ms is not None and due_ms <= now_ms:
                    return saga
            heapq.heappop(self._due)
            if number in self._blocks:
                sagas = self._blocks[number].sagas()
                due = [one for one in sagas if (next_due_ms(one) or 0) <= now_ms]
                self._loosen(number, due, sagas)
        return None

    def blocks(self) -> Iterator[Block]:
        """All of them packed, as of the moment of this call."""
        blocks, loose = list(self._blocks.values()), _by_plan(self._loose.values())
        return chain(
            blocks,
            (
                _packed(part[first : first + BLOCK])
                for part in loose
                for first in range(0, len(part), BLOCK)
            ),
        )

    def _add_loose(self, saga: Saga) -> None:
        self._loose[saga.id] = saga
        heapq.heappush(self._due, (next_due_ms(saga) or 0, (-1, saga.id)))
        self._drop_stale()

    def _pack(self, at_ms: int) -> None:
        """Pack those that are not due soon, as far as they fill blocks."""
        far: dict[int, Saga] = {}
        for saga in self._loose.values():
            # Of two ids with one hash, which nobody will ever see, the second stays loose.
            if sleeps(saga, at_ms) and hash(saga.id) not in self._block_of:
                far.setdefault(hash(saga.id), saga)
        for part in _by_plan(far.values()):
            for first in range(0, len(part) - BLOCK + 1, BLOCK):
                self._numbers += 1
                self._put_block(self._numbers, part[first : first + BLOCK])

    def _put_block(self, number: int, sagas: Sequence[Saga]) -> None:
        block = self._blocks[number] = _packed(sagas)
        heapq.heappush(self._due, (block.due_ms, (number, "")))
        for saga in sagas:
            self._block_of[hash(saga.id)] = number
            self._loose.pop(saga.id, None)
        self._drop_stale()

    def _drop_stale(self) -> None:
        if len(self._due) > 2 * (len(self._blocks) + len(self._loose)) + 4 * BLOCK:
            self._due = [(one.due_ms, (key, "")) for key, one in self._blocks.items()]
            self._due += [(next_due_ms(saga) or 0, (-1, saga.id)) for saga in self._loose.values()]
            heapq.heapify(self._due)

    def _loosen(self, number: int, sagas: Sequence[Saga], of: Sequence[Saga]) -> None:
        """Take `sagas` out of the block, which holds the sagas `of`."""
        for saga in sagas:
            del self._block_of[hash(saga.id)]
            self._add_loose(saga)
        left = [saga for saga in of if saga.id not in self._loose]
        del self._blocks[number]
        if left:
            self._put_block(number, left)


def _by_plan(sagas: Iterable[Saga]) -> list[list[Saga]]:
    parts: dict[int, list[Saga]] = {}
    for saga in sagas:
        parts.setdefault(id(saga.plan), []).append(saga)
    return list(parts.values())


def _packed(sagas: Sequence[Saga]) -> Block:
    rows = [_bare(saga) for saga in sagas]
    due_ms = min(next_due_ms(saga) or 0 for saga in sagas)
    return Block(sagas[0].plan, zlib.compress(_encoder.encode(rows), 6), due_ms)
