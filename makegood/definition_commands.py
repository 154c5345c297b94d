"""`makegood definitions ...`: which definitions there are, what they say, and whether they hold."""

import sys
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from checker.course import BOUNDS, Bounds, is_revocable
from checker.examples import example_params
from checker.exploration import Counterexample, Findings, explore
from checker.timeline import told
from makegood.settings import load_settings
from saga_definitions.description import changes, mermaid, param_text, step_texts
from saga_definitions.drawing import svg
from saga_definitions.dsl import Definition
from saga_definitions.registry import Registry, configured

app = App(name="definitions", help="Look at saga definitions, compare and check them.")
console = Console(markup=False)

Name = Annotated[str, Parameter(help="NAME for the latest version, or NAME@VERSION.")]


def known() -> Registry:
    """What the bank of these settings can start. Raises SettingsError, DefinitionError."""
    return configured(load_settings().payout_accounts)


@app.command(name="list")
def list_() -> None:
    """The definitions that can be started."""
    table = Table(box=None)
    for column in ("name", "versions", "steps", "params"):
        table.add_column(column, overflow="fold")
    registry = known()
    for name in registry.names():
        definition = registry.find(name)
        versions = ", ".join(str(version) for version in registry.versions(name))
        steps = ", ".join(step.name for step in definition.plan.steps)
        table.add_row(name, versions, steps, ", ".join(p.name for p in definition.params))
    console.print(table)


@app.command
def show(name: Name, /) -> None:
    """What a definition takes, and what it does step by step."""
    definition = known().find(name)
    plan = definition.plan
    console.print(f"{plan.definition}@{plan.version}, deadline {plan.deadline_ms / 1_000:g} s")
    table = _table("parameter", "has to be")
    for param in definition.params:
        table.add_row(param.name, param_text(param))
    for rule in definition.rules:
        table.add_row(", ".join(rule.names), type(rule).__name__.lower())
    console.print(table)
    table = _table("step", "", "")
    for step in plan.steps:
        title = step.name
        for place, text in step_texts(step):
            table.add_row(title, place, text)
            title = ""
        table.add_section()
    console.print(table)


@app.command
def diff(old: Name, new: Name, /) -> None:
    """What one version of a definition says unlike another. Exit status 1 when they differ."""
    registry = known()
    found = changes(registry.find(old), registry.find(new))
    if not found:
        console.print("They say the same.")
        return
    table = _table("place", old, new)
    for change in found:
        table.add_row(*change)
    console.print(table)
    sys.exit(1)


@app.command
def graph(
    name: Name,
    /,
    *,
    format: Annotated[
        Literal["mermaid", "svg"],
        Parameter(help="mermaid: for a Markdown page or mermaid.live; svg: for a browser."),
    ] = "mermaid",
) -> None:
    """A definition's steps as a picture, from left to right. The pivot is a hexagon, what comes
    after it is round, a wait is a flag."""
    draw = svg if format == "svg" else mermaid
    print(draw(known().find(name)))


@app.command
def check(
    *names: Name,
    params: str = "{}",
    attempts: int = BOUNDS.attempts,
    duplicates: int = BOUNDS.duplicates,
    operators: int = BOUNDS.operators,
    faults: int | None = None,
    states: int = BOUNDS.states,
) -> None:
    """Look at every order of outcomes, and prove that each ends well and moves money rightly.

    Exit status 1 when one does not: a shortest one is told. Without names: all, in all versions.

    Parameters
    ----------
    params
        Values for parameters as JSON, where the ones that are made up won't do.
    attempts
        What retry policies are cut down to.
    duplicates
        How many commands of one history are delivered twice.
    operators
        How often a person steps in in one history.
    faults
        How many things go wrong in one history; default: any number.
    states
        When to stop: then every history with fewer faults than were reached was looked at.
    """
    bounds = Bounds(attempts, duplicates, operators, faults, states)
    try:
        given = msgspec.json.decode(params, type=dict[str, object])
    except msgspec.DecodeError as error:
        console.print(f"--params must be a JSON object: {error}")
        sys.exit(2)
    wrong = False
    registry = known()
    for definition in [registry.find(name) for name in names] or list(_all(registry)):
        cases = example_params(definition, given)
        for values in cases:
            found = explore(definition, values, bounds=bounds)
            wrong |= found.counterexample is not None
            _tell(definition, values if len(cases) > 1 else {}, found)
            if is_revocable(definition):
                found = explore(definition, values, bounds=bounds, as_child=True)
                wrong |= found.counterexample is not None
                _tell(definition, {}, found, as_child=True)
    console.print(
        f"Within {attempts} attempts, {duplicates} doubled deliveries and "
        f"{operators} interventions by an operator.",
        highlight=False,
    )
    sys.exit(wrong)


def _all(registry: Registry) -> Iterable[Definition]:
    for name in registry.names():
        for version in registry.versions(name):
            yield registry.find(f"{name}@{version}")


def _table(*columns: str) -> Table:
    table = Table(box=None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _tell(
    definition: Definition, values: dict[str, Any], found: Findings, *, as_child: bool = False
) -> None:
    """`values`: which of several cases this is."""
    name = f"{definition.name}@{definition.version}" + (" as a step" if as_child else "")
    if values:
        console.print(f"{name} with {msgspec.json.encode(values).decode()}:", style="dim")
    cost = f"{found.states:,} states, {found.transitions:,} transitions, {found.took_s:.1f} s"
    if found.counterexample is not None:
        console.print(f"{name} fails ({cost})", style="bold red")
        _tell_counterexample(found.counterexample)
        return
    looked_at = (
        "every history" if found.faults is None else f"histories of up to {found.faults} faults"
    )
    ends = ", ".join(
        f"{found.ends[state]:,} {state}"
        for state in ("completed", "compensated", "parked")
        if state in found.ends
    )
    console.print(f"{name} holds in {looked_at} ({cost}; {ends})", style="green")


def _tell_counterexample(counterexample: Counterexample) -> None:
    table = Table(box=None)
    for column in ("", "what happens", "what the engine does", "what has moved"):
        table.add_column(column, overflow="fold")
    for number, moment in enumerate(counterexample.timeline, 1):
        money = [
            *(f"{account} {amount:+} {money}" for (account, money), amount in moment.moved.items()),
            *(f"in transit {amount:+} {money}" for money, amount in moment.transit.items()),
            *(f"held by {step}" for step in moment.held),
        ]
        engine = "\n".join(told(event) for event in moment.events)
        table.add_row(str(number), moment.text, engine, "\n".join(money))
        table.add_section()
    console.print(table)
    console.print(counterexample.problem, style="bold red")
