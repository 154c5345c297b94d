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

    def clear_up(self) -> None:
        self._rates = dict.fromkeys(self._rates, 0.0)

    def append_s(self, place: Place) -> float:
        return self._delay_s()

    def read_s(self, place: Place) -> float:
        return self._delay_s() / 2

    def fate(self, place: Place) -> Fate:
        drawn = self._rng.random()
        for kind, fate in _FATES:
            drawn -= self._rates[kind]
            if drawn < 0:
                self._happened[kind] += 1
                return fate
        return Fate.ACKNOWLEDGED

    def late_s(self, place: Place) -> float:
        return min(MAX_DELAY_S, self._rng.expovariate(1 / self._late_s))

    def lands_after_crash(self) -> bool:
        """Whether an append that was under way when its process died lands all the same."""
        return self._rng.random() < 0.5

    def now_ms(self) -> int:
        return simulated_ms()

    def _delay_s(self) -> float:
        drawn = self._rng.random()
        if drawn < self._rates["slow"]:
            self._happened["slow"] += 1
            return min(MAX_DELAY_S, self._rng.expovariate(1 / self._slow_s))
        return drawn * 2 * self._latency_s


_FATES: Final = (("ack_lost", Fate.ACK_LOST), ("late", Fate.LATE), ("never", Fate.NEVER))


class SkewedClock:
    """One process's clock: simulated time plus what it is wrong by, which can jump."""

    def __init__(self, wrong_ms: int = 0) -> None:
        self.wrong_ms = wrong_ms

    def now_ms(self) -> int:
        return simulated_ms() + self.wrong_ms
