"""What the log and the clocks do to the bank: delays, fates and skews, all drawn from the seed."""

import asyncio
from collections import Counter
from random import Random
from typing import Final

from journal.log import Place
from journal.memory_log import Fate
from simulation.conditions import Conditions

START_MS: Final = 1_750_000_000_000
"""When a simulation begins (June 2025), ms since 1970."""

MAX_DELAY_S: Final = 30.0
"""The longest that an append is slow or late."""


def simulated_ms() -> int:
    return START_MS + int(asyncio.get_running_loop().time() * 1000)


class SeededWeather:
    """Implements `journal.memory_log.Weather`. `clear_up` ends all faults."""

    def __init__(self, rng: Random, conditions: Conditions, happened: Counter[str]) -> None:
        self._rng = rng
        self._latency_s = conditions.latency_s
        self._slow_s = conditions.slow_s
        self._late_s = conditions.late_s
        self._rates = dict(conditions.rates)
        self._happened = happened
        self._down_until_s: dict[Place, float] = {}

    def clear_up(self) -> None:
        self._down_until_s.clear()
        self._rates = dict.fromkeys(self._rates, 0.0)

    def append_s(self, place: Place) -> float:
        return self._delay_s()

    def read_s(self, place: Place) -> float:
        return self._delay_s() / 2

    def take_down(self, place: Place, for_s: float) -> None:
        """Nothing is written to `place` for a while, as if it had no leader."""
        self._down_until_s[place] = asyncio.get_running_loop().time() + for_s

    def fate(self, place: Place) -> Fate:
        if self._down_until_s and self._is_down(place):
            self._happened["append_to_place_down"] += 1
            return Fate.NEVER
        drawn = self._rng.random()
        for kind, fate in _FATES:
            drawn -= self._rates[kind]
            if drawn < 0:
                self._happened[kind] += 1
                return fate
        return Fate.ACKNOWLEDGED

    def _is_down(self, place: Place) -> bool:
        return self._down_until_s.get(place, 0.0) > asyncio.get_running_loop().time()

    def late_s(self, place: Place) -> float:
        return min(MAX_DELAY_S, self._rng.expovariate(1 / self._late_s))

    def lands_after_crash(self) -> bool:
        """Whether an append that was under way when its process died lands all the same."""
        return self._rng.random() < 0.5

    def row_s(self) -> float:
        """How long a row of the read model takes; 0: no time worth a wait."""
        return self._slow_delay_s() if self._rng.random() < self._rates["slow"] else 0.0

    def commit_in_doubt(self) -> bool:
        """Whether a projector hears nothing of its commit."""
        if self._rng.random() >= self._rates["commit_in_doubt"]:
            return False
        self._happened["commit_in_doubt"] += 1
        return True

    def now_ms(self) -> int:
        return simulated_ms()

    def _delay_s(self) -> float:
        drawn = self._rng.random()
        if drawn < self._rates["slow"]:
            return self._slow_delay_s()
        return drawn * 2 * self._latency_s

    def _slow_delay_s(self) -> float:
        self._happened["slow"] += 1
        return min(MAX_DELAY_S, self._rng.expovariate(1 / self._slow_s))


_FATES: Final = (("ack_lost", Fate.ACK_LOST), ("late", Fate.LATE), ("never", Fate.NEVER))


class SkewedClock:
    """One process's clock: simulated time plus what it is wrong by, which can jump."""

    def __init__(self, wrong_ms: int = 0) -> None:
        self.wrong_ms = wrong_ms

    def now_ms(self) -> int:
        return simulated_ms() + self.wrong_ms
