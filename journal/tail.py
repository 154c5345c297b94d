"""Follows journals and hands out what happens to the aggregates that somebody waits for.

Starts from known positions (the projection's), because only there is the epoch in force known.
Records of other aggregates are not even decoded.
"""

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import structlog

from journal.epochs import EpochRule
from journal.log import Log, Place
from journal.records import TYPE, Advanced, RecordRejected, header
from messages.wire import Codec, Undecodable

log_event = structlog.get_logger("journal.tail")


class Start(NamedTuple):
    """Where to begin: the next offset and the epoch in force there (-1: none yet)."""

    next_offset: int
    epoch: int


class Seen(NamedTuple):
    """An event that counts, and where it stands."""

    place: Place
    offset: int
    event: Any


class Watch:
    """The events of one aggregate, from the moment the watch began.

    `name`: only those of this effect; "": all.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._seen: asyncio.Queue[Seen] = asyncio.Queue()

    def put(self, seen: Seen) -> None:
        self._seen.put_nowait(seen)

    async def next(self) -> Seen:
        return await self._seen.get()


class Tail:
    """`run` as a task; `watch` before asking for something. `codecs`: journal topic -> codec of
    the events that somebody may wait for; others are passed over."""

    def __init__(
        self, log: Log, codecs: Mapping[str, Codec[Any]], starts: Mapping[Place, Start]
    ) -> None:
        self._log = log
        self._codecs = codecs
        self._rules = {place: EpochRule(start.epoch) for place, start in starts.items()}
        self._watches: dict[bytes, dict[str, list[Watch]]] = {}
        self.positions = {place: start.next_offset for place, start in starts.items()}
        self.running = False

    @contextmanager
    def watch(self, key: str, effect_id: str = "") -> Generator[Watch, None, None]:
        """`effect_id`: hear only of this effect of the aggregate. A busy account has many waiters,
        each for one effect; they must not all be told of every event."""
        watch, aggregate = Watch(effect_id), key.encode()
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
        reader = self._log.reader(self.positions)
        try:
            while True:
                found = await reader.read(2000, 1000)
                self.running = True
                for place, records in found.items():
                    self._follow(place, records)
                if found:
                    await asyncio.sleep(0)
        finally:
            self.running = False
            await reader.close()

    def _follow(self, place: Place, records: Any) -> None:
        rule, watches = self._rules[place], self._watches
        types = self._codecs[place.topic].types
        for record in records:
            if rule.admits(record) and (waiting := watches.get(record.key)):
                headers = record.headers
                # The writer puts the type second; the slow path serves foreign writers.
                if len(headers) > 1 and headers[1][0] == TYPE:
                    kind = headers[1][1]
                else:
                    kind = header(headers, TYPE)
                if kind in types:
                    self._hand_out(place, record, waiting)
        self.positions[place] = records[-1].offset + 1

    def _hand_out(self, place: Place, record: Any, waiting: dict[str, list[Watch]]) -> None:
        try:
            event = self._codecs[place.topic].decode(record.value)
        except Undecodable as error:
            # The processor and the projector stop at it; a waiter only goes without an answer.
            log_event.critical(
                "journal_record_undecodable",
                place=str(place),
                offset=record.offset,
                reason=error.reason,
            )
            return
        if isinstance(event, Advanced | RecordRejected):
            return
        seen = Seen(place, record.offset, event)
        for watch in waiting.get("", ()):
            watch.put(seen)
        effect_id = getattr(event, "effect_id", "")
        for watch in waiting.get(effect_id, ()) if effect_id else ():
            watch.put(seen)
