"""What is checked: a definition made small, its steps' places in the graph, and the engine.

Made small: a retry policy's attempts are capped, for the third time-out teaches nothing that the
second did not. All else of the plan is as it will run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec

from checker.world import NOW, SAGA
from messages.identity import fingerprint
from messages.plan import CommandTemplate, Plan, PlannedStep, Retry
from messages.saga import SagaEvent, SagaInput, StartSaga
from orchestrator import saga
from orchestrator.graph import Node, graph_of
from orchestrator.progress import UNSURE, Finished, Saga
from saga_definitions.dsl import Definition
from saga_definitions.registry import Registry


class Bounds(NamedTuple):
    """`attempts` that a policy is cut down to; `duplicates`, `operators`: how many deliveries
    happen twice, and how often a person steps in, in one history; `faults`: how many things of any
    kind go wrong in it, None for any number; `states` after which the search gives up."""

    attempts: int = 2
    duplicates: int = 1
    operators: int = 1
    faults: int | None = None
    states: int = 10_000


BOUNDS: Final = Bounds()


class Decide(Protocol):
    def __call__(
        self,
        saga: Saga | Finished | None,
        message: SagaInput,
        now_ms: int,
        definitions: Registry,
        /,
    ) -> list[SagaEvent]: ...


class OnTime(Protocol):
    def __call__(self, saga: Saga, now_ms: int, /) -> list[SagaEvent]: ...


class Evolve(Protocol):
    def __call__(self, saga: Saga | None, event: SagaEvent, /) -> Saga | None: ...


class NextDue(Protocol):
    def __call__(self, saga: Saga, /) -> int | None: ...


class Engine(NamedTuple):
    """The pure functions of `orchestrator.saga`; a test passes broken ones."""

    decide: Decide = saga.decide
    on_time: OnTime = saga.on_time
    evolve: Evolve = saga.evolve
    next_due_ms: NextDue = saga.next_due_ms


ENGINE: Final = Engine()

_FINAL: Final = ("insufficient_funds", "account_frozen", "account_closed")


@dataclass(frozen=True, slots=True)
class Part:
    """One step. `refusals`: what its participant may refuse it with; `result`: what it answers
    with; `kin`: the steps whose effects at the participant hang together with this one's."""

    node: Node
    refusals: tuple[str, ...]
    result: Mapping[str, Any]
    kin: frozenset[str]
    attempts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Course:
    engine: Engine
    bounds: Bounds
    definitions: Registry
    start: StartSaga
    plan: Plan
    parts: Mapping[str, Part]
    alike: Sequence[Sequence[int]]
    """Classes of steps that differ in nothing but name, accounts and amounts."""


def course_of(
    definition: Definition, params: Mapping[str, Any], engine: Engine, bounds: Bounds
) -> Course:
    plan = _small(definition.plan, bounds.attempts)
    small = Definition(plan.definition, plan.version, plan, definition.params, definition.rules)
    start = StartSaga(
        saga_id=SAGA,
        tenant="",
        definition=plan.definition,
        params=dict(params),
        fingerprint=fingerprint(plan.definition, params),
        request_id="request",
        issued_at_ms=NOW,
    )
    nodes = graph_of(plan).nodes
    kin = _kin(plan)
    parts = {
        node.step.name: Part(
            node,
            _refusals(node.step.retry),
            _result(plan, node.step.name),
            kin[node.step.name],
            {"do": node.step.retry.attempts, "undo": node.step.undo_retry.attempts},
        )
        for node in nodes
    }
    return Course(engine, bounds, Registry((small,)), start, plan, parts, _alike(nodes))


def _small(plan: Plan, attempts: int) -> Plan:
    def few(retry: Retry) -> Retry:
        return msgspec.structs.replace(retry, attempts=min(retry.attempts, attempts))

    steps = (
        msgspec.structs.replace(step, retry=few(step.retry), undo_retry=few(step.undo_retry))
        for step in plan.steps
    )
    return msgspec.structs.replace(plan, steps=tuple(steps))


def _refusals(retry: Retry) -> tuple[str, ...]:
    """A reason that is final, and one that is worth another try if there is any."""
    final = next((reason for reason in _FINAL if reason not in retry.retryable), "refused")
    worth = [reason for reason in retry.retryable if reason not in UNSURE]
    return (final, *worth[:1])


def _refs(template: CommandTemplate | None) -> list[tuple[str, list[str]]]:
    """(field, path) of the references in a template."""
    if template is None:
        return []
    found: list[tuple[str, list[str]]] = []
    for field, value in template.fields.items():
        if isinstance(value, dict):
            found.append((field, cast("dict[str, str]", value)["ref"].split(".")))
    return found


def _result(plan: Plan, step: str) -> dict[str, Any]:
    """What a participant answers with: whatever the plan reads of it."""
    found: dict[str, Any] = {}
    for other in plan.steps:
        for field, path in _refs(other.do) + _refs(other.undo):
            if path[0] == "steps" and path[1] == step:
                hold = field == "hold_id"
                amount = 100 if field.endswith("_minor") else f"{step}-{path[-1]}"
                found[path[-1]] = f"{SAGA}/{step}/do" if hold else amount
    return found


def _kin(plan: Plan) -> dict[str, frozenset[str]]:
    """Steps that use one hold have to be looked at together: one changes what another finds."""
    kin = {step.name: frozenset((step.name,)) for step in plan.steps}
    for step in plan.steps:
        for field, path in _refs(step.do) + _refs(step.undo):
            if path[0] == "effect" or (path[0] == "steps" and field == "hold_id"):
                one = kin[step.name] | kin.get(path[1], frozenset())
                kin.update(dict.fromkeys(one, one))
    return kin


def _alike(nodes: Sequence[Node]) -> list[list[int]]:
    classes: dict[bytes, list[int]] = {}
    for node in nodes:
        classes.setdefault(_shape(node.step, node.dependants), []).append(node.index)
    return list(classes.values())


def _shape(step: PlannedStep, dependants: tuple[int, ...]) -> bytes:
    bare = msgspec.structs.replace(
        step,
        name="",
        do=msgspec.structs.replace(step.do, fields={}),
        undo=step.undo and msgspec.structs.replace(step.undo, fields={}),
    )
    return msgspec.json.encode((bare, dependants))
