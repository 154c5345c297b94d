"""The parts a definition is written with: commands, steps and references to earlier steps.

Nothing is checked here; `compiler.py` looks at a definition as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from messages.claims import AcquireLock, ReleaseLock
from messages.participant import EffectId, StepCommand
from messages.participants import ACCOUNTS, CLAIMS, Participant
from messages.plan import OnTimeout, Retry, Test
from saga_definitions.definition import Definition
from saga_definitions.params import Instant, Legs, Person, Ref
from saga_definitions.timetable import Instants

Value = Ref[object] | str | int
Side = Value | None

PASSES = ("clock_ahead",)
FORWARD: Final = Retry(attempts=3, retryable=PASSES)
BACKWARD: Final = Retry(attempts=8)
INSISTENT: Final = Retry(attempts=12, retryable=PASSES)
"""For the pivot and what follows it: about four minutes of asking before a person is needed."""

WIDTH: Final = 100
"""How many legs are under way at once, if a definition doesn't say."""


_HEARD_MS: Final = 10_000


@dataclass(frozen=True)
class Command:
    """A command to be sent: to whom, its type, and where its fields come from."""

    participant: Participant
    kind: type[StepCommand]
    fields: Mapping[str, Value]


@dataclass(frozen=True)
class Choice:
    """The command for the text in the field `by` of the step's result, or `otherwise`."""

    by: str
    cases: Mapping[str, Command]
    otherwise: Command


@dataclass(frozen=True)
class Condition:
    """`left` `test` `right`; see `messages.plan.Condition`."""

    left: Side
    test: Test
    right: Side


@dataclass(frozen=True)
class Signal:
    """What a step without a command waits for: someone's word, though not that of `not_by`."""

    timeout_ms: int
    not_by: Person | None


@dataclass(frozen=True)
class Step:
    """One step as written down. `after` None: after the step written before it. `do` None: it
    waits for `wait`. `child`: the definition that it is; `do` and `undo` are made of it."""

    name: str
    do: Command | None
    undo: Command | None = None
    after: tuple[str, ...] | None = None
    irreversible: bool = False
    pivot: bool = False
    retry: Retry = FORWARD
    undo_retry: Retry = BACKWARD
    timeout_ms: int = 10_000
    on_timeout: OnTimeout = "retry"
    wait: Signal | Instant | None = None
    when: tuple[Condition, ...] = ()
    by: Instant | None = None
    undo_by: str = ""
    undo_cases: Mapping[str, Command] = field(default_factory=dict[str, Command])
    child: Definition | None = None
    each: Legs | Instants | None = None
    width: int = 0


def command(kind: type[StepCommand], /, **fields: Value) -> Command:
    """Ask an account for `kind`. What names and routes the effect is filled in by the engine."""
    return Command(ACCOUNTS, kind, fields)


def ask(participant: Participant, kind: type[StepCommand], /, **fields: Value) -> Command:
    """Ask another participant for `kind`; otherwise like `command`."""
    return Command(participant, kind, fields)


def effect_of(step: str) -> Ref[str]:
    """The effect id of `step`'s forward command: known before the step is answered."""
    return Ref(f"effect.{step}", EffectId)


def leg_effect_of(step: str) -> Ref[str]:
    """For a step with `each`: the effect id of the same leg of `step`, which has `each` too."""
    return Ref(f"effect.{step}.each", EffectId)


def result_of(step: str, field: str) -> Ref[Any]:
    """A field of the result that the participant answered `step` with; of a step with `each`
    "applied" and "refused" say how many legs are, "refused_minor" what those would have got."""
    return Ref(f"steps.{step}.result.{field}")


def condition(left: Side, test: Test, right: Side) -> Condition:
    """For `when=`: compares parameters, results of earlier steps and literals.

    `condition(p.fee_minor, "!=", None)` holds when the optional parameter is there.
    """
    return Condition(left, test, right)


def choose(by: str, cases: Mapping[str, Command], *, otherwise: Command) -> Choice:
    """For `undo=`: the command for the text that the step was answered with in the field `by`.

    `otherwise` is sent when the result says none of the cases, and when nobody answered: it must
    be right then too.
    """
    return Choice(by, cases, otherwise)


When = Condition | tuple[Condition, ...]


def step(
    name: str,
    *,
    do: Command,
    undo: Command | Choice | None = None,
    after: tuple[str, ...] | None = None,
    irreversible: bool = False,
    pivot: bool = False,
    retry: Retry | None = None,
    undo_retry: Retry = BACKWARD,
    timeout_ms: int = 10_000,
    on_timeout: OnTimeout = "retry",
    when: When = (),
    by: Instant | None = None,
    each: Legs | None = None,
    width: int = WIDTH,
) -> Step:
    """One step: a command and either its `undo`, or `pivot`, or (past the pivot) `irreversible`.

    `after` names the steps that must be done before; left out: the step written before.
    `timeout_ms` is how long one attempt waits for its answer. After that `on_timeout` "retry" sends
    the command again; "enquire" asks for its outcome, and sends it again only when it never came;
    "compensate" gives a reversible step up. An undo is tried again on every refusal and time-out.
    `when`: unless all of it holds the step is skipped. `by`: later than that the step is not asked
    for any more, which refuses it.

    `each`: the step is done once for each leg, with the fields of `each.leg`, at most `width` at a
    time. Before the pivot all legs are applied or none is. The pivot itself goes on to the last
    leg, leaves out what is refused, and `result_of` tells how much that is. After the pivot all
    have to be applied.
    """
    if retry is None:
        retry = INSISTENT if pivot or irreversible else FORWARD
    choice = undo if isinstance(undo, Choice) else None
    return Step(
        name,
        do,
        undo.otherwise if isinstance(undo, Choice) else undo,
        after,
        irreversible,
        pivot,
        retry,
        undo_retry,
        timeout_ms,
        on_timeout,
        when=all_of(when),
        by=by,
        undo_by=choice.by if choice else "",
        undo_cases=choice.cases if choice else {},
        each=each,
        width=width if each else 0,
    )


def lock(
    name: str,
    purpose: str,
    resource: Ref[str] | str,
    *,
    wait_ms: int = 20_000,
    max_waiting: int = 100,
    after: tuple[str, ...] | None = None,
    when: When = (),
) -> Step:
    """Hold the lock of `purpose` on `resource` from here on, until `unlock`; a saga that turns back
    gives it up once it has taken back all that came after.

    Sagas get it in the order in which they ask. `max_waiting`: how many may wait at once.
    `wait_ms`: for how long one waits. Beyond either the step is refused. What comes after a saga's
    pivot is asked for as long as it takes, with the lock held; so is a parked saga's lock.
    """
    named: dict[str, Value] = {"purpose": purpose, "resource": resource}
    return step(
        name,
        do=ask(CLAIMS, AcquireLock, **named, timeout_ms=wait_ms, max_waiting=max_waiting),
        undo=ask(CLAIMS, ReleaseLock, **named, lock_id=effect_of(name)),
        after=after,
        # The service says when the time is up: what it says has to be heard.
        timeout_ms=wait_ms + _HEARD_MS,
        when=when,
    )


def unlock(
    name: str, held: Step, *, after: tuple[str, ...] | None = None, pivot: bool = False
) -> Step:
    """Release the lock that the step `held` has taken; as the pivot, or after it."""
    assert held.do is not None, "a lock is a command"
    named = {field: held.do.fields[field] for field in ("purpose", "resource")}
    return step(
        name,
        do=ask(CLAIMS, ReleaseLock, **named, lock_id=effect_of(held.name)),
        after=after,
        pivot=pivot,
        irreversible=not pivot,
        when=held.when,
    )


def wait_for(
    signal: str,
    *,
    timeout_ms: int,
    not_by: Person | None = None,
    after: tuple[str, ...] | None = None,
    when: When = (),
) -> Step:
    """Wait for a person's approval or an outside event, the signal of this name.

    A rejection refuses the step, and so do `timeout_ms` without a signal. `not_by`: the person
    whose approval doesn't count. What comes along becomes the step's result.
    """
    return Step(signal, None, after=after, wait=Signal(timeout_ms, not_by), when=all_of(when))


def wait_until(
    name: str, at: Instant, *, after: tuple[str, ...] | None = None, when: When = ()
) -> Step:
    """Wait for an instant, however far off; not at all when it is past."""
    return Step(name, None, after=after, wait=at, when=all_of(when))


def all_of(when: When) -> tuple[Condition, ...]:
    """`when=` as a tuple."""
    return (when,) if isinstance(when, Condition) else when
