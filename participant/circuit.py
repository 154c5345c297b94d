"""A circuit breaker: spares an endpoint that fails, and asks it again from time to time."""

from collections.abc import Callable


class Circuit:
    """Opens after `threshold` failures in a row. Open, it lets one try through every `open_s`
    seconds, and closes when one succeeds. `now_s`: a clock that never goes back."""

    def __init__(self, threshold: int, open_s: float, now_s: Callable[[], float]) -> None:
        self._threshold = threshold
        self._open_s = open_s
        self._now_s = now_s
        self._failures = 0
        self._next_try_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._threshold

    def lets_through(self) -> bool:
        """Whether to try; the answer counts as the try."""
        if not self.is_open:
            return True
        if self._now_s() < self._next_try_s:
            return False
        self._next_try_s = self._now_s() + self._open_s
        return True

    def failed(self) -> None:
        self._failures += 1
        if self._failures == self._threshold:
            self._next_try_s = self._now_s() + self._open_s

    def succeeded(self) -> None:
        self._failures = 0
