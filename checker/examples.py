"""Parameters to check a definition with: accounts all different, amounts all different where the
definition's rules allow it, so that an amount in the wrong place shows as money that is missing;
and where steps are skipped, for every set of steps that can be."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice, product
from typing import Any, Final

from checker.course import holds
from checker.exploration import CannotCheck
from checker.world import NOW, PASSED
from orchestrator.references import path_of, within
from saga_definitions.dsl import Definition
from saga_definitions.params import (
    Account,
    Amount,
    Currency,
    Instant,
    Legs,
    Param,
    Person,
    Rate,
    Text,
    Transfer,
)
from saga_definitions.timetable import Count, Day, Rhythm, TimeOfDay, Zone

_TRIES: Final = 20_000
_AMOUNTS: Final = (100, 200, 300, 400, 500, 1, 2, 3)
_BETWEEN: Final = datetime.fromtimestamp((NOW + PASSED) / 2 / 1_000, UTC)
_INSTANT: Final = _BETWEEN.isoformat()


def example_params(
    definition: Definition, given: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """`given`, and for the other required parameters the first values that obey the rules: once for
    every way in which the conditions on parameters can turn out, and every number of legs of the
    steps that are done leg by leg, as far as values were found.

    Raises `CannotCheck` when none are found.
    """
    given = given or {}
    missing = [p for p in definition.params if p.name not in given and not p.optional]
    choices = [_values(definition, param, number) for number, param in enumerate(missing)]
    names = [param.name for param in missing]
    conditions = [condition for step in definition.plan.steps for condition in step.when]
    lists = [step.each.split(".")[1:] for step in definition.plan.steps if step.each]
    found: dict[tuple[bool | int | None, ...], dict[str, Any]] = {}
    for values in islice(product(*choices), _TRIES if conditions or lists else None):
        params = {**given, **dict(zip(names, values, strict=True))}
        if not definition.check_params(params):
            case = [holds(one, params) for one in conditions]
            whole = definition.complete(params, NOW)
            counts = [len(within(whole, path)) for path in lists]
            found.setdefault((*case, *counts), params)
            if not conditions and not lists:
                break
    if not found:
        first = {name: values[0] for name, values in zip(names, choices, strict=True)}
        problems = definition.check_params({**given, **first})
        detail = "; ".join(f"{place}: {reason}" for place, reason in problems)
        raise CannotCheck(definition.name, f"{detail}; give values that obey the rules")
    return list(found.values())


def _values(definition: Definition, param: Param[object], number: int) -> Sequence[Any]:
    """Values to try, the best first. `number`: how many parameters come before."""
    match param:
        case Account() | Person():
            return (param.name[:64],)
        case Amount():
            first = number % len(_AMOUNTS)
            return (*_AMOUNTS[first:], *_AMOUNTS[:first], *_limits(definition, param))
        case Currency():
            return param.choices or ("EUR", "USD")
        case Text():
            return ("text",)
        case Transfer():
            return ("0" * 32,)
        case Instant():
            return (_INSTANT,)
        case Rate():
            return ("2", "1")
        case Day() | TimeOfDay():
            # The first time that recurs is an instant like any other.
            return (f"{_BETWEEN:%Y-%m-%d}" if isinstance(param, Day) else f"{_BETWEEN:%H:%M}",)
        case Zone():
            return ("UTC",)
        case Rhythm():
            return ("day",)
        case Count():
            return (1, 2)
        case Legs():
            legs = [{"target": f"target{n}", "amount_minor": 100 * (n + 1)} for n in range(2)]
            return (legs[:1], legs)
        case _:
            kind = type(param).__name__
            raise CannotCheck(definition.name, f"give a value for {param.name}, which is a {kind}")


def _limits(definition: Definition, param: Param[object]) -> list[int]:
    """Amounts on both sides of those that conditions compare the parameter with."""
    found: list[int] = []
    for step in definition.plan.steps:
        for one in step.when:
            for side, other in ((one.left, one.right), (one.right, one.left)):
                if path_of(side) == ("params", param.name) and type(other) is int:
                    found += [other - 1, other, other + 1]
    return [amount for amount in found if amount > 0]
