"""When which saga has something to do: a heap over the sagas' own timers.

It is derived from the folded sagas and is no part of them. An entry is only a promise to look at
the saga by then; a saga has one valid entry, and stale ones are dropped when they come up or when
they outnumber the live sagas.
"""

import heapq
from collections.abc import Mapping
from typing import Final

from orchestrator.saga import Saga, next_due_ms

SLACK: Final = 1_024


class Timers:
    """The timers of the sagas in `live`, which is the partition's own mapping, not a copy."""

    def __init__(self, live: Mapping[str, Saga]) -> None:
        self._live = live
        self._heap: list[tuple[int, str]] = []
        self._armed: dict[str, int] = {}
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def changed(self, saga_id: str) -> None:
        """The saga was changed, begun or finished: its timer may be another one."""
        if saga_id in self._live:
            self._changed.add(saga_id)
        else:
            self._changed.discard(saga_id)
            self._armed.pop(saga_id, None)

    def next_due_ms(self) -> int | None:
        """When the earliest timer may be due: never too late, at times too early."""
        self._arm_changed()
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> Saga | None:
        """A saga whose timer is due; it stays due until the saga is changed."""
        self._arm_changed()
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, saga_id = self._heap[0]
            saga = self._live.get(saga_id) if self._armed.get(saga_id) == at_ms else None
            actual_ms = None if saga is None else next_due_ms(saga)
            if actual_ms is not None and actual_ms <= now_ms:
                return saga
            if saga is None or actual_ms is None:
                heapq.heappop(self._heap)
                if saga is not None:
                    del self._armed[saga_id]
            else:
                heapq.heapreplace(self._heap, (actual_ms, saga_id))
                self._armed[saga_id] = actual_ms
        return None

    def _arm_changed(self) -> None:
        # Once for all events since the last look: a saga changes several times in one decision.
        for saga_id in self._changed:
            due_ms = next_due_ms(self._live[saga_id])
            armed_ms = self._armed.get(saga_id)
            # A later due time needs no entry: the early one is moved on when it comes up.
            if due_ms is not None and (armed_ms is None or due_ms < armed_ms):
                self._armed[saga_id] = due_ms
                heapq.heappush(self._heap, (due_ms, saga_id))
        self._changed.clear()
        if len(self._heap) > 2 * len(self._armed) + SLACK:
            self._heap = [(at_ms, saga_id) for saga_id, at_ms in self._armed.items()]
            heapq.heapify(self._heap)
