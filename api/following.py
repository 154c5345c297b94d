"""A saga's events as they come. They come from the read model, so a stream tells nothing that the
saga's timeline does not tell as well; how often the read model is asked for news does not depend on
how many follow.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Final

from litestar import get
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.types import ASGIApp
from sqlalchemy.ext.asyncio import AsyncEngine

from api.asking import AnyRequest, after_of, from_of, last_event_of
from api.description import EVENT_STREAM, documented, looked_up
from api.kept import Kept
from api.streams import BEGINNING, HEARTBEAT, Streams, event
from api.views import caught_up, check_saga_id, timeline_view, transfer_view, unknown_saga
from messages.wire import encode
from read_model import queries, timeline

LOOK_S: Final = 0.1
HEARTBEAT_S: Final = 15.0
PAGE: Final = 200

_ENDED: Final = ("completed", "compensated")


@get(
    "/sagas/{saga_id:str}/events",
    operation_class=looked_up("from", resumable=True),
    responses=documented({}, 400, 404, 500, 503) | {200: EVENT_STREAM},
)
async def follow_saga(request: AnyRequest, saga_id: FromPath[str], state: State) -> ASGIApp:
    """The saga's events as they come (Server-Sent Events), from journal offset `from` on, each with
    its offset as `id` and as data what the timeline has; at the saga's end the event `end`.

    Who comes back with Last-Event-ID gets what came after it; 204 when the saga has ended and that
    was all. A comment every 15 s says that the stream lives. 503 when too many are open.
    """
    after, first, last = after_of(request), from_of(request), last_event_of(request)
    check_saga_id(saga_id)
    reached = await caught_up(state.engine, after)
    streams: Streams = state.streams
    first, resumed = (first, False) if last is None else (last + 1, True)
    chunks = follow(state.engine, state.news, saga_id, first, resumed=resumed, reached=reached)
    return streams.answer(request, chunks)


class News:
    """How far the sagas have come that somebody follows: one query for all of them at a time, at
    most every `LOOK_S`, and none when nobody does."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._followed: Counter[str] = Counter()
        self._kept: Kept[dict[str, int]] = Kept(min_s=LOOK_S)

    async def beyond(self, saga_id: str, offset: int, timeout_s: float) -> bool:
        """Wait until the saga has an event at `offset` or behind it; False: not within
        `timeout_s`. Raises what a database raises."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        self._followed[saga_id] += 1
        try:
            while (await self._kept.get(self._look)).get(saga_id, -1) < offset:
                if loop.time() >= until:
                    return False
                await asyncio.sleep(LOOK_S)
        finally:
            self._followed -= Counter((saga_id,))
        return True

    async def _look(self) -> dict[str, int]:
        return await queries.last_offsets(self._engine, self._followed.keys())


async def follow(
    engine: AsyncEngine, news: News, saga_id: str, first: int, *, resumed: bool, reached: bool
) -> AsyncGenerator[bytes]:
    """The events from journal offset `first` on, each with its offset as its id, then `end`.

    `resumed`: somebody comes back; nothing at all if there is nothing left to tell. `reached`: as
    of `caught_up`. Raises Problem before the first chunk if there is no such saga,
    HistoryUnreadable, and what a database raises.
    """
    begun = False
    while True:
        page = await timeline.page(engine, saga_id, first=first, limit=PAGE)
        if page is None:
            if begun:
                # The read model is being rebuilt: whoever comes back will find the saga again.
                return
            raise unknown_saga(saga_id, reached=reached)
        ended = page.next is None and page.saga.state in _ENDED
        if resumed and not begun and ended and not page.entries:
            return
        if not begun:
            begun = True
            yield BEGINNING
        for entry in timeline_view(page).entries:
            yield event(encode(entry), id=entry.offset)
            first = entry.offset + 1
        if ended:
            yield event(encode(transfer_view(page.saga)), name="end")
            return
        while page.next is None and not await news.beyond(saga_id, first, HEARTBEAT_S):
            yield HEARTBEAT
