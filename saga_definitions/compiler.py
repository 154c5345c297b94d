"""From a definition to its plan, or to the place and the reason why it must not run.

The engine relies on what is checked here: the graph has no cycle, every command can be built and
decoded, and the steps fall into reversible ones, then at most one pivot, then irreversible ones.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from messages.participant import StepCommand
from messages.participants import ANYBODYS, Participant
from messages.plan import CommandTemplate, OnTimeout, Plan, PlannedStep, Retry
from messages.wire import type_name
from saga_definitions.params import Lookup, Param, Ref
from saga_definitions.steps import Command, Step, effect_of

MAX_STEPS: Final = 64
MAX_ATTEMPTS: Final = 1_000
MAX_MS: Final = 7 * 24 * 3_600 * 1_000

# What the engine fills in itself: the effect's name, its age and the way back.
_ENGINE_FIELDS: Final = frozenset(field.name for field in msgspec.structs.fields(StepCommand))
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class DefinitionError(Exception):
    """A definition that must not run: `place` as in "transfer.steps.credit.undo", and why."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def compile_plan(
    name: str,
    version: int,
    deadline_ms: int,
    params: Sequence[Param[object]],
    steps: Sequence[Step],
) -> Plan:
    """The plan of a definition. Raises `DefinitionError`."""
    if not _NAME.fullmatch(name):
        raise DefinitionError(name[:64], "a name is lower case letters, digits and _, at most 40")
    if type(version) is not int or version < 1:
        raise DefinitionError(f"{name}.version", "must be an integer, at least 1")
    _check_ms(f"{name}.deadline_ms", deadline_ms)
    if not steps:
        raise DefinitionError(f"{name}.steps", "a definition needs at least one step")
    if len(steps) > MAX_STEPS:
        raise DefinitionError(f"{name}.steps", f"at most {MAX_STEPS} steps")
    by_name: dict[str, Step] = {}
    for step in steps:
        place = f"{name}.steps.{step.name[:64]}"
        if not _NAME.fullmatch(step.name):
            raise DefinitionError(place, "a step's name is lower case letters, digits and _")
        if step.name in by_name:
            raise DefinitionError(place, "two steps have this name")
        by_name[step.name] = step
    after = _after(name, steps)
    order = _sorted(name, after)
    before = _all_before(order, after)
    _check_pivot(name, by_name, before)
    known = {param.name: param for param in params}
    return Plan(
        name,
        version,
        deadline_ms,
        tuple(_planned(name, by_name[s], after[s], before, known) for s in order),
    )


def _after(name: str, steps: Sequence[Step]) -> dict[str, tuple[str, ...]]:
    names = {step.name for step in steps}
    after: dict[str, tuple[str, ...]] = {}
    previous: tuple[str, ...] = ()
    for step in steps:
        after[step.name] = previous if step.after is None else step.after
        place = f"{name}.steps.{step.name}.after"
        for one in after[step.name]:
            if one not in names:
                raise DefinitionError(place, f"there is no step {one!r}")
        if len(set(after[step.name])) != len(after[step.name]):
            raise DefinitionError(place, "names a step twice")
        previous = (step.name,)
    return after


def _sorted(name: str, after: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Every step after those it waits for; otherwise in the order of writing."""
    order: list[str] = []
    left = list(after)
    while left:
        ready = next((s for s in left if all(b in order for b in after[s])), None)
        if ready is None:
            circle = _circle(left, after)
            raise DefinitionError(
                f"{name}.steps.{circle[0]}.after",
                "the steps wait for each other in a circle: " + " after ".join(circle),
            )
        order.append(ready)
        left.remove(ready)
    return order


def _circle(left: Sequence[str], after: Mapping[str, tuple[str, ...]]) -> list[str]:
    # Every step that is left waits for another one that is left: going back must close a circle.
    path = [left[0]]
    while True:
        ahead = next(b for b in after[path[-1]] if b in left)
        if ahead in path:
            return [*path[path.index(ahead) :], ahead]
        path.append(ahead)


def _all_before(order: Sequence[str], after: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    before: dict[str, set[str]] = {}
    for step in order:
        before[step] = set(after[step]).union(*(before[b] for b in after[step]))
    return before


def _check_pivot(name: str, steps: Mapping[str, Step], before: Mapping[str, set[str]]) -> None:
    pivots = [step.name for step in steps.values() if step.pivot]
    if len(pivots) > 1:
        raise DefinitionError(f"{name}.steps.{pivots[1]}", f"{pivots[0]} is the pivot already")
    pivot = pivots[0] if pivots else None
    for step in steps.values():
        place = f"{name}.steps.{step.name}"
        past = pivot is not None and pivot in before[step.name]
        if pivot is not None and step.name != pivot and not past and step.name not in before[pivot]:
            raise DefinitionError(
                place,
                f"runs beside the pivot {pivot}: every step comes before the pivot or after it",
            )
        if step.pivot:
            if step.undo is not None:
                raise DefinitionError(f"{place}.undo", "the pivot is never undone")
        elif step.undo is not None:
            if step.irreversible:
                raise DefinitionError(f"{place}.undo", "declared irreversible, yet has an undo")
            if past:
                raise DefinitionError(
                    f"{place}.undo",
                    f"reversible, yet after the pivot {pivot}: from there a saga only goes forward",
                )
        elif not step.irreversible:
            raise DefinitionError(
                place, "needs an undo, or must be declared the pivot or irreversible"
            )
        elif not past:
            raise DefinitionError(
                place,
                "irreversible, yet not after the pivot: a saga that turns back could not take it "
                "back; make it the pivot",
            )


def _planned(
    name: str,
    step: Step,
    after: tuple[str, ...],
    before: Mapping[str, set[str]],
    params: Mapping[str, Param[object]],
) -> PlannedStep:
    place = f"{name}.steps.{step.name}"
    _check_ms(f"{place}.timeout_ms", step.timeout_ms)
    _check_retry(f"{place}.retry", step.retry, step.do.participant)
    _check_retry(f"{place}.undo_retry", step.undo_retry, step.do.participant)
    if step.undo_retry.retryable:
        raise DefinitionError(
            f"{place}.undo_retry.retryable", "an undo is tried again on every refusal: leave empty"
        )
    if step.on_timeout not in get_args(OnTimeout):
        raise DefinitionError(f"{place}.on_timeout", f"must be one of {get_args(OnTimeout)}")
    if step.on_timeout == "enquire" and not step.do.participant.enquiries:
        raise DefinitionError(
            f"{place}.on_timeout", f"{step.do.participant.name} answers no enquiries"
        )
    if step.on_timeout == "compensate" and step.undo is None:
        raise DefinitionError(
            f"{place}.on_timeout", "the outcome is unknown and can't be taken back: must be retry"
        )
    seen = before[step.name]
    planned = PlannedStep(
        name=step.name,
        do=_template(f"{place}.do", step.do, params, seen, seen),
        undo=None
        if step.undo is None
        else _template(f"{place}.undo", step.undo, params, seen | {step.name}, seen),
        after=after,
        pivot=step.pivot,
        retry=step.retry,
        undo_retry=step.undo_retry,
        timeout_ms=step.timeout_ms,
        on_timeout=step.on_timeout,
    )
    _check_inverse(f"{place}.undo", step)
    return planned


def _check_inverse(place: str, step: Step) -> None:
    """An undo must put back exactly what its step did, or money stays in transit."""
    if step.undo is None or step.do.kind not in step.do.participant.inverse:
        return
    kind = step.do.participant.inverse[step.do.kind]
    if kind is None or step.undo.kind is not kind:
        wanted = "nothing: make it the pivot" if kind is None else kind.__name__
        raise DefinitionError(place, f"a {step.do.kind.__name__} is taken back by {wanted}")
    done = {field.name for field in msgspec.structs.fields(step.do.kind)}
    for field in msgspec.structs.fields(kind):
        name = field.name
        if name in _ENGINE_FIELDS or (name not in done and name != "hold_id"):
            continue
        # A hold is named by the effect that made it.
        expected = effect_of(step.name) if name == "hold_id" else step.do.fields.get(name)
        if _written(step.undo.fields.get(name)) != _written(expected):
            raise DefinitionError(f"{place}.{name}", "must be the same as what the step did")


def _written(value: object) -> object:
    if isinstance(value, Lookup):
        return (value.path, value.table)
    return value.path if isinstance(value, Ref) else value


def _template(
    place: str,
    command: Command,
    params: Mapping[str, Param[object]],
    effects: set[str],
    results: set[str],
) -> CommandTemplate:
    """`effects`, `results`: the steps whose effect id, or result, is known when this is sent."""
    kind, to = command.kind, command.participant
    if kind not in to.commands:
        raise DefinitionError(place, f"the participant {to.name} takes no {kind.__name__}")
    fields: dict[str, Any] = {}
    for declared in msgspec.structs.fields(kind):
        at = f"{place}.{declared.name}"
        if declared.name not in command.fields:
            if declared.required and declared.name not in _ENGINE_FIELDS:
                raise DefinitionError(at, f"{kind.__name__} requires it")
            continue
        if declared.name in _ENGINE_FIELDS:
            raise DefinitionError(at, "is filled in by the engine")
        value = command.fields[declared.name]
        if isinstance(value, Lookup):
            _check_lookup(at, value, declared.type, params)
            fields[declared.name] = {"ref": value.path, "among": dict(value.table)}
        elif isinstance(value, Ref):
            _check_ref(at, value, declared.type, params, effects, results)
            fields[declared.name] = {"ref": value.path}
        else:
            fields[declared.name] = _literal(at, value, declared.type)
    for unknown in command.fields.keys() - fields.keys():
        raise DefinitionError(f"{place}.{unknown}", f"{kind.__name__} has no such field")
    return CommandTemplate(to.topic, type_name(kind), to.key, fields, to.partitions)


def _literal(place: str, value: object, wire: Any) -> object:
    try:
        return msgspec.convert(value, wire)
    except msgspec.ValidationError as error:
        raise DefinitionError(place, str(error)) from error


def _check_lookup(
    place: str, lookup: Lookup, wire: Any, params: Mapping[str, Param[object]]
) -> None:
    param = params.get(lookup.param.name)
    if param is not lookup.param:
        raise DefinitionError(place, f"{lookup.path} is not a parameter of this definition")
    for value in lookup.table.values():
        _literal(place, value, wire)
    missing = [key for key in lookup.param.choices or ("anything else",) if key not in lookup.table]
    if missing:
        raise DefinitionError(place, f"the table for {lookup.path} lacks {', '.join(missing)}")


def _check_ref(
    place: str,
    ref: Ref[object],
    wire: Any,
    params: Mapping[str, Param[object]],
    effects: set[str],
    results: set[str],
) -> None:
    root, _, rest = ref.path.partition(".")
    if root == "params":
        param = params.get(rest)
        if param is None or param is not ref:
            raise DefinitionError(place, f"{ref.path} is not a parameter of this definition")
        if param.optional:
            raise DefinitionError(place, f"{ref.path} is optional: a command can't rely on it")
    elif root == "effect":
        if rest not in effects:
            raise DefinitionError(place, f"no step {rest!r} comes before")
    elif root == "steps":
        step = rest.partition(".")[0]
        if step in effects and step not in results:
            raise DefinitionError(
                place, f"{ref.path} is unknown when the step timed out: use effect_of({step!r})"
            )
        if step not in results:
            raise DefinitionError(place, f"no step {step!r} comes before")
    else:
        raise DefinitionError(place, f"unknown reference {ref.path!r}")
    if ref.wire is not None and ref.wire != wire:
        raise DefinitionError(place, f"{ref.path} is of another type than this field")


def _check_ms(place: str, value: int) -> None:
    if type(value) is not int or not 1 <= value <= MAX_MS:
        raise DefinitionError(place, f"must be an integer of ms, 1 to {MAX_MS} (7 days)")


def _check_retry(place: str, retry: Retry, participant: Participant) -> None:
    if type(retry.attempts) is not int or not 1 <= retry.attempts <= MAX_ATTEMPTS:
        raise DefinitionError(f"{place}.attempts", f"must be an integer, 1 to {MAX_ATTEMPTS}")
    _check_ms(f"{place}.first_delay_ms", retry.first_delay_ms)
    _check_ms(f"{place}.max_delay_ms", retry.max_delay_ms)
    if retry.max_delay_ms < retry.first_delay_ms:
        raise DefinitionError(f"{place}.max_delay_ms", "must not be below first_delay_ms")
    if type(retry.factor) not in (int, float) or not 1 <= retry.factor <= 100:
        raise DefinitionError(f"{place}.factor", "must be a number, 1 to 100")
    for reason in retry.retryable:
        known = participant.refusals
        if known is not None and reason not in known and reason not in ANYBODYS:
            raise DefinitionError(
                f"{place}.retryable", f"{participant.name} never refuses with {reason!r}"
            )
