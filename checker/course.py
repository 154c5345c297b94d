"""What is checked: a definition made small, its steps' places in the graph, and the engine.

Made small: a retry policy's attempts are capped, for the third time-out teaches nothing that the
second did not. All else of the plan is as it will run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from checker.participants import MovesOf
from checker.world import NOW, PARENT, SAGA
from messages.child import StartChild, UndoChild
from messages.identity import effect_id, fingerprint
from messages.plan import CommandTemplate, Condition, Plan, PlannedStep, Retry, leg_name
from messages.saga import SagaEvent, SagaInput, StartSaga
from orchestrator import saga
from orchestrator.graph import Node, graph_of, leg_node
from orchestrator.progress import UNSURE, Finished, Saga
from orchestrator.references import Facts, Unresolved, path_of, within
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
    """One step, or one leg of it. `refusals`: what its participant may refuse it with; `results`:
    what it may answer with; `kin`: the steps whose effects at the participant hang together with
    this one's."""

    node: Node
    refusals: tuple[str, ...]
    results: Sequence[Mapping[str, Any]]
    kin: frozenset[str]
    attempts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Course:
    engine: Engine
    bounds: Bounds
    definitions: Registry
    start: StartSaga | StartChild
    """By whom it is begun: a caller, or a saga whose step it is."""
    plan: Plan
    parts: Mapping[str, Part]
    alike: Sequence[Sequence[Sequence[int]]]
    """Classes of bundles of parts, by number, that are kin: the bundles of a class differ in
    nothing but names, accounts and amounts."""
    moves_of: MovesOf

    def names(self, index: int) -> list[str]:
        """The parts of the plan's step number `index`."""
        return [name for name, part in self.parts.items() if part.node.index == index]


def course_of(
    definition: Definition,
    params: Mapping[str, Any],
    engine: Engine,
    bounds: Bounds,
    moves_of: MovesOf,
    *,
    as_child: bool = False,
) -> Course:
    plan = _small(definition.plan, bounds.attempts)
    small = replace(definition, plan=plan)
    start = (_of_parent if as_child else _of_caller)(plan, dict(params))
    params = small.complete(dict(params), NOW)
    nodes = [node for step in graph_of(plan).nodes for node in _legs(step, params)]
    kin = _kin(nodes)
    parts = {
        node.step.name: Part(
            node,
            _refusals(node.step.retry),
            _results(plan, node.step),
            kin[node.step.name],
            {"do": node.step.retry.attempts, "undo": node.step.undo_retry.attempts},
        )
        for node in nodes
    }
    alike = _alike(nodes, kin, params)
    return Course(engine, bounds, Registry((small,)), start, plan, parts, alike, moves_of)


def _of_caller(plan: Plan, params: dict[str, Any]) -> StartSaga:
    return StartSaga(
        saga_id=SAGA,
        tenant="",
        definition=plan.definition,
        params=params,
        fingerprint=fingerprint(plan.definition, params),
        request_id="request",
        issued_at_ms=NOW,
    )


def _legs(node: Node, params: Mapping[str, Any]) -> list[Node]:
    if not node.each:
        return [node]
    return [leg_node(node, leg) for leg in range(len(within(params, node.each[1:])))]


def _of_parent(plan: Plan, params: dict[str, Any]) -> StartChild:
    return StartChild(
        child_id=SAGA,
        saga_id=PARENT,
        step=SAGA,
        effect_id=effect_id(PARENT, SAGA, "do"),
        definition=plan.definition,
        version=plan.version,
        params=params,
        issued_at_ms=NOW,
    )


def undo_of(start: StartChild) -> UndoChild:
    """What takes back what `start` has begun."""
    return UndoChild(
        child_id=start.child_id,
        saga_id=start.saga_id,
        step=start.step,
        effect_id=effect_id(start.saga_id, start.step, "undo"),
        undoes=start.effect_id,
        issued_at_ms=NOW,
        direction="undo",
    )


def is_revocable(definition: Definition) -> bool:
    """Whether a saga of it can be taken back by one whose step it is, after its end too."""
    return graph_of(definition.plan).revocable


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
    paths = ((field, path_of(value)) for field, value in template.fields.items())
    return [(field, list(path)) for field, path in paths if path is not None]


def _results(plan: Plan, step: PlannedStep) -> list[dict[str, Any]]:
    """What a participant may answer with: whatever the plan reads of it, and every answer that
    something depends on: what takes the step back, or whether another one is skipped."""
    found: dict[str, Any] = {}
    decisive: list[dict[str, Any]] = [{step.undo_by: case} for case in step.undo_cases]
    for other in plan.steps:
        for field, path in _all_refs(other):
            if path[:2] == ["steps", step.name]:
                hold = field == "hold_id"
                amount = 100 if field.endswith("_minor") else f"{step.name}-{path[-1]}"
                found[path[-1]] = f"{SAGA}/{step.name}/do" if hold else amount
        for condition in other.when:
            sides = (condition.left, condition.right)
            for one, another in (sides, sides[::-1]):
                path = path_of(one)
                if path is not None and path[:2] == ("steps", step.name):
                    found[path[-1]] = another
                    decisive.append({path[-1]: another + 1 if type(another) is int else "other"})
    return [found, *({**found, **one} for one in decisive)]


def _all_refs(step: PlannedStep) -> list[tuple[str, list[str]]]:
    return [
        ref
        for template in (step.do, step.undo, *step.undo_cases.values())
        for ref in _refs(template)
    ]


def _kin(nodes: Sequence[Node]) -> dict[str, frozenset[str]]:
    """Steps that use one hold have to be looked at together: one changes what another finds."""
    kin = {node.step.name: frozenset((node.step.name,)) for node in nodes}
    for node in nodes:
        name = node.step.name
        for field, path in _all_refs(node.step):
            if path[0] == "effect" or (path[0] == "steps" and field == "hold_id"):
                of = leg_name(path[1], node.leg or 0) if path[-1] == "each" else path[1]
                one = kin[name] | kin.get(of, frozenset())
                kin.update(dict.fromkeys(one, one))
    return kin


def _alike(
    nodes: Sequence[Node], kin: Mapping[str, frozenset[str]], params: Mapping[str, Any]
) -> list[list[tuple[int, ...]]]:
    bundles = {
        tuple(i for i, node in enumerate(nodes) if node.step.name in names)
        for names in kin.values()
    }
    classes: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}
    for bundle in sorted(bundles):
        shape = tuple(_shape(nodes, nodes[index], params, bundle) for index in bundle)
        classes.setdefault(shape, []).append(bundle)
    return list(classes.values())


def _shape(
    nodes: Sequence[Node], node: Node, params: Mapping[str, Any], bundle: tuple[int, ...]
) -> tuple[Any, ...]:
    """All of a step but its name, accounts and amounts."""

    def bare(template: CommandTemplate | None) -> CommandTemplate | None:
        return template and msgspec.structs.replace(template, fields={})

    def place(other: int) -> tuple[str, int]:
        # A step with legs is no part itself, and in no bundle.
        return ("kin", own.index(other)) if other in own else ("", other)

    own = [nodes[i].index for i in bundle]
    met = [holds(condition, params) for condition in node.step.when]
    plan = Plan("", 0, 0, tuple(other.step for other in nodes))
    is_read = any(_results(plan, node.step)) or None in met
    step = msgspec.structs.replace(
        node.step,
        # Legs that each have their own time come in their order.
        name=node.step.name if is_read or node.step.at else "",
        after=(),
        do=bare(node.step.do),
        undo=bare(node.step.undo),
        undo_cases={},
        when=(),
    )
    before = [place(i) for i in node.after]
    behind = [place(i) for i in {other.index for other in nodes if node.index in other.after}]
    return (msgspec.json.encode(step), tuple(met), tuple(sorted(before)), tuple(sorted(behind)))


def holds(condition: Condition, params: Mapping[str, Any]) -> bool | None:
    """Whether the condition is met by the parameters alone; None when it needs results."""
    try:
        return Facts(SAGA, dict(params), []).meet(condition)
    except Unresolved:
        return None
