"""How fast work goes on, from the moments (s) at which transfers ended; all sorted, all pure."""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

WINDOW_S: Final = 2.0
_STEP_S: Final = 0.25
_BACK: Final = 0.5
"""The work is back when it goes on at half the rate of calm times."""


def rate(ends_s: Sequence[float], from_s: float, to_s: float) -> float:
    """Transfers a second in [from_s, to_s)."""
    return _count(ends_s, from_s, to_s) / (to_s - from_s)


def low(ends_s: Sequence[float], from_s: float, calm_per_s: float) -> bool:
    """Whether the window that begins at `from_s` has no more than half the calm rate."""
    return rate(ends_s, from_s, from_s + WINDOW_S) <= _BACK * calm_per_s


def low_for_s(ends_s: Sequence[float], from_s: float, to_s: float, calm_per_s: float) -> float:
    """From `from_s` to the end of the last window in [from_s, to_s) that was low; 0 if none was."""
    found = 0.0
    at_s = from_s
    while at_s + WINDOW_S <= to_s:
        if low(ends_s, at_s, calm_per_s):
            found = at_s + WINDOW_S - from_s
        at_s += _STEP_S
    return found


def back_after_s(
    ends_s: Sequence[float], from_s: float, to_s: float, calm_per_s: float
) -> float | None:
    """From `from_s` to the first window in [from_s, to_s) that was not low; None if all were."""
    at_s = from_s
    while at_s + WINDOW_S <= to_s:
        if not low(ends_s, at_s, calm_per_s):
            return at_s - from_s
        at_s += _STEP_S
    return None


def longest_gap_s(ends_s: Sequence[float]) -> float:
    """The longest time between two ends."""
    return max((b - a for a, b in itertools.pairwise(ends_s)), default=0.0)


def _count(ends_s: Sequence[float], from_s: float, to_s: float) -> int:
    return bisect_left(ends_s, to_s) - bisect_left(ends_s, from_s)
