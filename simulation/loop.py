"""An event loop whose time is simulated: when nothing is ready it jumps to the next timer.

Nothing sleeps and nothing outside the process is waited for, so a run is a function of its seed.
A run that can't go on, or does not come to an end, is an error and not a hang.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_RESOLUTION_S = 1e-9


class Deadlock(Exception):
    """Nothing is ready and no timer is set: everybody waits for somebody else."""

    def __init__(self, at_s: float) -> None:
        super().__init__(f"at {at_s:.3f} s nothing is ready and no timer is set")
        self.at_s = at_s


class OutOfSteps(Exception):
    """The run took more turns of the loop than its bound: somebody spins."""

    def __init__(self, at_s: float, steps: int) -> None:
        super().__init__(f"at {at_s:.3f} s the bound of {steps} turns of the loop was reached")
        self.at_s = at_s
        self.steps = steps


class OutOfTime(Exception):
    """The simulated time went past its bound."""

    def __init__(self, at_s: float) -> None:
        super().__init__(f"the run was not over at {at_s:.3f} s of simulated time")
        self.at_s = at_s


class _Jump:
    """Stands where the selector would: instead of waiting, time goes on."""

    def __init__(self, max_steps: int, max_s: float) -> None:
        self.now_s = 0.0
        self.steps = 0
        self._max_steps = max_steps
        self._max_s = max_s

    def select(self, timeout: float | None) -> tuple[()]:
        self.steps += 1
        if timeout is None:
            raise Deadlock(self.now_s)
        if self.steps > self._max_steps:
            raise OutOfSteps(self.now_s, self._max_steps)
        if timeout > 0:
            self.now_s += timeout
            if self.now_s > self._max_s:
                raise OutOfTime(self.now_s)
        return ()


class SimulatedLoop(asyncio.BaseEventLoop):
    """Bounded to `max_steps` turns and `max_s` seconds of simulated time.

    Raises Deadlock, OutOfSteps or OutOfTime out of `run_until_complete`.
    """

    def __init__(self, max_steps: int = 2_000_000, max_s: float = 86_400.0) -> None:
        super().__init__()
        self._clock_resolution = _RESOLUTION_S
        self._selector = self._jump = _Jump(max_steps, max_s)
        self.errors: list[str] = []
        """What tasks and callbacks raised and nobody caught."""
        self.set_exception_handler(self._note)

    @property
    def steps(self) -> int:
        return self._jump.steps

    def time(self) -> float:
        return self._jump.now_s

    def _process_events(self, event_list: object) -> None:
        """The selector never has any."""

    def _write_to_self(self) -> None:
        raise RuntimeError("another thread has no business in a simulation")

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
