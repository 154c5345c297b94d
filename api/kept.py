"""Answers of queries that cost much, kept for a while, so that many pages that poll cost little."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MIN_S: Final = 1.0
TIMES: Final = 20


class Kept(Generic[T]):
    """The last answer of one query, for `TIMES` as long as it took, and `min_s` at least: however
    many ask, the query runs at most 1/21 of the time."""

    def __init__(
        self, now_s: Callable[[], float] = time.monotonic, *, min_s: float = MIN_S
    ) -> None:
        self._now_s = now_s
        self._min_s = min_s
        self._lock = asyncio.Lock()
        self._answer: T | None = None
        self._until = 0.0

    async def get(self, query: Callable[[], Awaitable[T]]) -> T:
        """The kept answer, or that of `query`; who asks meanwhile waits for the same one."""
        async with self._lock:
            if self._answer is None or self._now_s() >= self._until:
                began = self._now_s()
                self._answer = await query()
                ended = self._now_s()
                self._until = ended + max(self._min_s, TIMES * (ended - began))
            return self._answer
