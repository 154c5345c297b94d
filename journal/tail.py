"""Follows the answers of services and hands out those that somebody waits for.

Answers are released only for batches that count, so they need no reader rule; they may come twice.
Those of other aggregates are not even decoded.
"""

import asyncio
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import Counter

from journal.log import Log, Place, Record
from journal.records import ID, SOURCE, header, journal_named
from messages.wire import Codec, Undecodable

log_event = structlog.get_logger("journal.tail")

_unreadable = Counter(
    "makegood_answers_unreadable_total", "Records among the answers that are none", ["topic"]
)
_MAX_DIGITS: Final = 18


class Seen(NamedTuple):
    """An answer, and where in a journal the event stands that it tells of."""

    place: Place
    offset: int
    event: Any


class Watch:
    """The answers about one aggregate, or one effect of it, from the moment the watch began."""

    __slots__ = ("_seen", "_waiter")

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, seen: Seen) -> None:
        self._seen.append(seen)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Seen:
        """For one task at a time."""
        while not self._seen:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._seen.popleft()


class Tail:
    """`run` as a task; `watch` before asking for something. `codecs`: topic of answers -> codec;
    `starts`: where to begin, which for whoever has asked for nothing yet is the end."""

    def __init__(
        self, log: Log, codecs: Mapping[str, Codec[Any]], starts: Mapping[Place, int]
    ) -> None:
        self._log = log
        self._codecs = codecs
        self._starts = starts
        self._watches: dict[bytes, dict[str, list[Watch]]] = {}
        self.running = False

    @contextmanager
    def watch(self, key: str, effect_id: str = "") -> Generator[Watch, None, None]:
        """`effect_id`: hear only of this effect of the aggregate. A busy account has many waiters,
        each for one effect; they must not all be told of every event."""
        watch, aggregate = Watch(), key.encode()
        by_name = self._watches.setdefault(aggregate, {})
        by_name.setdefault(effect_id, []).append(watch)
        try:
            yield watch
        finally:
            by_name[effect_id].remove(watch)
            if not by_name[effect_id]:
                del by_name[effect_id]
            if not by_name and self._watches.get(aggregate) is by_name:
                del self._watches[aggregate]

    async def run(self) -> None:
        """Follow until cancelled. Raises PositionLost."""
        reader = self._log.reader(self._starts)
        try:
            while True:
                found = await reader.read(2000, 1000)
                self.running = True
                for place, records in found.items():
                    self._follow(place.topic, records)
                if found:
                    await asyncio.sleep(0)
        finally:
            self.running = False
            await reader.close()

    def _follow(self, topic: str, records: Sequence[Record]) -> None:
        watches = self._watches
        for record in records:
            if record.key is not None and (waiting := watches.get(record.key)):
                self._hand_out(topic, record, waiting)

    def _hand_out(self, topic: str, record: Record, waiting: dict[str, list[Watch]]) -> None:
        source = journal_named(header(record.headers, SOURCE) or b"")
        offset = header(record.headers, ID) or b""
        try:
            if source is None or not offset.isdigit() or len(offset) > _MAX_DIGITS:
                raise Undecodable("its source or id names no record of a journal")
            event = self._codecs[topic].decode(record.value)
        except Undecodable as error:
            # Not ours, then: whoever waits goes on waiting, and may ask again.
            _unreadable.labels(topic).inc()
            log_event.warning(
                "answer_unreadable", topic=topic, offset=record.offset, reason=error.reason
            )
            return
        seen = Seen(Place.named(source), int(offset), event)
        for watch in waiting.get("", ()):
            watch.put(seen)
        effect_id = getattr(event, "effect_id", "")
        for watch in waiting.get(effect_id, ()) if effect_id else ():
            watch.put(seen)
