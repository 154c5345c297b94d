"""From a definition to its plan, or to the place and the reason why it must not run.

The engine relies on what is checked here and in `order.py`: every command can be built and decoded,
an undo puts back what its step moved, and whoever relies on a step is skipped together with it.
"""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec

from messages.account import AccountId
from messages.child import START_CHILD, StartChild, UndoChild
from messages.claims import Resource
from messages.money import Amount
from messages.participant import StepCommand
from messages.participants import ACCOUNTS, ANYBODYS, SAGAS, Participant
from messages.plan import (
    AwaitSignal,
    AwaitTime,
    CommandTemplate,
    OnTimeout,
    Plan,
    PlannedStep,
    Retry,
    Test,
)
from messages.plan import Condition as PlannedCondition
from messages.wire import type_name
from saga_definitions.definition import Definition
from saga_definitions.locks import check_locks
from saga_definitions.nesting import MAX_LEGS, legs_given, problem_of
from saga_definitions.order import (
    DefinitionError,
    all_before,
    check_pivot,
    check_waits,
    in_order,
    predecessors,
)
from saga_definitions.params import Instant, Legs, Lookup, Param, Person, Ref, written
from saga_definitions.steps import Command, Side, Signal, Step, Value, effect_of, leg_effect_of
from saga_definitions.timetable import Instants

MAX_STEPS: Final = 64
LEGS_RESULT: Final = ("applied", "refused", "refused_minor")
"""The result of a step that is done leg by leg, as `orchestrator.legs` makes it."""
MAX_WIDTH: Final = 200
"""Legs that one event may set going: bounds how long the engine is held by it."""
MAX_ATTEMPTS: Final = 1_000
_DAY_MS: Final = 24 * 3_600 * 1_000
MAX_MS: Final = 7 * _DAY_MS
MAX_SIGNAL_MS: Final = 366 * _DAY_MS

# What the engine fills in itself: the effect's name, its age and the way back.
_ENGINE_FIELDS: Final = frozenset(field.name for field in msgspec.structs.fields(StepCommand))
_NAMES: Final = ("hold_id", "lock_id")
_WIDER: Final = ((AccountId, Resource),)
"""What is good for the first is good for the second."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


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
        if step.child is not None and (why := problem_of(name, deadline_ms, step, step.child)):
            raise DefinitionError(place, why)
        given = sum(map(legs_given, by_name.values()))
        if given > MAX_LEGS:
            raise DefinitionError(
                place, f"up to here {given} legs are given to sagas that are steps, of {MAX_LEGS}"
            )
    after = predecessors(name, steps)
    order = in_order(name, after)
    before = all_before(order, after)
    check_pivot(name, by_name, before)
    check_waits(name, by_name, before)
    check_locks(name, by_name, before)
    known = {param.name: param for param in params}
    planned: dict[str, PlannedStep] = {}
    for one in order:
        step = by_name[one]
        scope = _Scope(known, planned, before[one], _conditions(step), one, step.each)
        planned[one] = _planned(name, step, after[one], scope)
    return Plan(name, version, deadline_ms, tuple(planned.values()))


@dataclass(frozen=True)
class _Scope:
    """What a step can refer to: parameters, the steps `before` it as planned, and what is known
    of both because its own conditions hold."""

    params: Mapping[str, Param[object]]
    planned: Mapping[str, PlannedStep]
    before: set[str]
    when: tuple[PlannedCondition, ...]
    name: str
    each: Legs | Instants | None


def _conditions(step: Step) -> tuple[PlannedCondition, ...]:
    return tuple(PlannedCondition(_side(one.left), one.test, _side(one.right)) for one in step.when)


def _side(value: Side) -> object:
    return {"ref": value.path} if isinstance(value, Ref) else value


def _check_when(place: str, step: Step, scope: _Scope) -> None:
    for one in step.when:
        if one.test not in get_args(Test):
            raise DefinitionError(place, f"no test is called {one.test!r}")
        sides = (one.left, one.right)
        refs = [side for side in sides if isinstance(side, Ref)]
        if not refs:
            raise DefinitionError(place, "compares two literals")
        for ref in refs:
            if ref.path.startswith("effect."):
                raise DefinitionError(place, "an effect id says nothing")
            # A parameter that may be left out can be compared: it equals None then.
            _check_ref(place, ref, ref.wire, scope, scope.before, may_lack=True)
        if one.test not in ("==", "!="):
            if not all(_is_number(side) for side in sides):
                raise DefinitionError(place, "only integers have an order")
        elif len(refs) == 1 and refs[0].wire is not None:
            (literal,) = (side for side in sides if not isinstance(side, Ref))
            if literal is not None:
                _literal(place, literal, refs[0].wire)


def _is_number(side: Side) -> bool:
    return side.wire in (None, Amount) if isinstance(side, Ref) else type(side) is int


def _wait(place: str, step: Step, scope: _Scope) -> AwaitSignal | AwaitTime | None:
    wait = step.wait
    if isinstance(wait, Signal):
        _check_ms(f"{place}.timeout_ms", wait.timeout_ms, MAX_SIGNAL_MS)
        return AwaitSignal(wait.timeout_ms, _param(f"{place}.not_by", wait.not_by, scope, Person))
    return None if wait is None else AwaitTime(_param(f"{place}.at", wait, scope, Instant))


def _param(place: str, param: Param[Any] | None, scope: _Scope, kind: type[Param[Any]]) -> str:
    """The path of a parameter that the engine itself looks at; "" for None."""
    if param is None:
        return ""
    if not isinstance(param, kind):
        raise DefinitionError(place, f"must be a parameter of type {kind.__name__}")
    _check_ref(place, param, param.wire, scope, set())
    return param.path


def _planned(name: str, step: Step, after: tuple[str, ...], scope: _Scope) -> PlannedStep:
    place = f"{name}.steps.{step.name}"
    _check_when(f"{place}.when", step, scope)
    _check_ms(f"{place}.timeout_ms", step.timeout_ms)
    participant = None if step.do is None else step.do.participant
    _check_retry(f"{place}.retry", step.retry, participant)
    _check_retry(f"{place}.undo_retry", step.undo_retry, participant)
    if step.undo_retry.retryable:
        raise DefinitionError(
            f"{place}.undo_retry.retryable", "an undo is tried again on every refusal: leave empty"
        )
    if step.on_timeout not in get_args(OnTimeout):
        raise DefinitionError(f"{place}.on_timeout", f"must be one of {get_args(OnTimeout)}")
    if participant is not None and step.on_timeout == "enquire" and not participant.enquiries:
        raise DefinitionError(f"{place}.on_timeout", f"{participant.name} answers no enquiries")
    if step.on_timeout == "compensate" and step.undo is None:
        raise DefinitionError(
            f"{place}.on_timeout", "the outcome is unknown and can't be taken back: must be retry"
        )
    wait = _wait(place, step, scope)
    if step.do is None and wait is None:
        # Its undo would move money that nothing has moved before.
        raise DefinitionError(
            f"{place}.do", "must be a command: what waits is wait_for, wait_until"
        )
    _check_each(f"{place}.each", step, scope)
    results = scope.before
    effects = results | {step.name}
    if step.child is None:
        if participant is SAGAS:
            raise DefinitionError(f"{place}.do", "a step that is a saga is written nested(...)")
        do = step.do and _template(f"{place}.do", step.do, scope, results, results)
        undo = step.undo and _template(f"{place}.undo", step.undo, scope, effects, results)
    else:
        assert step.do is not None
        do = _start_template(f"{place}.given", step.name, step.child, step.do.fields, scope)
        undo = step.undo and _to_sagas(UndoChild, _child(step.name))
    planned = PlannedStep(
        name=step.name,
        do=do,
        undo=undo,
        after=after,
        pivot=step.pivot,
        retry=step.retry,
        undo_retry=step.undo_retry,
        timeout_ms=step.timeout_ms,
        on_timeout=step.on_timeout,
        wait=wait,
        when=scope.when,
        by=_param(f"{place}.by", step.by, scope, Instant),
        undo_by=step.undo_by,
        undo_cases={
            # A case is chosen by the step's own result, so it may refer to that.
            case: _template(f"{place}.undo.{case}", undo, scope, effects, effects)
            for case, undo in step.undo_cases.items()
        },
        each=step.each.path if step.each else "",
        width=step.width,
        at="each" if isinstance(step.each, Instants) else "",
    )
    if step.do is not None and step.undo is not None and step.child is None:
        effect = leg_effect_of(step.name) if step.each else effect_of(step.name)
        _check_inverse(f"{place}.undo", effect, step.do, step.undo)
        for case, undo in step.undo_cases.items():
            _check_inverse(f"{place}.undo.{case}", effect, step.do, undo)
    return planned


def _check_each(place: str, step: Step, scope: _Scope) -> None:
    """What is done for each leg must be simple enough to be kept as one letter a leg."""
    if step.each is None:
        return
    _check_ref(place, step.each, step.each.wire, scope, set())
    if type(step.width) is not int or not 1 <= step.width <= MAX_WIDTH:
        raise DefinitionError(f"{place}.width", f"must be an integer, 1 to {MAX_WIDTH}")
    if isinstance(step.each, Instants):
        if step.child is None or not step.pivot:
            raise DefinitionError(place, "only a saga that is the pivot is done at many times")
        return
    for one in (step.do, step.undo):
        if one is not None and one.participant is not ACCOUNTS:
            raise DefinitionError(place, "only accounts can be asked leg by leg")
    if step.undo_cases or step.on_timeout != "retry":
        raise DefinitionError(place, "takes neither choose() nor another on_timeout than retry")


def _check_inverse(place: str, effect: Ref[str], do: Command, undo: Command) -> None:
    """An undo must put back exactly what its step, of that effect, did, or money stays in
    transit."""
    if do.kind not in do.participant.inverse:
        return
    kind = do.participant.inverse[do.kind]
    if kind is None or undo.kind is not kind:
        wanted = "nothing: make it the pivot" if kind is None else kind.__name__
        raise DefinitionError(place, f"a {do.kind.__name__} is taken back by {wanted}")
    done = {field.name for field in msgspec.structs.fields(do.kind)}
    for declared in msgspec.structs.fields(kind):
        field = declared.name
        if field in _ENGINE_FIELDS or (field not in done and field not in _NAMES):
            continue
        # A hold and a lock are named by the effect that made them.
        expected = effect if field in _NAMES else do.fields.get(field)
        if written(undo.fields.get(field)) != written(expected):
            raise DefinitionError(f"{place}.{field}", "must be the same as what the step did")


def _template(
    place: str,
    command: Command,
    scope: _Scope,
    effects: AbstractSet[str],
    results: AbstractSet[str],
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
        if isinstance(value, Ref):
            fields[declared.name] = _reference(at, value, declared.type, scope, results, effects)
        else:
            fields[declared.name] = _literal(at, value, declared.type)
    for unknown in command.fields.keys() - fields.keys():
        raise DefinitionError(f"{place}.{unknown}", f"{kind.__name__} has no such field")
    return CommandTemplate(to.topic, type_name(kind), to.key, fields, to.partitions)


def _reference(
    place: str,
    value: Ref[object],
    wire: Any,
    scope: _Scope,
    results: AbstractSet[str],
    effects: AbstractSet[str],
) -> dict[str, Any]:
    if isinstance(value, Lookup):
        _check_lookup(place, value, wire, scope)
        return {"ref": value.path, "among": dict(value.table)}
    _check_ref(place, value, wire, scope, results, effects)
    return {"ref": value.path}


def _start_template(
    place: str, step: str, child: Definition, given: Mapping[str, Value], scope: _Scope
) -> CommandTemplate:
    """What begins `child` as the step `step`, with the parameters `given`."""
    fields: dict[str, Any] = {
        **_child(step),
        "definition": child.name,
        "version": child.version,
    }
    for param in child.params:
        at = f"{place}.{param.name}"
        if param.name not in given:
            if not param.optional:
                raise DefinitionError(at, f"{child.name} requires it")
            continue
        value = given[param.name]
        if isinstance(value, Ref):
            value = _reference(at, value, param.wire, scope, scope.before, scope.before)
        elif problem := param.problem(value):
            raise DefinitionError(at, problem)
        fields[f"params.{param.name}"] = value
    for unknown in given.keys() - {param.name for param in child.params}:
        raise DefinitionError(f"{place}.{unknown}", f"{child.name} has no such parameter")
    return _to_sagas(StartChild, fields)


def _child(step: str) -> dict[str, Any]:
    return {SAGAS.key: {"ref": f"child.{step}"}}


def _to_sagas(kind: type[StepCommand], fields: dict[str, Any]) -> CommandTemplate:
    return CommandTemplate(SAGAS.topic, type_name(kind), SAGAS.key, fields, SAGAS.partitions)


def _literal(place: str, value: object, wire: Any) -> object:
    try:
        return msgspec.convert(value, wire)
    except msgspec.ValidationError as error:
        raise DefinitionError(place, str(error)) from error


def _check_lookup(place: str, lookup: Lookup, wire: Any, scope: _Scope) -> None:
    if scope.params.get(lookup.param.name) is not lookup.param:
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
    scope: _Scope,
    results: AbstractSet[str],
    effects: AbstractSet[str] = frozenset(),
    *,
    may_lack: bool = False,
) -> None:
    root, _, rest = ref.path.partition(".")
    step = rest.partition(".")[0]
    if root == "params":
        param = scope.params.get(step)
        if param is None or not param.has(ref):
            raise DefinitionError(place, f"{ref.path} is not a parameter of this definition")
        if param.may_lack(ref) and not may_lack and not _is_given(ref.path, scope.when):
            raise DefinitionError(
                place,
                f"{ref.path} is optional: a command can't rely on it, unless its step has "
                'when=condition(..., "!=", None)',
            )
    elif root == "each":
        if not isinstance(scope.each, Legs) or rest not in ("target", "amount_minor"):
            raise DefinitionError(place, f"{ref.path}: the step is not done for each leg")
    elif root == "effect":
        if step not in effects:
            raise DefinitionError(place, f"no step {step!r} comes before")
        _check_leg_effect(place, step, scope, is_leg=rest != step)
    elif root == "steps":
        if step in effects and step not in results:
            raise DefinitionError(
                place, f"{ref.path} is unknown when the step timed out: use effect_of({step!r})"
            )
        if step not in results:
            raise DefinitionError(place, f"no step {step!r} comes before")
        if scope.planned[step].each and ref.path.rpartition(".")[2] not in LEGS_RESULT:
            raise DefinitionError(place, f"{step!r} has no result but {', '.join(LEGS_RESULT)}")
        do = scope.planned[step].do if step in scope.planned else None
        if do is not None and do.type == START_CHILD:
            raise DefinitionError(place, f"step {step!r} is a saga: it answers with nothing")
    else:
        raise DefinitionError(place, f"unknown reference {ref.path!r}")
    if root in ("effect", "steps") and step in scope.planned:
        missing = [one for one in scope.planned[step].when if one not in scope.when]
        if missing:
            raise DefinitionError(
                place, f"step {step!r} may be skipped: whoever relies on it needs the same when"
            )
    if ref.wire not in (None, wire) and (ref.wire, wire) not in _WIDER:
        raise DefinitionError(place, f"{ref.path} is of another type than this field")


def _check_leg_effect(place: str, step: str, scope: _Scope, *, is_leg: bool) -> None:
    """Legs can only refer to the legs of another step one by one, and of the same list."""
    own = scope.each.path if scope.each else ""
    each = own if step == scope.name else scope.planned[step].each
    if is_leg and not (each and each == own):
        raise DefinitionError(place, f"{step!r} is not done for each leg of the same list")
    if each and not is_leg:
        raise DefinitionError(place, f"{step!r} has many effects: use leg_effect_of({step!r})")


def _is_given(path: str, when: tuple[PlannedCondition, ...]) -> bool:
    """Whether a condition says that the parameter at `path`, or what it is a part of, is there."""
    for one in when:
        if one.test == "!=" and one.right is None:
            there: str = one.left["ref"]
            if path == there or path.startswith(f"{there}."):
                return True
    return False


def _check_ms(place: str, value: int, most: int = MAX_MS) -> None:
    if type(value) is not int or not 1 <= value <= most:
        days = most // _DAY_MS
        raise DefinitionError(place, f"must be an integer of ms, 1 to {most} ({days} days)")


def _check_retry(place: str, retry: Retry, participant: Participant | None) -> None:
    if type(retry.attempts) is not int or not 1 <= retry.attempts <= MAX_ATTEMPTS:
        raise DefinitionError(f"{place}.attempts", f"must be an integer, 1 to {MAX_ATTEMPTS}")
    _check_ms(f"{place}.first_delay_ms", retry.first_delay_ms)
    _check_ms(f"{place}.max_delay_ms", retry.max_delay_ms)
    if retry.max_delay_ms < retry.first_delay_ms:
        raise DefinitionError(f"{place}.max_delay_ms", "must not be below first_delay_ms")
    if type(retry.factor) not in (int, float) or not 1 <= retry.factor <= 100:
        raise DefinitionError(f"{place}.factor", "must be a number, 1 to 100")
    if participant is None or participant.refusals is None:
        return
    for reason in retry.retryable:
        if reason not in participant.refusals and reason not in ANYBODYS:
            raise DefinitionError(
                f"{place}.retryable", f"{participant.name} never refuses with {reason!r}"
            )
