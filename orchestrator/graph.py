"""A plan made ready to run: steps by index, dependants, command templates taken apart.

It is derived from the plan alone and kept by the plan's identity, so that sagas of one definition
share one plan and one graph, also after a restart, when every event brings its own copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from messages.identity import effect_id
from messages.plan import CommandTemplate, Plan, PlannedStep

MAX_GRAPHS: Final = 1_024


class Unresolved(Exception):
    """A reference of a template has no value in this saga: `path` says which."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} has no value")
        self.path = path


@dataclass(frozen=True, slots=True)
class Template:
    """A command template: `literals` are complete, each reference is (field, root, path); `tables`
    holds, by field, what a value found there is looked up in."""

    topic: str
    type: str
    key: str
    literals: dict[str, Any]
    refs: tuple[tuple[str, str, tuple[str, ...]], ...]
    partitions: int
    tables: dict[str, dict[str, Any]]

    def fields(
        self, saga: str, params: dict[str, Any], results: Sequence[tuple[str, dict[str, Any]]]
    ) -> dict[str, Any]:
        """The command's own fields. Raises `Unresolved`."""
        fields = self.literals.copy()
        for field, root, path in self.refs:
            if root == "params" and path[0] in params:
                fields[field] = params[path[0]]
            elif root == "effect":
                fields[field] = effect_id(saga, path[0], "do")
            else:
                fields[field] = _of_result(root, path, results)
        for field, table in self.tables.items():
            if fields[field] not in table:
                raise Unresolved(field)
            fields[field] = table[fields[field]]
        if type(fields.get(self.key)) is not str:
            raise Unresolved(self.key)
        return fields


def _of_result(
    root: str, path: tuple[str, ...], results: Sequence[tuple[str, dict[str, Any]]]
) -> Any:
    if root == "steps" and len(path) == 3 and path[1] == "result":
        for step, result in results:
            if step == path[0] and path[2] in result:
                return result[path[2]]
    raise Unresolved(".".join((root, *path)))


@dataclass(frozen=True, slots=True)
class Node:
    """A step in its graph. `after`: direct predecessors; `dependants`: all that come after it,
    near and far; `reversible`: it can be taken back, also when its outcome is unknown."""

    index: int
    step: PlannedStep
    do: Template
    undo: Template | None
    after: tuple[int, ...]
    dependants: tuple[int, ...]
    reversible: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """`outside`: the nodes that ask a participant other than the accounts."""

    plan: Plan
    nodes: tuple[Node, ...]
    by_name: dict[str, Node]
    outside: tuple[Node, ...]


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
    nodes = tuple(
        Node(
            index=i,
            step=step,
            do=_template(step.do),
            undo=None if step.undo is None else _template(step.undo),
            after=after[i],
            dependants=tuple(sorted(dependants[i])),
            reversible=step.undo is not None and not step.pivot,
        )
        for i, step in enumerate(plan.steps)
    )
    outside = tuple(
        node for node in nodes if node.do.partitions or (node.undo and node.undo.partitions)
    )
    return Graph(plan, nodes, {node.step.name: node for node in nodes}, outside)


class _Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ref: str
    among: dict[str, Any] | None = None


def _template(template: CommandTemplate) -> Template:
    literals: dict[str, Any] = {}
    refs: list[tuple[str, str, tuple[str, ...]]] = []
    tables: dict[str, dict[str, Any]] = {}
    for field, value in template.fields.items():
        if isinstance(value, dict):
            reference = msgspec.convert(value, _Reference)
            root, *path = reference.ref.split(".")
            refs.append((field, root, tuple(path)))
            if reference.among is not None:
                tables[field] = reference.among
        else:
            literals[field] = value
    return Template(
        template.topic,
        template.type,
        template.key,
        literals,
        tuple(refs),
        template.partitions,
        tables,
    )
