"""An event loop whose time is simulated: when nothing is ready it jumps to the next timer.

Nothing sleeps and nothing outside the process is waited for, so a run is a function of its seed.
A run that can't go on, or does not come to an end, is an error and not a hang.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(Exception):
    """Nothing is ready and no timer is set: everybody waits for somebody else."""

    def __init__(self, at_s: float) -> None:
        super().__init__(f"at {at_s:.3f} s nothing is ready and no timer is set")
        self.at_s = at_s


class OutOfSteps(Exception):
    """The run took more callbacks than its bound: somebody spins."""

    def __init__(self, at_s: float, steps: int) -> None:
        super().__init__(f"at {at_s:.3f} s the bound of {steps} callbacks was reached")
        self.at_s = at_s
        self.steps = steps


class OutOfTime(Exception):
    """The simulated time went past its bound."""

    def __init__(self, at_s: float) -> None:
        super().__init__(f"the run was not over at {at_s:.3f} s of simulated time")
        self.at_s = at_s


class _Due(asyncio.TimerHandle):
    """A callback that is due, now or at a time. A run has many thousands: it keeps only what the
    loop needs, so no context either: nobody here keeps anything in one."""

    __slots__ = ("args", "callback", "off")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args
        self.off = False

    def cancel(self) -> None:
        self.off = True

    def cancelled(self) -> bool:
        return self.off


class SimulatedLoop(asyncio.BaseEventLoop):
    """Bounded to `max_steps` callbacks and `max_s` seconds of simulated time.

    Raises Deadlock, OutOfSteps or OutOfTime out of `run_until_complete`, and what a callback
    raises.
    """

    def __init__(self, max_steps: int = 2_000_000, max_s: float = 86_400.0) -> None:
        super().__init__()
        self.steps = 0
        self.errors: list[str] = []
        """What tasks and callbacks raised and nobody caught."""
        self._max_steps = max_steps
        self._max_s = max_s
        self._now_s = 0.0
        self._soon: deque[_Due] = deque()
        self._timers: list[tuple[float, int, _Due]] = []
        self._timer_number = 0
        self._stopped = False
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        due = _Due(callback, args)
        self._soon.append(due)
        return due

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._set(when, _Due(callback, args))

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._set(self._now_s + delay, _Due(callback, args))

    def _set(self, when: float, due: _Due) -> _Due:
        # Timers of the same time come in the order in which they were set.
        self._timer_number += 1
        heappush(self._timers, (when, self._timer_number, due))
        return due

    def call_soon_threadsafe(self, *_: Any, **__: Any) -> asyncio.Handle:
        raise RuntimeError("another thread has no business in a simulation")

    def stop(self) -> None:
        self._stopped = True

    def run_forever(self) -> None:
        asyncio._set_running_loop(self)
        self._stopped = False
        try:
            self._run()
        finally:
            asyncio._set_running_loop(None)

    def _run(self) -> None:
        soon = self._soon
        while not self._stopped:
            if not soon:
                self._jump()
            self.steps += 1
            if self.steps > self._max_steps:
                raise OutOfSteps(self._now_s, self._max_steps)
            due = soon.popleft()
            if not due.off:
                due.callback(*due.args)

    def _jump(self) -> None:
        """Nothing is ready: time goes on to the next timer, and to all that are set for then."""
        timers = self._timers
        while timers and timers[0][2].off:
            heappop(timers)
        if not timers:
            raise Deadlock(self._now_s)
        # A timer may have been set for a time that had passed.
        self._now_s = max(self._now_s, timers[0][0])
        if self._now_s > self._max_s:
            raise OutOfTime(self._now_s)
        while timers and timers[0][0] <= self._now_s:
            self._soon.append(heappop(timers)[2])

    def _note(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.errors.append(f"{context.get('message')}: {error!r}")


def run(loop: SimulatedLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end and close the loop; whatever is left running is cancelled."""
    try:
        return loop.run_until_complete(main)
    finally:
        _end_all(loop)
        loop.close()


def _end_all(loop: SimulatedLoop) -> None:
    errors = list(loop.errors)
    left = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 60))
    # What ending everything at once stirs up is no finding.
    loop.errors[:] = errors
