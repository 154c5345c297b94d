"""A saga's compiled plan: the graph of steps as data, recorded in `SagaStarted`.

`saga_definitions` compiles it; the engine only reads it, so a running saga never changes under a
deployment. A template's field is a literal, or a reference `{"ref": "params.source"}`,
`{"ref": "steps.hold.result.hold_id"}` or `{"ref": "effect.hold"}` (the effect id of step `hold`).
A path goes on into lists and objects: `params.legs.0.target`.
`{"ref": "params.currency", "among": {"EUR": "nostro-eur"}}` looks the value up in a table.
`{"ref": "child.pay"}` is the id of the saga that step `pay` is. A field named `params.source` is
the member `source` of the object `params`.

A step with `each` is done once for every element of a list: its legs are named `pay.0`, `pay.1` and
so on. In their templates `{"ref": "each.target"}` is a field of the leg's element, and
`{"ref": "effect.hold.each"}` the effect id of the same leg of step `hold`. `{"ref": "each"}` is the
element itself.
"""

from typing import Any, Literal

import msgspec

OnTimeout = Literal["retry", "enquire", "compensate"]
"""What follows when a step is not answered in time: send the command again, ask what became of it
(`messages.participant.Enquire`), or take the step back."""


class Retry(msgspec.Struct, frozen=True):
    """How often and how fast to try again. Delay before attempt n+1: first * factor**(n-1) ms,
    at most `max_delay_ms`, shortened at random by up to half (jitter)."""

    attempts: int = 3
    first_delay_ms: int = 200
    factor: float = 2.0
    max_delay_ms: int = 30_000
    retryable: tuple[str, ...] = ()
    """Refusals worth another try; every other refusal is final."""


class CommandTemplate(msgspec.Struct, frozen=True, omit_defaults=True):
    """`topic`: the participant's input topic. `type`: the command's type name on the wire.
    `key`: the field that routes the command, a name in `fields`. `partitions`: how many the topic
    has; 0: as many as the bank's own."""

    topic: str
    type: str
    key: str
    fields: dict[str, Any]
    partitions: int = 0


Test = Literal["==", "!=", "<", "<=", ">", ">="]


class Condition(msgspec.Struct, frozen=True):
    """`left` `test` `right`: each side a literal or a reference. Order is for integers only.

    A parameter that was left out equals null; a result that is not there can't be compared.
    """

    left: Any
    test: Test
    right: Any


class AwaitSignal(msgspec.Struct, frozen=True, tag="signal"):
    """Wait for the signal of the step's name; without one within `timeout_ms` it is refused.

    `not_by`: path of the parameter that names the person whose signal doesn't count; "" nobody.
    """

    timeout_ms: int
    not_by: str = ""


class AwaitTime(msgspec.Struct, frozen=True, tag="time"):
    """Wait until the instant (RFC 3339) at the path `until`."""

    until: str


class PlannedStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node of the graph. `after` names the steps that must be done (or skipped) before it.

    A step either sends the command `do`, or waits; a wait has no effect to take back.
    `undo` None means irreversible: nothing to take back. After the pivot a saga only goes forward.
    `undo_cases`: what to send instead of `undo` when the step's result holds, in the field
    `undo_by`, one of these texts. `undo` itself must do when there is no result.
    `each`: path of the list for whose elements the step is done, at most `width` at a time. As the
    pivot it collects what is refused, and is done when one leg is applied at least; before the
    pivot one leg that is refused refuses it all; after the pivot all legs must be applied.
    `at`: path of the instant (RFC 3339) before which a leg is not asked for.
    `undo_retry` tries again on every refusal that is not in doubt; its `retryable` is empty.
    `when`: a step of which not all hold is skipped. `by`: path of the instant (RFC 3339) after
    which the step is not asked for any more, but refused.

    What equals its default is left out on the wire: a default must never change.
    """

    name: str
    do: CommandTemplate | None = None
    undo: CommandTemplate | None = None
    after: tuple[str, ...] = ()
    pivot: bool = False
    retry: Retry = Retry()
    undo_retry: Retry = Retry(attempts=8)
    timeout_ms: int = 10_000
    on_timeout: OnTimeout = "retry"
    wait: AwaitSignal | AwaitTime | None = None
    when: tuple[Condition, ...] = ()
    by: str = ""
    undo_by: str = ""
    undo_cases: dict[str, CommandTemplate] = {}
    each: str = ""
    width: int = 0
    at: str = ""


class Plan(msgspec.Struct, frozen=True):
    definition: str
    version: int
    deadline_ms: int
    steps: tuple[PlannedStep, ...]
    """In an order in which every step comes after those it waits for."""


def leg_name(step: str, leg: int) -> str:
    """The name of one leg of a step with `each`; no step can be called so."""
    return f"{step}.{leg}"
