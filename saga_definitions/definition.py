"""A definition that was checked as a whole: what the engine, the API and the checker know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from messages.participants import Participant
from messages.plan import Plan
from saga_definitions.params import Param, Problem
from saga_definitions.rules import Rule, check
from saga_definitions.timetable import Timetable


@dataclass(frozen=True)
class Definition:
    """A checked definition: its plan, what its callers may pass in, whom it asks, the definitions
    that are steps of it, and when it does what it does at many times."""

    name: str
    version: int
    plan: Plan
    params: tuple[Param[object], ...]
    rules: tuple[Rule, ...]
    participants: tuple[Participant, ...]
    children: "tuple[Definition, ...]" = ()
    timetable: Timetable | None = None

    @property
    def is_long(self) -> bool:
        """Whether its parameters may have thousands of elements."""
        own = any(step.each and not step.at for step in self.plan.steps)
        return own or any(child.is_long for child in self.children)

    def check_params(self, params: Mapping[str, object]) -> list[Problem]:
        """What is wrong with `params` as (place, reason); empty when they are good.

        Takes anything that JSON can hold, never raises for content, repeats no value.
        """
        return check(self.params, self.rules, params)

    def complete(self, params: dict[str, Any], now_ms: int) -> dict[str, Any]:
        """The parameters of a saga that begins at `now_ms` (since 1970) with `params`, which are
        good: with what is found only then, and never again."""
        if self.timetable is None:
            return params
        return {**params, self.timetable.into.name: self.timetable.instants(params, now_ms)}
