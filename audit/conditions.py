"""Whether a step had to be done or skipped, when, and after whose word, told from a saga's
parameters alone: written anew, so that a mistake in the engine's own reading can't hide behind
itself.
"""

from typing import Any, Final

import msgspec

from messages.instant import instant_ms
from messages.plan import AwaitSignal, AwaitTime, Condition, PlannedStep, leg_name
from messages.saga import SagaStarted

_UNKNOWN: Final = object()


class Terms(msgspec.Struct, frozen=True):
    """What a saga's start lays down for its steps. `due`: those with conditions -> whether they
    must be done (None: depends on results); `barred`: step -> the person whose approval does not
    count; `earliest`: step or leg -> before when (ms since 1970) it is not asked for, nor its wait
    over; `latest`: after when it is not begun."""

    due: dict[str, bool | None] = {}
    barred: dict[str, str] = {}
    earliest: dict[str, int] = {}
    latest: dict[str, int] = {}


def terms(event: SagaStarted) -> Terms:
    params, found = event.params, Terms({}, {}, {}, {})
    for step in event.plan.steps:
        if step.when:
            found.due[step.name] = due(step, params)
        if isinstance(step.wait, AwaitSignal) and step.wait.not_by:
            found.barred[step.name] = str(_value({"ref": step.wait.not_by}, params))
        if isinstance(step.wait, AwaitTime):
            _note(found.earliest, step.name, _value({"ref": step.wait.until}, params))
        if step.by:
            _note(found.latest, step.name, _value({"ref": step.by}, params))
        if step.at:
            within = step.at.removeprefix("each")
            for leg in range(legs(step, params) or 0):
                path = f"{step.each}.{leg}{within}"
                _note(found.earliest, leg_name(step.name, leg), _value({"ref": path}, params))
    return found


def _note(times: dict[str, int], name: str, instant: Any) -> None:
    at_ms = instant_ms(instant)
    if at_ms is not None:
        times[name] = at_ms


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
