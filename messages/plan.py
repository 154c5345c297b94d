"""A saga's compiled plan: the graph of steps as data, recorded in `SagaStarted`.

`saga_definitions` compiles it; the engine only reads it, so a running saga never changes under a
deployment. A template's field is a literal, or a reference `{"ref": "params.source"}`,
`{"ref": "steps.hold.result.hold_id"}` or `{"ref": "effect.hold"}` (the effect id of step `hold`);
`{"ref": "params.currency", "among": {"EUR": "nostro-eur"}}` looks the value up in a table.
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


class CommandTemplate(msgspec.Struct, frozen=True):
    """`topic`: the participant's input topic. `type`: the command's type name on the wire.
    `key`: the field that routes the command, a name in `fields`. `partitions`: how many the topic
    has; 0: as many as the bank's own."""

    topic: str
    type: str
    key: str
    fields: dict[str, Any]
    partitions: int = 0


class PlannedStep(msgspec.Struct, frozen=True):
    """One node of the graph. `after` names the steps that must have succeeded before it.

    `undo` None means irreversible: nothing to take back. After the pivot a saga only goes forward.
    `undo_retry` tries again on every refusal that is not in doubt; its `retryable` is empty.
    """

    name: str
    do: CommandTemplate
    undo: CommandTemplate | None = None
    after: tuple[str, ...] = ()
    pivot: bool = False
    retry: Retry = Retry()
    undo_retry: Retry = Retry(attempts=8)
    timeout_ms: int = 10_000
    on_timeout: OnTimeout = "retry"


class Plan(msgspec.Struct, frozen=True):
    definition: str
    version: int
    deadline_ms: int
    steps: tuple[PlannedStep, ...]
    """In an order in which every step comes after those it waits for."""
