"""One saga as the audit sees it: while it is looked at (`Case`), and when nothing is left to check
(`Closed`)."""

from typing import NamedTuple

import msgspec

from audit.conditions import Terms
from audit.effects import Effect


class PlanStep(NamedTuple):
    """What the audit has to know of a step; one that `waits` has no effect. `legs`: how many it
    has, if it is done leg by leg; it `collects` those that are refused. `after`: the steps that
    come right before it."""

    name: str
    reversible: bool
    waits: bool = False
    legs: int | None = None
    collects: bool = False
    after: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        """What its effects are named after."""
        if self.legs is None:
            return [self.name]
        return [f"{self.name}.{leg}" for leg in range(self.legs)]


class Outcome(NamedTuple):
    """How a saga stands; `applied` are the effects that happened. Shared by all that are equal."""

    partition: int
    definition: str
    version: int
    state: str
    reason: str
    step: str
    applied: frozenset[str] = frozenset()


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A finished saga with nothing left to check but, perhaps, its reversals; `facts` as in
    `Case`."""

    outcome: Outcome
    finished_ms: int
    facts: int


class Case(msgspec.Struct):
    """A saga that is still looked at. `effects`: step/direction -> effect; `holds`: those that
    are neither captured nor released; `started_at` -1: its journal has not told of it yet.
    `passed`: steps that waited for what came; `skipped`: by their conditions. `facts`: of what can
    be reversed, a digest of source, target, amount and currency (within this process), else 0."""

    saga_id: str
    partition: int = -1
    started_at: int = -1
    definition: str = ""
    version: int = 0
    steps: tuple[PlanStep, ...] = ()
    state: str = ""
    reason: str = ""
    step: str = ""
    finished_at: int = -1
    finished_ms: int = 0
    facts: int = 0
    effects: dict[str, Effect] = {}
    transit: dict[str, int] = {}
    holds: set[str] = set()
    passed: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    terms: Terms = Terms()
    awaited: int = 0
    """Effects that the saga was told of and the accounts' journal has not told of yet."""
    is_child: bool = False
    """It is a step of another saga."""
    lost: bool = False
    """Its beginning is missing: told once."""

    def step_of(self, name: str) -> PlanStep | None:
        """The step of this name, or whose leg is called so."""
        whole, _, leg = name.rpartition(".")
        wanted = whole if leg.isdecimal() else name
        return next((step for step in self.steps if step.name == wanted), None)

    def has_done(self, name: str) -> bool:
        """Whether its journal has told that a step, which is not done leg by leg, is done."""
        if name in self.passed or name in self.skipped:
            return True
        effect = self.effects.get(f"{name}/do")
        return effect is not None and effect.succeeded_at >= 0

    @property
    def may_be_taken_back(self) -> bool:
        """Whether it is completed, and yet its parent may take it back; see `children.py`."""
        whole = self.is_child and self.state == "completed"
        return whole and all(step.reversible or step.waits for step in self.steps)

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            self.partition, self.definition, self.version, self.state, self.reason, self.step
        )
