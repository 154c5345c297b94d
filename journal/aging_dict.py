"""A long dict of entries that are forgotten: each is kept for a time after its own `at_ms`.

Time is what `advance` is told, which is that of the events taken in. So what is remembered is a
function of the journal; only when an entry that is past goes is not.
"""

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from journal.long_dict import LongDict


class Dated(Protocol):
    @property
    def at_ms(self) -> int: ...


D = TypeVar("D", bound=Dated)

FORGOTTEN_PER_EVENT: Final = 4
"""An event adds at most two entries, so four keep up and catch up."""


class AgingDict(LongDict[D]):
    """In order of arrival, which is that of time, but for entries from the future."""

    def __init__(self, kept_ms: int) -> None:
        super().__init__()
        self._kept_ms = kept_ms
        self._in_order = True
        self._latest_ms = 0
        self.clock_ms = 0
        """The latest time told."""

    def advance(self, at_ms: int) -> None:
        """Time goes on, never back; a few entries that are past go."""
        if not self._in_order:
            entries = sorted(self.items(), key=lambda entry: entry[1].at_ms)
            self.clear()
            self.update(entries)
            self._in_order = True
        self.clock_ms = max(self.clock_ms, at_ms)
        for _ in range(FORGOTTEN_PER_EVENT):
            name = self.first()
            if name is None:
                return
            oldest = self[name]
            if oldest.at_ms > self.clock_ms:
                # From the future, perhaps far off: the others must not wait behind it.
                self.put_last(name, oldest)
            elif self._is_kept(oldest):
                return
            else:
                del self[name]

    def recall(self, name: str, now_ms: int = 0) -> D | None:
        """The entry; None if it never came or is past at `now_ms` (or at `clock_ms`, if that is
        later), whether or not it is already gone.

        A partition where nothing has happened for long must not remember what another one has
        forgotten: of two effects of one saga both are known or none."""
        known = self.get(name)
        return known if known is not None and self._is_kept(known, now_ms) else None

    def kept(self) -> dict[str, D]:
        """All that is remembered now, without what is past and only waits to go."""
        return {name: what for name, what in self.items() if self._is_kept(what)}

    def take_in(self, clock_ms: int, entries: Iterable[tuple[str, D]]) -> None:
        """Take in a part of `frozen()`, written at `clock_ms`; parts may come in any order."""
        self.clock_ms = max(self.clock_ms, clock_ms)
        for name, what in entries:
            # Parts that come as they were written need no sorting: it costs 2 s for a million.
            self._in_order = self._in_order and what.at_ms >= self._latest_ms
            self._latest_ms = max(self._latest_ms, what.at_ms)
            self[name] = what

    def _is_kept(self, what: D, now_ms: int = 0) -> bool:
        return what.at_ms + self._kept_ms > max(self.clock_ms, now_ms)
