"""Everything that can happen next to a saga. A new kind of message is one more source here.

A participant handles a command at some moment between its sending and its answer. Which one makes a
difference only where another command meets the same effects. So it is handled when its answer
arrives; only beside other commands of its kin may it also be handled with the answer still to come.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, get_args

from checker.course import Course, Part, undo_of
from checker.participants import Reaction, react
from checker.world import NOW, PASSED, SAGA, Answer, Order, World, places, timers, with_due
from messages.child import StartChild
from messages.plan import AwaitSignal
from messages.saga import (
    AnswerIgnored,
    RecoverSaga,
    RecoveryAction,
    SagaEvent,
    SignalSaga,
    StepApplied,
    StepDeclined,
    Verdict,
)

_TIMERS: Final = {
    "deadline_at_ms": "the deadline comes",
    "timeout_at_ms": "{step} times out",
    "retry_at_ms": "{step} is due for another try",
}


class Happening(NamedTuple):
    """`world` is what it changes outside of the engine, `events` what the engine makes of it;
    `answer` is what the engine was told, if it was an answer. `faults`: what it counts for.
    `must_act`: something has to change; `forbidden`: nothing may, for it is asked by this one."""

    text: str
    faults: int
    world: World
    events: list[SagaEvent]
    answer: StepApplied | StepDeclined | None = None
    must_act: bool = False
    forbidden: str = ""


def _answers(course: Course, world: World) -> Iterator[Happening]:
    for answer in dict.fromkeys(world.answers):
        kept = list(world.answers)
        kept.remove(answer)
        left = world._replace(answers=tuple(kept))
        yield _told(course, left, answer, f"late answer: {_named(answer)}, {_said(answer)}", 0)


def _orders(course: Course, world: World) -> Iterator[Happening]:
    for order in dict.fromkeys(world.orders):
        part = course.parts[order.step]
        refusals = part.refusals if order.direction == "do" else part.refusals[:1]
        beside = sum(other.step in part.kin for other in world.orders) > 1
        for text, faults, after, answer in _reactions(world, order, refusals, part):
            name = _named(answer)
            yield _told(course, after, answer, f"{name} {text}", faults)
            # What changes nothing can as well happen when its answer arrives.
            if beside and after.effects != world.effects:
                late = after._replace(answers=(*after.answers, answer))
                yield Happening(f"{name} {text}; its answer is late", faults, late, [])
            if world.duplicates:
                # A second answer comes from a second delivery of the command.
                twice = after._replace(
                    duplicates=world.duplicates - 1, orders=(*after.orders, order)
                )
                told = f"{name} {text}; the command will come again"
                yield _told(course, twice, answer, told, faults + 1)


def _reactions(
    world: World, order: Order, refusals: tuple[str, ...], part: Part
) -> Iterator[Reaction]:
    first, *others = part.results
    yield from react(world, order, refusals, first)
    may_apply = not order.is_enquiry and world.effect(order.effect) is None
    if may_apply and order.direction == "do":
        for result in others:
            yield next(react(world, order, (), result))


def _told(course: Course, world: World, answer: Answer, text: str, faults: int) -> Happening:
    message = answer.message()
    events = course.engine.decide(world.saga, message, world.now_ms, course.definitions)
    return Happening(text, faults, world, events, message)


def without_spent(course: Course, world: World) -> World:
    """The world without the messages that have no part to play any more: commands that can do
    nothing new, and answers, that the engine ignores. It will ignore them later, too: attempts only
    grow, and a step that is taken back stays so."""

    def is_spent(answer: Answer) -> bool:
        events = course.engine.decide(
            world.saga, answer.message(), world.now_ms, course.definitions
        )
        return all(isinstance(event, AnswerIgnored) for event in events)

    answers = tuple(answer for answer in world.answers if not is_spent(answer))
    orders = tuple(
        order
        for order in world.orders
        if world.may_change(order)
        or not all(is_spent(reaction.answer) for reaction in react(world, order, (), {}))
    )
    return world._replace(orders=orders, answers=answers)


def _named(answer: Answer) -> str:
    direction = "" if answer.direction == "do" else "undo of "
    return f"{direction}{answer.step}#{answer.attempt}"


def _said(answer: Answer) -> str:
    return f"refused: {answer.reason}" if answer.reason else "applied"


def _timers(course: Course, world: World) -> Iterator[Happening]:
    engine, saga = course.engine, world.saga
    due = [
        timer
        for timer in timers(saga)
        if (at := engine.next_due_ms(with_due(saga, [timer]))) is not None and at <= NOW
    ]
    waiting = {name for name, step in places(saga) if step.state == "waiting"}
    for step, field in due:
        text = "the wait of {step} is over" if step in waiting else _TIMERS[field]
        text = text.format(step=step)
        events = engine.on_time(with_due(saga, [(step, field)]), world.now_ms)
        is_fault = field != "retry_at_ms" and step not in waiting
        yield Happening(text, int(is_fault), world, events, must_act=True)
    if len(due) > 1:
        events = engine.on_time(with_due(saga, due), world.now_ms)
        yield Happening("the engine was down: all timers are due", 1, world, events, must_act=True)


def _operators(course: Course, world: World) -> Iterator[Happening]:
    if not world.operators:
        return
    after = world._replace(operators=world.operators - 1)
    for action in get_args(RecoveryAction):
        message = RecoverSaga(
            saga_id=SAGA, request_id="operator", action=action, who="operator", why="check"
        )
        events = course.engine.decide(world.saga, message, world.now_ms, course.definitions)
        yield Happening(f"an operator asks: {action}", 1, after, events)


def _signals(course: Course, world: World) -> Iterator[Happening]:
    for name, part in course.parts.items():
        if not isinstance(part.node.step.wait, AwaitSignal):
            continue
        words: list[tuple[str, Verdict]] = [("somebody", "approve"), ("somebody", "reject")]
        if part.node.not_by:
            words.append((str(course.start.params[part.node.not_by[-1]]), "approve"))
        for who, verdict in words:
            message = SignalSaga(
                saga_id=SAGA,
                signal=name,
                request_id=name,
                verdict=verdict,
                who=who,
                payload=dict(part.results[0]),
            )
            events = course.engine.decide(world.saga, message, world.now_ms, course.definitions)
            yield Happening(
                f"{who} answers {name}: {verdict}",
                int(verdict != "approve"),
                world,
                events,
                forbidden="" if who == "somebody" else who,
            )


def _instants(course: Course, world: World) -> Iterator[Happening]:
    if world.now_ms == NOW and any(p.node.by or p.node.until for p in course.parts.values()):
        yield Happening("the instants have passed", 1, world._replace(now_ms=PASSED), [])


def _parents(course: Course, world: World) -> Iterator[Happening]:
    parent = world.saga.parent
    if not isinstance(course.start, StartChild) or parent is None or parent.direction == "undo":
        return
    events = course.engine.decide(
        world.saga, undo_of(course.start), world.now_ms, course.definitions
    )
    yield Happening("its parent takes it back", 1, world, events)


def _repeated_start(course: Course, world: World) -> Iterator[Happening]:
    if isinstance(course.start, StartChild):
        return
    events = course.engine.decide(world.saga, course.start, world.now_ms, course.definitions)
    yield Happening("the caller asks again", 1, world, events)


SOURCES: Final[tuple[Callable[[Course, World], Iterator[Happening]], ...]] = (
    _orders,
    _answers,
    _timers,
    _signals,
    _instants,
    _operators,
    _repeated_start,
    _parents,
)


def happenings(course: Course, world: World) -> Iterator[Happening]:
    """Everything that can happen next."""
    for source in SOURCES:
        yield from source(course, world)
