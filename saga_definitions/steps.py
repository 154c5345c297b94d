"""The parts a definition is written with: commands, steps and references to earlier steps.

Nothing is checked here; `compiler.py` looks at a definition as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from messages.participant import EffectId, StepCommand
from messages.participants import ACCOUNTS, Participant
from messages.plan import OnTimeout, Retry
from saga_definitions.params import Ref

Value = Ref[object] | str | int

_PASSES = ("clock_ahead",)
FORWARD: Final = Retry(attempts=3, retryable=_PASSES)
BACKWARD: Final = Retry(attempts=8)
INSISTENT: Final = Retry(attempts=12, retryable=_PASSES)
"""For the pivot and what follows it: about four minutes of asking before a person is needed."""


@dataclass(frozen=True)
class Command:
    """A command to be sent: to whom, its type, and where its fields come from."""

    participant: Participant
    kind: type[StepCommand]
    fields: Mapping[str, Value]


@dataclass(frozen=True)
class Step:
    """One step as written down. `after` None: after the step written before it."""

    name: str
    do: Command
    undo: Command | None
    after: tuple[str, ...] | None
    irreversible: bool
    pivot: bool
    retry: Retry
    undo_retry: Retry
    timeout_ms: int
    on_timeout: OnTimeout


def command(kind: type[StepCommand], /, **fields: Value) -> Command:
    """Ask an account for `kind`. What names and routes the effect is filled in by the engine."""
    return Command(ACCOUNTS, kind, fields)


def ask(participant: Participant, kind: type[StepCommand], /, **fields: Value) -> Command:
    """Ask another participant for `kind`; otherwise like `command`."""
    return Command(participant, kind, fields)


def effect_of(step: str) -> Ref[str]:
    """The effect id of `step`'s forward command: known before the step is answered."""
    return Ref(f"effect.{step}", EffectId)


def result_of(step: str, field: str) -> Ref[Any]:
    """A field of the result that the participant answered `step` with."""
    return Ref(f"steps.{step}.result.{field}")


def step(
    name: str,
    *,
    do: Command,
    undo: Command | None = None,
    after: tuple[str, ...] | None = None,
    irreversible: bool = False,
    pivot: bool = False,
    retry: Retry | None = None,
    undo_retry: Retry = BACKWARD,
    timeout_ms: int = 10_000,
    on_timeout: OnTimeout = "retry",
) -> Step:
    """One step: a command and either its `undo`, or `pivot`, or (past the pivot) `irreversible`.

    `after` names the steps that must have succeeded before; left out: the step written before.
    `timeout_ms` is how long one attempt waits for its answer. After that `on_timeout` "retry" sends
    the command again; "enquire" asks for its outcome, and sends it again only when it never came;
    "compensate" gives a reversible step up. An undo is tried again on every refusal and time-out.
    """
    if retry is None:
        retry = INSISTENT if pivot or irreversible else FORWARD
    return Step(
        name, do, undo, after, irreversible, pivot, retry, undo_retry, timeout_ms, on_timeout
    )
