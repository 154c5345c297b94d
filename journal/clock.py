"""The clock port: the only way to learn the time. Rules get the time passed in."""

import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

log_event = structlog.get_logger("journal.clock")

MAX_STEP_MS: Final = 60_000
"""A larger step of the wall clock is not believed at once."""

BELIEVED_AFTER_MS: Final = 600_000
"""A step that lasts this long is no slip: somebody has set the clock right. So is one that has
lasted longer than what it was before: a process that starts with a wrong clock knows no better."""


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970 (UTC). May jump; the kernel never lets it run backwards."""
        ...


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    # Goes on while the machine sleeps, where there is such a clock: a wake-up is then no step.
    steady = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic_ns() if steady is None else time.clock_gettime_ns(steady)) // 1_000_000


class SystemClock:
    """The wall clock, guarded by a steady one. A wall clock that is a week ahead for one second
    would make the services forget which effects they have applied; so a large step counts only
    after it has lasted."""

    def __init__(
        self,
        wall_ms: Callable[[], int] = _wall_ms,
        steady_ms: Callable[[], int] = _steady_ms,
    ) -> None:
        self._wall_ms = wall_ms
        self._steady_ms = steady_ms
        self._believed_since_ms = steady_ms()
        self._ahead_ms = wall_ms() - self._believed_since_ms
        self._doubted_since_ms: int | None = None

    def now_ms(self) -> int:
        wall_ms, steady_ms = self._wall_ms(), self._steady_ms()
        expected_ms = steady_ms + self._ahead_ms
        step_ms = wall_ms - expected_ms
        if -MAX_STEP_MS <= step_ms <= MAX_STEP_MS:
            self._doubted_since_ms = None
            self._ahead_ms += step_ms
            return wall_ms
        if self._doubted_since_ms is None:
            self._doubted_since_ms = steady_ms
            log_event.critical("clock_stepped", step_s=step_ms // 1000)
        elif steady_ms - self._doubted_since_ms >= min(
            BELIEVED_AFTER_MS, self._doubted_since_ms - self._believed_since_ms
        ):
            self._believed_since_ms, self._doubted_since_ms = self._doubted_since_ms, None
            self._ahead_ms += step_ms
            log_event.critical("clock_step_believed", step_s=step_ms // 1000)
            return wall_ms
        return expected_ms
