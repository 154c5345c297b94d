"""One moment of a checked saga: what the engine knows, what is under way, what was really done.

Times are taken out of the saga: a timer is set or it is not, and which of those that are set comes
first is open. So a moment is equal to another one whatever the clock says.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from messages.identity import Direction
from messages.participant import Enquire
from messages.plan import leg_name
from messages.saga import StepApplied, StepDeclined, StepRequested
from messages.wire import type_name
from orchestrator.legs import Legs
from orchestrator.progress import Saga, StepProgress

SAGA: Final = "saga"
PARENT: Final = "parent"
NOW: Final = 1_000_000_000
"""The time of everything that happens (ms); nothing depends on its value."""
PASSED: Final = NOW + 2_000_000
"""The time once the instants that are parameters have passed; they lie between."""
LATER: Final = 2 * NOW
"""When a timer is due that is not the one to go off now."""

ENQUIRY: Final = type_name(Enquire)

_STAMPS: Final = frozenset(("first_at_ms", "finished_at_ms"))
"""Times that tell when something was; all others are timers."""

Outcome = Literal["applied", "settled", "undone", "voided", "idle", "refused"]
"""What became of an effect, as in `account_service.effects`. `settled`: applied, and another effect
has used it up (a captured hold). `idle`: an undo that found nothing to take back."""


class Order(NamedTuple):
    """A command on its way. `fields` is its own content as JSON, the same for every attempt."""

    step: str
    direction: Direction
    attempt: int
    effect: str
    undoes: str
    type: str
    fields: bytes

    @property
    def is_enquiry(self) -> bool:
        """Whether it only asks what became of the effect."""
        return self.type == ENQUIRY


class Effect(NamedTuple):
    """What a participant remembers of an effect. `attempt` and `reason` only when `refused`,
    `result` when applied: a repetition is answered with it again."""

    order: Order
    outcome: Outcome
    attempt: int = 0
    reason: str = ""
    result: tuple[tuple[str, Any], ...] = ()

    @property
    def is_done(self) -> bool:
        return self.outcome in ("applied", "settled")


class Answer(NamedTuple):
    """An answer on its way. `reason` empty: applied."""

    step: str
    direction: Direction
    attempt: int
    reason: str
    result: tuple[tuple[str, Any], ...] = ()

    def message(self) -> StepApplied | StepDeclined:
        if self.reason:
            return StepDeclined(
                saga_id=SAGA,
                step=self.step,
                direction=self.direction,
                attempt=self.attempt,
                reason=self.reason,
            )
        return StepApplied(
            saga_id=SAGA,
            step=self.step,
            direction=self.direction,
            attempt=self.attempt,
            result=dict(self.result),
        )


class World(NamedTuple):
    """`orders` and `answers` are under way, in no order. `duplicates` and `operators` count how
    often the network may still deliver twice, and a person may still step in; `now_ms`: `NOW`, or
    `PASSED`."""

    saga: Saga
    orders: tuple[Order, ...] = ()
    answers: tuple[Answer, ...] = ()
    effects: tuple[Effect, ...] = ()
    duplicates: int = 0
    operators: int = 0
    now_ms: int = NOW

    def effect(self, effect_id: str) -> Effect | None:
        return next((e for e in self.effects if e.order.effect == effect_id), None)

    def with_effect(self, effect: Effect) -> "World":
        """The same with `effect` in place of what was known under its id."""
        others = tuple(e for e in self.effects if e.order.effect != effect.order.effect)
        return self._replace(effects=(*others, effect))

    def may_change(self, order: Order) -> bool:
        """Whether `order`, once it arrives, may still do something."""
        if order.is_enquiry:
            return False
        known = self.effect(order.effect)
        if known is None:
            return True
        return known.outcome == "refused" and known.attempt < order.attempt

    def may_be_done(self, step: str) -> bool:
        """Whether the step is applied, or can still be by what is under way."""
        return any(e.is_done for e in self.effects if _forward(e.order, step)) or any(
            _forward(order, step) and self.may_change(order) for order in self.orders
        )


def _forward(order: Order, step: str) -> bool:
    return order.step == step and order.direction == "do"


def order_of(event: StepRequested) -> Order:
    return _order(event.step, event.direction, event.attempt, bytes(event.command))


@lru_cache(maxsize=4_096)
def _order(step: str, direction: Direction, attempt: int, command: bytes) -> Order:
    fields: dict[str, Any] = msgspec.json.decode(command)
    kind, effect, undoes = fields.pop("type"), fields.pop("effect_id"), fields.pop("undoes", "")
    named = ("issued_at_ms", "attempt", "saga_id", "step", "direction", "reply_to", "child_id")
    for name in named:
        fields.pop(name, None)
    content = msgspec.json.encode(fields, order="deterministic")
    return Order(step, direction, attempt, effect, undoes, kind, content)


@lru_cache(maxsize=4_096)
def content(fields: bytes) -> dict[str, Any]:
    """`Order.fields` as a dict, not to be changed."""
    return msgspec.json.decode(fields)


def _times(of: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(f.name for f in msgspec.structs.fields(of) if f.name.endswith("_ms"))


_STEP_TIMES: Final = _times(StepProgress)
_SAGA_TIMES: Final = _times(Saga)

Timer = tuple[str, str]
"""(step, field of its progress), or ("", field of the saga)."""


def places(saga: Saga) -> Iterator[tuple[str, StepProgress]]:
    """How each step stands, and instead of one that is done leg by leg each of its legs."""
    for planned, step in zip(saga.plan.steps, saga.steps, strict=True):
        if not planned.each:
            yield planned.name, step
            continue
        legs = saga.legs[planned.name]
        for leg in range(len(legs.letters)):
            yield leg_name(planned.name, leg), legs.at(leg)


def timers(saga: Saga) -> list[Timer]:
    """The timers that are set."""
    found = [("", name) for name in _SAGA_TIMES if name not in _STAMPS and getattr(saga, name)]
    for place, step in places(saga):
        found += [
            (place, name) for name in _STEP_TIMES if name not in _STAMPS and getattr(step, name)
        ]
    return found


def with_due(saga: Saga, due: list[Timer]) -> Saga:
    """The saga when the timers `due` have come up; with none, as it is kept in a `World`."""
    steps = [
        _with_due_step(step, planned.name, due)
        for planned, step in zip(saga.plan.steps, saga.steps, strict=True)
    ]
    legs = {name: _with_due_legs(legs, name, due) for name, legs in saga.legs.items()}
    changes = _changes(saga, _SAGA_TIMES, "", due)
    return msgspec.structs.replace(saga, steps=tuple(steps), legs=legs, **changes)


def _with_due_step(step: StepProgress, place: str, due: list[Timer]) -> StepProgress:
    changes = _changes(step, _STEP_TIMES, place, due)
    return msgspec.structs.replace(step, **changes) if changes else step


def _with_due_legs(legs: Legs, step: str, due: list[Timer]) -> Legs:
    still_open = {
        leg: _with_due_step(one, leg_name(step, leg), due) for leg, one in legs.open.items()
    }
    return msgspec.structs.replace(legs, open=still_open)


def _changes(
    of: msgspec.Struct, names: tuple[str, ...], step: str, due: list[Timer]
) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in names:
        value = getattr(of, name)
        wanted = NOW if name in _STAMPS or (step, name) in due else LATER
        if value and value != wanted:
            changes[name] = wanted
    return changes
