"""A plan made ready to run: steps by index, dependants, command templates taken apart.

It is derived from the plan alone and kept by the plan's identity, so that sagas of one definition
share one plan and one graph, also after a restart, when every event brings its own copy.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from messages.child import START_CHILD
from messages.plan import AwaitTime, CommandTemplate, Plan, PlannedStep, leg_name
from orchestrator.references import Facts, Path, Unresolved, reference_of

MAX_GRAPHS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Template:
    """A command template: `literals` are complete, each reference is (field, path, table): what is
    found at the path is looked up in the table, if there is one. `members`: fields of objects,
    such as `params.source`."""

    topic: str
    type: str
    key: str
    literals: dict[str, Any]
    refs: tuple[tuple[str, Path, dict[str, Any] | None], ...]
    partitions: int
    members: tuple[str, ...] = ()

    def fields(self, facts: Facts) -> dict[str, Any]:
        """The command's own fields. Raises `Unresolved`."""
        fields = self.literals.copy()
        for field, path, table in self.refs:
            value = facts.at(path)
            if table is not None:
                if type(value) is not str or value not in table:
                    raise Unresolved(field)
                value = table[value]
            fields[field] = value
        if type(fields.get(self.key)) is not str:
            raise Unresolved(self.key)
        for name in self.members:
            whole, _, member = name.partition(".")
            fields.setdefault(whole, {})[member] = fields.pop(name)
        return fields


@dataclass(frozen=True, slots=True)
class Node:
    """A step in its graph. `after`: direct predecessors; `dependants`: all that come after it,
    near and far; `reversible`: it can be taken back, also when its outcome is unknown; `do` None:
    it waits, and has no effect. `free`: nothing has to be looked at before `do` is sent. `nested`:
    it is a saga itself.

    `each`: path of the list for whose elements it is done, for each not before `until`, if that is
    set. One leg of it is a node of its own (see `leg_node`): `leg` is its number, and `of` the
    step's name in either."""

    index: int
    step: PlannedStep
    do: Template | None
    undo: Template | None
    undo_cases: dict[str, Template]
    after: tuple[int, ...]
    dependants: tuple[int, ...]
    reversible: bool
    by: Path
    until: Path
    not_by: Path
    free: bool
    nested: bool
    each: Path
    of: str
    leg: int | None = None

    @property
    def insists(self) -> bool:
        """Whether a leg that was refused for good has to be applied all the same."""
        return not (self.reversible or self.step.pivot)

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every command that may be sent for the step."""
        fixed = (one for one in (self.do, self.undo) if one is not None)
        return (*fixed, *self.undo_cases.values())

    def undo_for(self, result: dict[str, Any]) -> Template | None:
        """What takes the step back, given what it was answered with ({} when nobody answered)."""
        chosen = result.get(self.step.undo_by)
        return self.undo_cases.get(chosen, self.undo) if type(chosen) is str else self.undo


@dataclass(frozen=True, slots=True)
class Graph:
    """`outside`: the nodes that ask a participant other than the accounts; `nested`: those that are
    sagas. `revocable`: a saga of it can be taken back also when it is completed."""

    plan: Plan
    nodes: tuple[Node, ...]
    by_name: dict[str, Node]
    outside: tuple[Node, ...]
    nested: tuple[Node, ...]
    revocable: bool

    def find(self, name: str) -> Node | None:
        """The step of this name, or the leg; whether there are so many legs the saga knows."""
        node = self.by_name.get(name)
        if node is not None:
            return node
        of, _, leg = name.rpartition(".")
        node = self.by_name.get(of)
        if node is None or not node.each or not (leg.isascii() and leg.isdecimal()):
            return None
        return leg_node(node, int(leg)) if len(leg) < 10 and leg == str(int(leg)) else None


def leg_node(node: Node, leg: int) -> Node:
    """One leg of a step with `each`, under its own name."""
    # Not `dataclasses.replace`, which costs ten times as much: this is done for every event.
    return Node(
        node.index,
        msgspec.structs.replace(node.step, name=leg_name(node.of, leg)),
        node.do,
        node.undo,
        node.undo_cases,
        node.after,
        node.dependants,
        node.reversible,
        node.by,
        node.until,
        node.not_by,
        node.free,
        node.nested,
        node.each,
        node.of,
        leg,
    )


_by_identity: dict[int, Graph] = {}
_by_version: dict[tuple[str, int], list[Graph]] = {}


def graph_of(plan: Plan) -> Graph:
    """The graph of `plan`; its `plan` is the one object that stands for all equal plans."""
    graph = _by_identity.get(id(plan))
    # An id is used again once its object is gone: only the object itself is proof.
    if graph is not None and graph.plan is plan:
        return graph
    same_version = _by_version.setdefault((plan.definition, plan.version), [])
    for graph in same_version:
        if graph.plan == plan:
            return graph
    if len(_by_identity) >= MAX_GRAPHS:
        _by_identity.clear()
        _by_version.clear()
        same_version = _by_version.setdefault((plan.definition, plan.version), [])
    graph = _build(plan)
    _by_identity[id(plan)] = graph
    same_version.append(graph)
    return graph


def _build(plan: Plan) -> Graph:
    index = {step.name: i for i, step in enumerate(plan.steps)}
    after = [tuple(index[name] for name in step.after) for step in plan.steps]
    dependants: list[set[int]] = [set() for _ in plan.steps]
    for i in range(len(plan.steps) - 1, -1, -1):
        for before in after[i]:
            dependants[before] |= {i} | dependants[i]
    nodes = tuple(_node(i, step, after[i], dependants[i]) for i, step in enumerate(plan.steps))
    outside = tuple(node for node in nodes if any(t.partitions for t in node.templates))
    nested = tuple(node for node in nodes if node.nested)
    revocable = all(node.reversible or node.do is None for node in nodes)
    by_name = {node.step.name: node for node in nodes}
    return Graph(plan, nodes, by_name, outside, nested, revocable)


def _node(index: int, step: PlannedStep, after: tuple[int, ...], dependants: set[int]) -> Node:
    wait = step.wait
    return Node(
        index=index,
        step=step,
        do=None if step.do is None else _template(step.do),
        undo=None if step.undo is None else _template(step.undo),
        undo_cases={case: _template(undo) for case, undo in step.undo_cases.items()},
        after=after,
        dependants=tuple(sorted(dependants)),
        reversible=step.undo is not None and not step.pivot,
        by=_path(step.by),
        until=_path(wait.until if isinstance(wait, AwaitTime) else step.at),
        not_by=() if wait is None or isinstance(wait, AwaitTime) else _path(wait.not_by),
        free=not (step.when or step.by or wait),
        nested=step.do is not None and step.do.type == START_CHILD,
        each=_path(step.each),
        of=step.name,
    )


def _path(text: str) -> Path:
    return tuple(text.split(".")) if text else ()


def _template(template: CommandTemplate) -> Template:
    literals: dict[str, Any] = {}
    refs: list[tuple[str, Path, dict[str, Any] | None]] = []
    for field, value in template.fields.items():
        reference = reference_of(value)
        if reference is not None:
            refs.append((field, reference.path, reference.among))
        else:
            literals[field] = value
    return Template(
        template.topic,
        template.type,
        template.key,
        literals,
        tuple(refs),
        template.partitions,
        tuple(field for field in template.fields if "." in field),
    )
