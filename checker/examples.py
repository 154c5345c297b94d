"""Parameters to check a definition with: accounts all different, amounts all different where the
definition's rules allow it, so that an amount in the wrong place shows as money that is missing."""

from collections.abc import Mapping, Sequence
from itertools import islice, product
from typing import Any, Final

from checker.exploration import CannotCheck
from saga_definitions.dsl import Account, Amount, Currency, Definition, Param, Text

_TRIES: Final = 100_000
_AMOUNTS: Final = (100, 200, 300, 400, 500, 1, 2, 3)


def example_params(
    definition: Definition, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`given`, and for the other required parameters the first values that obey the rules.

    Raises `CannotCheck` when none are found.
    """
    given = given or {}
    missing = [p for p in definition.params if p.name not in given and not p.optional]
    choices = [_values(definition, param, number) for number, param in enumerate(missing)]
    names = [param.name for param in missing]
    for values in islice(product(*choices), _TRIES):
        params = {**given, **dict(zip(names, values, strict=True))}
        if not definition.check_params(params):
            return params
    first = {name: values[0] for name, values in zip(names, choices, strict=True)}
    problems = definition.check_params({**given, **first})
    detail = "; ".join(f"{place}: {reason}" for place, reason in problems)
    raise CannotCheck(definition.name, f"{detail}; give values that obey the rules")


def _values(definition: Definition, param: Param[object], number: int) -> Sequence[Any]:
    """Values to try, the best first. `number`: how many parameters come before."""
    match param:
        case Account():
            return (param.name[:64],)
        case Amount():
            first = number % len(_AMOUNTS)
            return (*_AMOUNTS[first:], *_AMOUNTS[:first])
        case Currency():
            return ("EUR", "USD")
        case Text():
            return ("text",)
        case _:
            kind = type(param).__name__
            raise CannotCheck(definition.name, f"give a value for {param.name}, which is a {kind}")
