"""A dict for what a partition remembers for days: by the million, in the order of arrival.

Nothing that it does holds the event loop for long: it never grows at once (`parted_dict.py`), and a
snapshot of it is a view that copies an entry only when that changes. Forgetting takes the first
entry, in constant time.
"""

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final, Generic, TypeVar, cast

from journal.parted_dict import PartedDict

V = TypeVar("V")

SEGMENT: Final = 1024


class LongDict(PartedDict[str, V]):
    """As a dict: an entry keeps its place when its value changes, and gets the last place when it
    was deleted before. `segment`: so many ids of the order are kept together; a full segment never
    changes, so views share it."""

    def __init__(self, segment: int = SEGMENT) -> None:
        super().__init__()
        self._segment = segment
        self._order: deque[list[str]] = deque([[]])
        self._at = 0
        """Where the order begins within its first segment."""
        self._left: dict[str, int] = {}
        """How many places in the order an id has left. They are passed over, and come before the
        place that it has, if it has one."""
        self._views: list[weakref.ref[Frozen[V]]] = []

    def __setitem__(self, key: str, value: V) -> None:
        part = self._part(key)
        if key not in part:
            last = self._order[-1]
            if len(last) == self._segment:
                self._order.append(last := [])
            last.append(key)
        elif self._views:
            self._keep(key, part[key])
        part[key] = value

    def __delitem__(self, key: str) -> None:
        value = self._part(key).pop(key)
        if self._views:
            self._keep(key, value)
        self._left[key] = self._left.get(key, 0) + 1
        self._pass_over()

    def put_last(self, key: str, value: V) -> None:
        """In the last place, wherever it was before."""
        if key in self:
            del self[key]
        self[key] = value

    def clear(self) -> None:
        if self._views:
            for key, value in self.items():
                self._keep(key, value)
        for part in self._parts:
            part.clear()
        self._order, self._at = deque([[]]), 0
        self._left.clear()

    def __iter__(self) -> Iterator[str]:
        return _standing(self._order, self._at, self._left)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LongDict):
            return self._parts == cast("LongDict[V]", other)._parts
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def first(self) -> str | None:
        """The id that has been there for the longest time; None if there is none."""
        segment = self._order[0]
        return segment[self._at] if self._at < len(segment) else None

    def frozen(self) -> "Frozen[V]":
        """The entries as of now, for whoever reads them while this dict changes on. While it is
        held, each change costs the keeping of an old value."""
        *full, last = self._order
        view = Frozen(self, [*full, last.copy()], self._at, self._left.copy())
        self._views.append(weakref.ref(view, self._views.remove))
        return view

    def _pass_over(self) -> None:
        """Let the order begin with a place that is not left."""
        while (name := self.first()) is not None and (left := self._left.get(name)):
            if left == 1:
                del self._left[name]
            else:
                self._left[name] = left - 1
            self._at += 1
            if self._at == self._segment:
                self._order.popleft()
                self._at = 0
                if not self._order:
                    self._order.append([])

    def _keep(self, name: str, value: V) -> None:
        for reference in self._views:
            if (view := reference()) is not None:
                view.kept.setdefault(name, value)


class Frozen(Generic[V]):
    """The entries of a `LongDict` as they were, in order, to be iterated over."""

    def __init__(
        self, of: LongDict[V], order: list[list[str]], at: int, left: dict[str, int]
    ) -> None:
        self._of = of
        self._order = order
        self._at = at
        self._left = left
        self.kept: dict[str, V] = {}
        """What has changed since."""

    def __iter__(self) -> Iterator[tuple[str, V]]:
        for name in _standing(self._order, self._at, self._left):
            yield name, self.kept[name] if name in self.kept else self._of[name]


def _standing(order: Iterable[list[str]], at: int, left: Mapping[str, int]) -> Iterator[str]:
    passed = dict(left)
    for name in islice(chain.from_iterable(order), at, None):
        if count := passed.get(name):
            passed[name] = count - 1
        else:
            yield name
