"""Rules between parameters, and the check of all that a caller passes in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol, cast

import messages.money as money
from saga_definitions.params import Legs, Param, Problem, Rate

MAX_PROBLEMS: Final = 20


class Rule(Protocol):
    """What must hold between parameters that are good each for itself. `names`: of those."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        """What is wrong, or None."""
        ...


@dataclass(frozen=True)
class Differ:
    """A rule: the two parameters must not have the same value."""

    one: Param[object]
    other: Param[object]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.one.name, self.other.name)

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        if params.get(self.one.name) != params.get(self.other.name):
            return None
        return (self.other.name, f"must differ from {self.one.name}")


@dataclass(frozen=True)
class AtMost:
    """A rule: `amount` does not exceed `most`."""

    amount: Param[int]
    most: Param[int]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.amount.name, self.most.name)

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        amount, most = (cast("int", params[name]) for name in self.names)
        if amount <= most:
            return None
        return (self.amount.name, f"must be at most {self.most.name}")


@dataclass(frozen=True)
class AddUp:
    """A rule: the legs' amounts add up to `total`, and none of them goes to `source`."""

    legs: Legs
    total: Param[int]
    source: Param[str]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.legs.name, self.total.name, self.source.name)

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        legs = cast("list[dict[str, Any]]", params[self.legs.name])
        if sum(leg["amount_minor"] for leg in legs) != params[self.total.name]:
            return (self.total.name, f"must be the sum of {self.legs.name}")
        if any(leg["target"] == params[self.source.name] for leg in legs):
            return (self.legs.name, f"must not lead back to {self.source.name}")
        return None


@dataclass(frozen=True)
class Converted:
    """A rule: `into_minor` is `amount_minor` times `rate`, rounded half to even (as IEEE 754 and
    bankers do) to the minor unit of the currency `into`."""

    amount_minor: Param[int]
    currency: Param[str]
    rate: Rate
    into_minor: Param[int]
    into: Param[str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(
            param.name
            for param in (self.amount_minor, self.currency, self.rate, self.into_minor, self.into)
        )

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        amount, currency, rate, into_minor, into = (
            cast("Any", params[name]) for name in self.names
        )
        if into_minor == converted(amount, currency, rate, into):
            return None
        return (
            self.into_minor.name,
            f"must be {self.amount_minor.name} times {self.rate.name}, rounded half to even",
        )


def converted(amount_minor: int, currency: str, rate: str, into: str) -> int:
    """`amount_minor` at `rate`, in minor units of `into`, rounded half to even. Exact."""
    shift = money.MINOR_DIGITS[into] - money.MINOR_DIGITS[currency]
    return round(amount_minor * Fraction(rate) * Fraction(10) ** shift)


def check(
    declared: Sequence[Param[object]], rules: Sequence[Rule], params: Mapping[str, object]
) -> list[Problem]:
    """Everything that is wrong with `params`, at most `MAX_PROBLEMS`; empty when they are good.

    Rules are looked at only when every single value is good.
    """
    problems: list[Problem] = []
    known = 0
    for param in declared:
        if param.name in params:
            known += 1
            reason = param.problem(params[param.name])
            if reason is not None:
                problems.append((param.name, reason))
        elif not param.optional:
            problems.append((param.name, "is required"))
    if known != len(params):
        names = {param.name for param in declared}
        unknown = (name for name in params if name not in names)
        for _, name in zip(range(MAX_PROBLEMS), unknown, strict=False):
            problems.append((name[:64], "is not a parameter of this definition"))
    if not problems:
        found = (rule.problem(params) for rule in rules)
        problems.extend(problem for problem in found if problem is not None)
    return problems[:MAX_PROBLEMS]
