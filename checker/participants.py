"""What a participant may make of a command: an abstraction of `account_service.ledger`, and of
`participant.effects`.

It remembers effects as the ledger does: an effect is applied once, a repetition hears the first
outcome, an undo that finds nothing voids its effect. But what it has no memory of it decides as it
likes, so that every refusal is met at every place; it knows no balances.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from checker.world import Answer, Effect, Order, Outcome, World, content
from messages.child import StartChild, UndoChild
from messages.participant import EFFECT_UNKNOWN, OUTCOME_UNKNOWN
from messages.wire import type_name

VOIDED: Final = "effect_voided"
REUSED: Final = "effect_reused"
FORGOTTEN: Final = "effect_expired"
NO_HOLD: Final = "hold_unknown"
UNDER_WAY: Final = "effect_in_progress"
"""Of an undo: what it takes back is being done, by a participant that takes its time."""

_AT_ONCE: Final = ("account.", "claims.", "saga.")
"""Commands of the bank's own services: their outcome is known as soon as they have come."""
_MOVES: Final = {
    "account.Debit.v1": -1,
    "account.Credit.v1": 1,
    "account.CreditOnHold.v1": 1,
}
_HOLDS: Final = frozenset(("account.Hold.v1", "account.CreditOnHold.v1", "claims.AcquireLock.v1"))
_CAPTURE: Final = "account.Capture.v1"
_USES_HOLD: Final = frozenset((_CAPTURE, "account.Release.v1", "claims.ReleaseLock.v1"))
"""A lock is held and released like a hold."""
_START_CHILD: Final = type_name(StartChild)
_UNDO_CHILD: Final = type_name(UndoChild)

Moves = Mapping[tuple[str, str], int]
"""(account, currency) -> minor units."""
MovesOf = Callable[[Order], Moves]
"""What a saga that is a step moves in all once it is completed, given the order that begins it."""


class Reaction(NamedTuple):
    """`faults`: 1 when it is not the hoped for one."""

    text: str
    faults: int
    world: World
    answer: Answer


def react(
    world: World, order: Order, refusals: tuple[str, ...], result: Mapping[str, Any]
) -> Iterator[Reaction]:
    """Everything that the participant may do about `order`, which it takes off the network.

    `refusals`: the reasons it may give on its own; `result`: what it answers when it is applied.
    """
    before = world
    world = _without(world, order)

    def applied(text: str, after: World) -> Reaction:
        done = after.effect(order.effect)
        answer = Answer(order.step, order.direction, order.attempt, "", done.result if done else ())
        return Reaction(text, 0, after, answer)

    def refused(reason: str, text: str = "", after: World = world, faults: int = 1) -> Reaction:
        answer = Answer(order.step, order.direction, order.attempt, reason)
        return Reaction(text or f"is refused: {reason}", faults, after, answer)

    known = world.effect(order.effect)
    if not order.type.startswith(_AT_ONCE):
        # What it does not know yet may still be done: a command stays under way.
        after = world if order.is_enquiry else before
        yield refused(OUTCOME_UNKNOWN, "can't be told to be applied or not", after)
        if any(other.effect == order.undoes for other in world.orders):
            yield refused(UNDER_WAY)
    if order.is_enquiry:
        if known is None:
            yield refused(EFFECT_UNKNOWN, "is said never to have come", faults=0)
        elif known.outcome in ("voided", "undone"):
            yield refused(VOIDED, faults=0)
        elif known.outcome == "refused":
            # The saga takes it for final: a command that was overtaken must not be done any more.
            barred = known._replace(attempt=max(known.attempt, order.attempt))
            after = world.with_effect(barred)
            yield refused(known.reason, "is said to have been refused", after, faults=0)
        else:
            yield applied("is said to have been applied", world)
    elif known is None or (known.outcome == "refused" and known.attempt < order.attempt):
        for text, after in _apply(world, order, tuple(result.items())):
            yield applied(text, after)
        for reason in _reasons(world, order, refusals):
            after = world.with_effect(Effect(order, "refused", order.attempt, reason))
            yield refused(reason, after=after)
    elif known.outcome in ("voided", "undone"):
        yield refused(VOIDED, faults=0)
    elif known.order._replace(attempt=0) != order._replace(attempt=0):
        yield refused(REUSED)
    elif known.outcome == "refused":
        yield refused(known.reason, "is refused as before", faults=0)
    else:
        yield applied("was applied before", world)
    yield refused(FORGOTTEN, f"can't be told to be applied or not ({FORGOTTEN})")


def _without(world: World, order: Order) -> World:
    at = world.orders.index(order)
    return world._replace(orders=world.orders[:at] + world.orders[at + 1 :])


def _finds(world: World, order: Order) -> bool:
    """Whether an undo finds its effect applied, and not used up."""
    forward = world.effect(order.undoes)
    return forward is not None and forward.outcome == "applied"


def _reasons(world: World, order: Order, refusals: tuple[str, ...]) -> tuple[str, ...]:
    if order.undoes and not _finds(world, order):
        return ()
    if order.type in _USES_HOLD and _hold(world, order) is None:
        return (NO_HOLD,)
    return refusals


def _hold(world: World, order: Order) -> Effect | None:
    fields = content(order.fields)
    hold = world.effect(fields.get("hold_id") or fields.get("lock_id", ""))
    return hold if hold and hold.outcome == "applied" and hold.order.type in _HOLDS else None


def _apply(
    world: World, order: Order, result: tuple[tuple[str, Any], ...]
) -> Iterator[tuple[str, World]]:
    """What the order does when nothing speaks against it: at most one thing."""
    forward = world.effect(order.undoes) if order.undoes else None
    if order.undoes and not _finds(world, order):
        if forward is None or forward.outcome == "refused":
            named = order._replace(direction="do", attempt=0, effect=order.undoes, undoes="")
            world = world.with_effect(Effect(named, "voided"))
        yield "finds nothing to take back", world.with_effect(_plain(order, "idle"))
        return
    hold = _hold(world, order)
    if order.type in _USES_HOLD:
        if hold is None:
            return
        world = world.with_effect(hold._replace(outcome="undone" if order.undoes else "settled"))
    elif forward is not None:
        world = world.with_effect(forward._replace(outcome="undone"))
    done = _plain(order, "applied")._replace(result=result if order.direction == "do" else ())
    yield "is applied", world.with_effect(done)


def _plain(order: Order, outcome: Outcome) -> Effect:
    return Effect(order._replace(attempt=0), outcome)


def moved(world: World, moves_of: MovesOf) -> Counter[tuple[str, str]]:
    """What the saga has moved in all, its children included; no zeros."""
    moves: Counter[tuple[str, str]] = Counter()
    for effect in world.effects:
        if effect.outcome not in ("applied", "settled", "undone"):
            continue
        order, source = effect.order, effect.order
        if order.type == _START_CHILD:
            moves.update(moves_of(order))
        elif order.type == _UNDO_CHILD:
            forward = world.effect(order.undoes)
            assert forward is not None, "a child is taken back only where it was begun"
            moves.subtract(moves_of(forward.order))
        sign = _MOVES.get(order.type, 0)
        if order.type == _CAPTURE:
            hold = world.effect(content(order.fields)["hold_id"])
            assert hold is not None, "a capture is applied only where its hold stands"
            source, sign = hold.order, -1
        if sign:
            fields = content(source.fields)
            moves[fields["account_id"], fields["currency"]] += sign * fields["amount_minor"]
    return Counter({place: amount for place, amount in moves.items() if amount})


def transit(world: World, moves_of: MovesOf) -> dict[str, int]:
    """Currency -> what is neither here nor there, minor units; no zeros."""
    sums: Counter[str] = Counter()
    for (_, currency), amount in moved(world, moves_of).items():
        sums[currency] -= amount
    return {currency: amount for currency, amount in sums.items() if amount}


def held(world: World) -> list[str]:
    """The steps whose holds stand, or whose locks are held."""
    return [
        e.order.step for e in world.effects if e.order.type in _HOLDS and e.outcome == "applied"
    ]
