"""The language of saga definitions: everything that a definition file imports, in one place.

A definition file declares its parameters, then calls `define` with its steps. What `define`
returns has been checked as a whole and is ready to run.
"""

from collections.abc import Mapping

from messages.child import StartChild, UndoChild
from messages.participants import SAGAS
from messages.plan import Retry
from saga_definitions.compiler import compile_plan
from saga_definitions.definition import Definition
from saga_definitions.nesting import Accepts, patience
from saga_definitions.order import DefinitionError
from saga_definitions.params import (
    Account,
    Amount,
    Currency,
    Instant,
    Legs,
    Params,
    Person,
    Problem,
    Rate,
    Text,
    Transfer,
)
from saga_definitions.rules import AddUp, AtMost, Converted, Differ, Rule
from saga_definitions.steps import (
    BACKWARD,
    PASSES,
    WIDTH,
    Command,
    Condition,
    Step,
    Value,
    When,
    all_of,
    ask,
    choose,
    command,
    condition,
    effect_of,
    leg_effect_of,
    lock,
    result_of,
    step,
    unlock,
    wait_for,
    wait_until,
)
from saga_definitions.timetable import (
    Count,
    Day,
    Instants,
    Rhythm,
    TimeOfDay,
    Timetable,
    Zone,
)

__all__ = [
    "Account",
    "AddUp",
    "Amount",
    "AtMost",
    "Condition",
    "Converted",
    "Count",
    "Currency",
    "Day",
    "Definition",
    "DefinitionError",
    "Differ",
    "Instant",
    "Instants",
    "Legs",
    "Params",
    "Person",
    "Problem",
    "Rate",
    "Retry",
    "Rhythm",
    "Step",
    "Text",
    "TimeOfDay",
    "Timetable",
    "Transfer",
    "Zone",
    "ask",
    "choose",
    "command",
    "condition",
    "define",
    "effect_of",
    "leg_effect_of",
    "lock",
    "nested",
    "result_of",
    "step",
    "unlock",
    "wait_for",
    "wait_until",
]


def define(
    name: str,
    *,
    version: int,
    params: Params,
    steps: tuple[Step, ...],
    rules: tuple[Rule, ...] = (),
    timetable: Timetable | None = None,
    deadline_ms: int = 60_000,
) -> Definition:
    """A definition, checked. Raises `DefinitionError` with the place and the reason.

    Steps run one after the other unless `after=` says otherwise. `deadline_ms` after its start, or
    after the end of its last wait, a saga that has not passed its pivot turns back. A plan that
    ran keeps its version: change the steps, raise the version. `timetable` fills the parameter
    that is `Instants` when a saga begins.
    """
    declared = params.declared()
    for rule in rules:
        for one in rule.names:
            if all(param.name != one for param in declared):
                raise DefinitionError(f"{name}.rules", f"there is no parameter {one!r}")
    into = None if timetable is None else timetable.into
    for param in declared:
        if isinstance(param, Instants) and param is not into:
            raise DefinitionError(f"{name}.timetable", f"nothing fills {param.name}")
    plan = compile_plan(name, version, deadline_ms, declared, steps)
    commands = (one for s in steps for one in (s.do, s.undo, *s.undo_cases.values()))
    participants = {one.participant.name: one.participant for one in commands if one is not None}
    return Definition(
        name,
        version,
        plan,
        tuple(param for param in declared if param is not into),
        (*rules, *(Accepts(one) for one in steps if one.child is not None)),
        tuple(participants.values()),
        tuple({id(s.child): s.child for s in steps if s.child is not None}.values()),
        timetable,
    )


def nested(
    name: str,
    child: Definition,
    /,
    *,
    given: Mapping[str, Value],
    after: tuple[str, ...] | None = None,
    irreversible: bool = False,
    pivot: bool = False,
    timeout_ms: int = 10_000,
    when: When = (),
    by: Instant | None = None,
    each: Instants | None = None,
    width: int = WIDTH,
) -> Step:
    """One step that is a saga of the definition `child`, in this very version. `given`: its
    parameters, as the fields of a command. All else is as in `step`.

    The step is done when the child is completed, and refused with its reason when it is
    compensated. It is undone by taking the child back, which therefore must not have a pivot,
    unless the step is the pivot itself, or `irreversible`. As long as the child has not ended the
    step waits; after `timeout_ms` it asks again, ever more rarely.

    `each`: for the pivot alone: there is one saga at each of these instants, none before, and at
    most `width` at a time are waited for. It goes on to the last one, and leaves out what is
    refused; until then cancelling leaves out those to come.
    """
    once = pivot or irreversible
    # Before the pivot the deadline bounds what may pass; later a person is told at once.
    passing = PASSES if irreversible else (*PASSES, "definition_unknown", "participant_busy")
    return Step(
        name,
        Command(SAGAS, StartChild, given),
        None if once else Command(SAGAS, UndoChild, {}),
        after,
        irreversible,
        pivot,
        patience(*passing),
        BACKWARD if once else patience(),
        timeout_ms,
        when=all_of(when),
        by=by,
        child=child,
        each=each,
        width=width if each else 0,
    )
