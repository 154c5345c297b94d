"""Whether a step had to be done or skipped, told from a saga's parameters alone: written anew, so
that a mistake in the engine's own reading of conditions can't hide behind itself.
"""

from typing import Any, Final

from messages.plan import Condition, PlannedStep

_UNKNOWN: Final = object()


def due(step: PlannedStep, params: dict[str, Any]) -> bool | None:
    """True: it must be done; False: it must be skipped; None: that depends on results."""
    met = [_met(condition, params) for condition in step.when]
    if False in met:
        return False
    return None if None in met else True


def _met(condition: Condition, params: dict[str, Any]) -> bool | None:
    left, right = _value(condition.left, params), _value(condition.right, params)
    if left is _UNKNOWN or right is _UNKNOWN:
        return None
    equal = type(left) is type(right) and left == right
    if condition.test in ("==", "!="):
        return equal is (condition.test == "==")
    if type(left) is not int or type(right) is not int:
        return None
    if condition.test in ("<", ">"):
        return left < right if condition.test == "<" else left > right
    return left <= right if condition.test == "<=" else left >= right


def legs(step: PlannedStep, params: dict[str, Any]) -> int | None:
    """How many legs the step has; None: it is not done leg by leg."""
    if not step.each:
        return None
    elements = _value({"ref": step.each}, params)
    return len(elements) if isinstance(elements, list) else 0  # pyright: ignore[reportUnknownArgumentType]


def _value(side: Any, params: dict[str, Any]) -> Any:
    if not isinstance(side, dict):
        return side
    root, *path = side["ref"].split(".")
    if root != "params":
        return _UNKNOWN
    value: Any = params
    for part in path:
        try:
            value = value[int(part) if isinstance(value, list) else part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value
