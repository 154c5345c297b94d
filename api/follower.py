"""Keeps a tail on all journals for as long as the API lives, so that its waiters hear of events.

It begins where the projection is, because only there is the epoch in force known. When a tail
breaks, those who wait on it run into their bound, and a new one begins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog

from journal.log import Log, LogError, Place
from journal.tail import Start, Tail, Watch
from messages.wire import Codec
from read_model.database import cause_of, passes

log_event = structlog.get_logger("api.follower")

_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_STEADY_S: Final = 10.0
"""A tail that held this long was well: what broke it begins a new count of failures."""

Positions = Callable[[], Awaitable[Mapping[Place, Start]]]
"""Where the projection is; a place that is left out has not been projected yet."""


class NotFollowing(Exception):
    """The journals are not followed at the moment: an answer could not be heard."""


class Follower:
    """`run` as a task. `codecs`: journal topic -> codec; `partitions`: journal topic -> count."""

    def __init__(
        self,
        log: Log,
        codecs: Mapping[str, Codec[Any]],
        partitions: Mapping[str, int],
        positions: Positions,
    ) -> None:
        self._log = log
        self._codecs = codecs
        self._places = [Place(t, p) for t, count in partitions.items() for p in range(count)]
        self._positions = positions
        self._tail: Tail | None = None
        self._behind: dict[Place, int] = {}

    def watch(self, key: str, effect_id: str = "") -> AbstractContextManager[Watch]:
        """The events of one aggregate, or of one effect of it, from now on. Raises NotFollowing."""
        if self._tail is None:
            raise NotFollowing
        return self._tail.watch(key, effect_id)

    @property
    def status(self) -> str:
        """ "ok", or why answers may not be heard in time."""
        tail = self._tail
        if tail is None or not tail.running:
            return "the journals are not followed"
        # The ends are those of the start: who has once reached them has caught up.
        self._behind = {p: end for p, end in self._behind.items() if tail.positions[p] < end}
        if self._behind:
            return f"still behind in {len(self._behind)} journal partitions"
        return "ok"

    async def run(self) -> None:
        """Follow until cancelled."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            try:
                cause = await self._follow()
            except LogError as error:
                cause = str(error)
            except Exception as error:
                # `passes` knows which of a database's many errors go by themselves.
                if not passes(error):
                    raise
                cause = cause_of(error)
            failures = 0 if loop.time() - began > _STEADY_S else failures + 1
            log_event.warning("journals_not_followed", cause=cause)
            await asyncio.sleep(min(_FIRST_PAUSE_S * 2.0 ** min(failures, 16), _MAX_PAUSE_S))

    async def _follow(self) -> str:
        """Follow; gives why it ended. Raises what a log or a database raises."""
        known = await self._positions()
        starts = {place: known.get(place, Start(0, -1)) for place in self._places}
        ends = {place: (await self._log.bounds(place))[1] for place in self._places}
        tail = Tail(self._log, self._codecs, starts)
        self._behind = ends
        self._tail = tail
        try:
            await tail.run()
        finally:
            self._tail = None
        return "the tail ended"
