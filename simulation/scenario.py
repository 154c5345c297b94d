"""A part of a seed's run: fewer faults, fewer incidents, a smaller bank.

Written as text, e.g. `transfers=3 accounts=3 without=late,slow incidents=4,9`, so that a failure
can be named in one line: the same seed and scenario give the same history, byte for byte.
"""

from typing import Final

import msgspec

from simulation.conditions import FAULTS, INCIDENTS, Conditions

SMALLEST: Final = {
    "transfers": 1,
    "account_requests": 0,
    "callers": 1,
    "accounts": 3,
    "apis": 1,
    "projectors": 1,
    "orchestrators": 1,
    "account_processes": 1,
    "participant_processes": 1,
    "partitions": 1,
    "traffic_s": 1,
}
"""What can be made smaller in a run, and the least that it makes sense with."""


class ScenarioMalformed(ValueError):
    """The text is no scenario."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(
            f"scenario: {part!r} {why}. A scenario is like "
            "'transfers=3 accounts=3 without=late,slow incidents=4,9', as a failed seed prints it"
        )


class Scenario(msgspec.Struct, frozen=True):
    """`sizes`: what is smaller than drawn. `without`: faults that do not happen. `incidents`: the
    numbers of those that happen, counted from 0 as they come; None: all."""

    sizes: dict[str, int] = {}
    without: frozenset[str] = frozenset()
    incidents: frozenset[int] | None = None

    def __str__(self) -> str:
        parts = [f"{name}={number}" for name, number in sorted(self.sizes.items())]
        if self.without:
            parts.append("without=" + ",".join(sorted(self.without)))
        if self.incidents is not None:
            parts.append("incidents=" + ",".join(map(str, sorted(self.incidents))))
        return " ".join(parts)

    def of(self, drawn: Conditions) -> Conditions:
        """What is left of the conditions of a seed."""
        rates = {kind: 0.0 if kind in self.without else r for kind, r in drawn.rates.items()}
        return msgspec.structs.replace(
            drawn,
            **self.sizes,
            rates=rates,
            skew_ms=0 if "clock_skew" in self.without else drawn.skew_ms,
            incidents=self.incidents,
        )


WHOLE: Final = Scenario()


def parse(text: str) -> Scenario:
    """The scenario in `text`; empty: the whole run. Raises ScenarioMalformed."""
    sizes: dict[str, int] = {}
    without: frozenset[str] = frozenset()
    incidents: frozenset[int] | None = None
    for part in text.split():
        name, equals, value = part.partition("=")
        if not equals:
            raise ScenarioMalformed(part, "has no value")
        if name == "without":
            without = frozenset(filter(None, value.split(",")))
            for kind in sorted(without - set(FAULTS)):
                raise ScenarioMalformed(part, f"names no fault: {kind!r}")
            for kind in sorted(without & set(INCIDENTS)):
                raise ScenarioMalformed(part, f"{kind!r} is an incident: left out by its number")
        elif name == "incidents":
            incidents = frozenset(_number(part, one) for one in value.split(",") if one)
        elif name in SMALLEST:
            sizes[name] = _number(part, value)
            if sizes[name] < SMALLEST[name]:
                raise ScenarioMalformed(part, f"must be at least {SMALLEST[name]}")
        else:
            raise ScenarioMalformed(part, "is not known")
    return Scenario(sizes, without, incidents)


def _number(part: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ScenarioMalformed(part, f"{text!r} is not a number")
    return int(text)
