"""The language of saga definitions: everything that a definition file imports, in one place.

A definition file declares its parameters, then calls `define` with its steps. What `define`
returns has been checked as a whole and is ready to run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from messages.participants import Participant
from messages.plan import Plan, Retry
from saga_definitions.compiler import compile_plan
from saga_definitions.order import DefinitionError
from saga_definitions.params import (
    Account,
    Amount,
    Currency,
    Instant,
    Legs,
    Param,
    Params,
    Person,
    Problem,
    Rate,
    Text,
)
from saga_definitions.rules import AddUp, Converted, Differ, Rule, check
from saga_definitions.steps import (
    Condition,
    Step,
    ask,
    choose,
    command,
    condition,
    effect_of,
    leg_effect_of,
    result_of,
    step,
    wait_for,
    wait_until,
)

__all__ = [
    "Account",
    "AddUp",
    "Amount",
    "Condition",
    "Converted",
    "Currency",
    "Definition",
    "DefinitionError",
    "Differ",
    "Instant",
    "Legs",
    "Params",
    "Person",
    "Problem",
    "Rate",
    "Retry",
    "Step",
    "Text",
    "ask",
    "choose",
    "command",
    "condition",
    "define",
    "effect_of",
    "leg_effect_of",
    "result_of",
    "step",
    "wait_for",
    "wait_until",
]


@dataclass(frozen=True)
class Definition:
    """A checked definition: its plan, what its callers may pass in, and whom it asks."""

    name: str
    version: int
    plan: Plan
    params: tuple[Param[object], ...]
    rules: tuple[Rule, ...]
    participants: tuple[Participant, ...]

    @property
    def is_long(self) -> bool:
        """Whether its parameters may have thousands of elements."""
        return any(step.each for step in self.plan.steps)

    def check_params(self, params: Mapping[str, object]) -> list[Problem]:
        """What is wrong with `params` as (place, reason); empty when they are good.

        Takes anything that JSON can hold, never raises for content, repeats no value.
        """
        return check(self.params, self.rules, params)


def define(
    name: str,
    *,
    version: int,
    params: Params,
    steps: tuple[Step, ...],
    rules: tuple[Rule, ...] = (),
    deadline_ms: int = 60_000,
) -> Definition:
    """A definition, checked. Raises `DefinitionError` with the place and the reason.

    Steps run one after the other unless `after=` says otherwise. `deadline_ms` after its start, or
    after the end of its last wait, a saga that has not passed its pivot turns back. A plan that
    ran keeps its version: change the steps, raise the version.
    """
    declared = params.declared()
    for rule in rules:
        for one in rule.names:
            if all(param.name != one for param in declared):
                raise DefinitionError(f"{name}.rules", f"there is no parameter {one!r}")
    plan = compile_plan(name, version, deadline_ms, declared, steps)
    commands = (one for s in steps for one in (s.do, s.undo, *s.undo_cases.values()))
    participants = {one.participant.name: one.participant for one in commands if one is not None}
    return Definition(name, version, plan, declared, rules, tuple(participants.values()))
