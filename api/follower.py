"""Keeps a tail on all answers for as long as the API lives, so that its waiters hear of them.

It begins at the end: who waits has asked after that. When a tail breaks, those who wait on it run
into their bound, and a new one begins.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog

from journal.log import Log, LogError, Place
from journal.tail import Tail, Watch
from messages.wire import Codec

log_event = structlog.get_logger("api.follower")

_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_STEADY_S: Final = 10.0
"""A tail that held this long was well: what broke it begins a new count of failures."""


class NotFollowing(Exception):
    """The answers are not followed at the moment: one could not be heard."""


class Follower:
    """`run` as a task. `codecs`: topic of answers -> codec; `partitions`: topic -> count."""

    def __init__(
        self, log: Log, codecs: Mapping[str, Codec[Any]], partitions: Mapping[str, int]
    ) -> None:
        self._log = log
        self._codecs = codecs
        self._places = [Place(t, p) for t, count in partitions.items() for p in range(count)]
        self._tail: Tail | None = None

    def watch(self, key: str, effect_id: str = "") -> AbstractContextManager[Watch]:
        """The answers about one aggregate, or one effect of it, from now on. Raises
        NotFollowing."""
        if self._tail is None:
            raise NotFollowing
        return self._tail.watch(key, effect_id)

    @property
    def status(self) -> str:
        """ "ok", or why answers may not be heard in time."""
        tail = self._tail
        return "ok" if tail is not None and tail.running else "the answers are not followed"

    async def run(self) -> None:
        """Follow until cancelled."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            try:
                await self._follow()
                cause = "the tail ended"
            except LogError as error:
                cause = str(error)
            failures = 0 if loop.time() - began > _STEADY_S else failures + 1
            log_event.warning("answers_not_followed", cause=cause)
            await asyncio.sleep(min(_FIRST_PAUSE_S * 2.0 ** min(failures, 16), _MAX_PAUSE_S))

    async def _follow(self) -> None:
        """Raises what a log raises."""
        ends = {place: (await self._log.bounds(place))[1] for place in self._places}
        self._tail = tail = Tail(self._log, self._codecs, ends)
        try:
            await tail.run()
        finally:
            self._tail = None
