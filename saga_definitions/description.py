"""A definition in words: what it says at each place, what one version says unlike another, and its
picture."""

from collections.abc import Iterator
from html import escape
from typing import Any, cast

import msgspec

from messages.child import START_CHILD
from messages.participants import SAGAS
from messages.plan import (
    AwaitSignal,
    AwaitTime,
    CommandTemplate,
    Condition,
    PlannedStep,
    Retry,
)
from saga_definitions.definition import Definition
from saga_definitions.params import Param


def said(definition: Definition) -> dict[str, str]:
    """Place -> what the definition says there, such as `steps.debit.do` -> `Debit(...)`.

    What is empty is left out, and so are the names of the parts, which are in the places.
    """
    places = {"deadline_ms": str(definition.plan.deadline_ms)}
    for param in definition.params:
        places[f"params.{param.name}"] = param_text(param)
    for rule in definition.rules:
        kind = type(rule).__name__
        places[f"rules.{kind}.{'.'.join(rule.names)}"] = f"{kind}({', '.join(rule.names)})"
    table = definition.timetable
    if table is not None:
        given = (table.first, table.every, table.at, table.zone, table.times)
        places[f"timetable.{table.into.name}"] = f"Timetable({', '.join(p.name for p in given)})"
    for step in definition.plan.steps:
        for name, text in step_texts(step):
            places[f"steps.{step.name}.{name}"] = text
    return places


def param_text(param: Param[object]) -> str:
    """What a value of the parameter has to be."""
    wanted = (param.problem(None) or "anything").removeprefix("must be ")
    return f"{wanted} (optional)" if param.optional else wanted


def step_texts(step: PlannedStep) -> Iterator[tuple[str, str]]:
    """(field, what it says), for all that the step says."""
    for field in step.__struct_fields__:
        if field == "name" or (field == "undo_retry" and step.undo is None):
            continue
        if step.do is None and field in ("retry", "timeout_ms", "on_timeout"):
            continue
        value = getattr(step, field)
        if value or field == "after":
            yield field, _text(value)


def _text(value: object) -> str:
    match value:
        case CommandTemplate():
            return command_text(value)
        case Condition():
            return f"{_field_text(value.left)} {value.test} {_field_text(value.right)}"
        case AwaitSignal() if value.not_by:
            return f"a signal, not by {_short_path(value.not_by)}, for {value.timeout_ms} ms"
        case AwaitSignal():
            return f"a signal, for {value.timeout_ms} ms"
        case AwaitTime():
            return _short_path(value.until)
        case Retry():
            return retry_text(value)
        case tuple():
            parts = cast("tuple[object, ...]", value)
            return ", ".join(_text(part) for part in parts) or "none"
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()


def command_text(template: CommandTemplate) -> str:
    """`Credit(account_id=target, amount_minor=amount_minor)`; of a saga `transfer@1(...)`."""
    nested = template.topic == SAGAS.topic
    fields = (
        f"{_short_path(field)}={_field_text(value)}"
        for field, value in template.fields.items()
        if not nested or field.startswith("params.")
    )
    return f"{_short(template)}({', '.join(fields)})"


def _short(template: CommandTemplate) -> str:
    if template.type == START_CHILD:
        return f"{template.fields['definition']}@{template.fields['version']}"
    return template.type.split(".")[1]


def _field_text(value: object) -> str:
    if not isinstance(value, dict):
        return repr(value)
    reference = cast("dict[str, Any]", value)
    path = _short_path(reference["ref"])
    table: dict[str, object] = reference.get("among", {})
    return f"{_written(table)}[{path}]" if table else path


def _written(table: dict[str, object]) -> str:
    """`{EUR: 'settlement-eur', USD: 'settlement-usd'}`."""
    return "{" + ", ".join(f"{key}: {value!r}" for key, value in table.items()) + "}"


def _short_path(path: str) -> str:
    return path.removeprefix("params.")


def retry_text(retry: Retry) -> str:
    """`3 attempts, after 0.2 s, times 2, up to 30 s; also when refused: clock_ahead`."""
    if retry.attempts == 1:
        return "1 attempt"
    first, most = retry.first_delay_ms / 1_000, retry.max_delay_ms / 1_000
    also = f"; also when refused: {', '.join(retry.retryable)}" if retry.retryable else ""
    delays = f"after {first:g} s, times {retry.factor:g}, up to {most:g} s"
    return f"{retry.attempts} attempts, {delays}{also}"


def changes(old: Definition, new: Definition) -> list[tuple[str, str, str]]:
    """(place, what the old one says, what the new one says), "" for nothing."""
    before, after = said(old), said(new)
    return [
        (place, before.get(place, ""), after.get(place, ""))
        for place in {**before, **after}
        if before.get(place) != after.get(place)
    ]


def label(step: PlannedStep) -> list[str]:
    """What stands in a step's place in a picture, line by line; its name first."""
    lines = [step.name, "waits" if step.do is None else _short(step.do)]
    if step.each:
        lines.append(f"for each of {_short_path(step.each)}, {step.width} at once")
    if step.undo is not None:
        lines.append(f"undo: {_short(step.undo)}")
    return lines


def mermaid(definition: Definition) -> str:
    """The steps as a Mermaid flowchart: the pivot is a hexagon, what comes after it is round, a
    wait is a flag, and what takes a step back stands below it."""
    lines = ["flowchart LR"]
    for step in definition.plan.steps:
        name, *others = (escape(line) for line in label(step))
        text = "<br/>".join((f"<b>{name}</b>", *others))
        if step.pivot:
            shape = f'{{{{"{text}"}}}}'
        elif step.do is None:
            shape = f'>"{text}"]'
        elif step.undo is None:
            shape = f'(["{text}"])'
        else:
            shape = f'["{text}"]'
        # "end" and other words of Mermaid's own can't stand for a node.
        lines.append(f"    step_{step.name}{shape}")
    for step in definition.plan.steps:
        lines += [f"    step_{before} --> step_{step.name}" for before in step.after]
    return "\n".join(lines)
