"""What must hold at every event, and at every moment, of every history.

A rule looks at what was really done, which the engine can't see, and says what is wrong, or "".
"""

from itertools import chain

from checker.course import Course
from checker.happenings import Happening
from checker.participants import NO_HOLD, held, moved, transit
from checker.world import World, order_of, places
from messages.child import ParentAnswered, ParentAsked
from messages.saga import (
    FINISHED,
    AnswerIgnored,
    CompensationStarted,
    RecoveryAccepted,
    RecoveryRefused,
    RecoveryRepeated,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    SagaStarted,
    SignalRefused,
    SignalRepeated,
    StartRefused,
    StartRepeated,
    StepApplied,
    StepRequested,
)
from orchestrator.course import PIVOT_PASSED
from orchestrator.progress import TIMED_OUT, UNSURE, StepProgress


def wrong_with_event(course: Course, world: World, event: SagaEvent) -> str:
    """`world`: the moment before `event`."""
    match event:
        case (
            AnswerIgnored()
            | StartRepeated()
            | StartRefused()
            | RecoveryAccepted()
            | RecoveryRepeated()
            | RecoveryRefused()
            | SignalRepeated()
            | SignalRefused()
            | ParentAsked()
        ):
            return ""
        case ParentAnswered():
            return _wrong_answer(world, event)
        case SagaStarted():
            return "the saga is started twice"
        case _:
            pass
    if world.saga.state in FINISHED and not _is_reopened(world, event):
        return f"the saga is {world.saga.state}, and yet goes on"
    match event:
        case StepRequested():
            return _wrong_request(course, world, event)
        case SagaCompleted():
            return _wrong_completion(course, world)
        case SagaCompensated():
            return _wrong_compensation(course, world)
        case SagaParked():
            if not event.reason or event.step not in course.parts:
                return "the saga is parked without saying for what"
            if event.reason == PIVOT_PASSED:
                return f"{event.step} was applied while the saga went back: nobody can settle that"
            return ""
        case _:
            return ""


def _is_reopened(world: World, event: SagaEvent) -> bool:
    """Whether a completed saga turns back because its parent takes it back."""
    parent = world.saga.parent
    wanted = parent is not None and parent.direction == "undo" and world.saga.state == "completed"
    return wanted and isinstance(event, CompensationStarted)


def _wrong_answer(world: World, event: ParentAnswered) -> str:
    """Whether the parent is told something that is not so."""
    state, direction = world.saga.state, event.parent.direction
    asked = world.saga.parent
    if asked is not None and asked.direction == direction and asked != event.parent:
        return "another attempt than the last one is answered"
    applied = "completed" if direction == "do" else "compensated"
    declined = "compensated" if direction == "do" else ""
    if state != (declined if event.reason else applied):
        return f"the parent hears {event.reason or 'applied'} of its {direction}, and it is {state}"
    return ""


def _wrong_request(course: Course, world: World, event: StepRequested) -> str:
    part = course.parts[event.step]
    order = order_of(event)
    names = {
        other.effect
        for other in chain(world.orders, (effect.order for effect in world.effects))
        if other.step == order.step and other.direction == order.direction
    }
    if names - {order.effect}:
        return f"{event.step} is asked for again under another effect id"
    allowed = part.attempts[event.direction] + course.bounds.operators - world.operators
    if event.attempt > allowed:
        return f"{event.step} is asked for the {event.attempt}th time, its policy allows {allowed}"
    steps = course.plan.steps
    if event.direction == "do":
        is_unknown = world.saga.at(part.node).reason == TIMED_OUT
        if is_unknown and part.node.step.on_timeout == "enquire" and not order.is_enquiry:
            return f"{event.step} is sent again although its outcome is unknown"
        early = [steps[i].name for i in part.node.after if not _is_met(course, world, i)]
        return f"{event.step} is asked for before {early[0]} is applied" if early else ""
    for i in part.node.dependants:
        for later in course.names(i):
            if world.may_be_done(later):
                return f"{event.step} is taken back before {later}, which depends on it"
    for name, other in course.parts.items():
        if not other.node.reversible and world.may_be_done(name):
            return (
                f"{event.step} is taken back although {name}, which can't be taken back, "
                "is applied or may be"
            )
    return ""


def _is_met(course: Course, world: World, index: int) -> bool:
    """Whether a step is really done, so that what waits for it may begin."""
    step, planned = world.saga.steps[index], course.plan.steps[index]
    if planned.do is None:
        return step.state in ("succeeded", "skipped")
    if step.state == "skipped":
        return True
    names = course.names(index)
    done = [name for name in names if _is_done(world, name)]
    # What is paid leg by leg may leave out those who refuse, but not all of them.
    left_out = planned.each and planned.pivot and done
    return all(name in done or (left_out and not world.may_be_done(name)) for name in names)


def _is_done(world: World, step: str) -> bool:
    return any(
        e.is_done and e.order.step == step and e.order.direction == "do" for e in world.effects
    )


def _wrong_completion(course: Course, world: World) -> str:
    for index, planned in enumerate(course.plan.steps):
        if not _is_met(course, world, index):
            return f"the saga is completed although {planned.name} is not applied"
    return _wrong_end(course, world, "completed")


def _wrong_compensation(course: Course, world: World) -> str:
    for name in course.parts:
        if world.may_be_done(name):
            return f"the saga is compensated although {name} is applied or may be"
    for (account, currency), amount in moved(world, course.moves_of).items():
        return f"the saga is compensated and has moved {amount:+} {currency} on {account}"
    return _wrong_end(course, world, "compensated")


def _wrong_end(course: Course, world: World, state: str) -> str:
    for currency, amount in transit(world, course.moves_of).items():
        return f"the saga is {state} with {amount:+} {currency} in transit"
    for step in held(world):
        return f"the saga is {state} and the hold of {step} still stands"
    for order in world.orders:
        if world.may_change(order):
            undo = "the undo of " if order.direction == "undo" else ""
            return f"the saga is {state} while {undo}{order.step} is under way and may be applied"
    return ""


def wrong_with_moment(course: Course, world: World) -> str:
    """What is wrong with how things stand."""
    saga = world.saga
    twice: set[tuple[str, str]] = set()
    for effect in world.effects:
        if effect.order.direction == "undo" and effect.reason == NO_HOLD:
            return f"the undo of {effect.order.step} finds no hold to release, and never will"
        place = (effect.order.step, effect.order.direction)
        if effect.outcome in ("applied", "settled", "undone"):
            if place in twice:
                return f"{effect.order.step} is applied twice, under two effect ids"
            twice.add(place)
    for name, step in places(saga):
        if course.parts[name].node.do is not None and (wrong := _wrong_belief(world, name, step)):
            return wrong
    for planned in course.plan.steps:
        if planned.each and saga.legs[planned.name].under_way > planned.width:
            return f"more than {planned.width} legs of {planned.name} are under way"
    wanted_back = saga.parent is not None and saga.parent.direction == "undo"
    if wanted_back and not (saga.heading_back or saga.state == "compensated"):
        return f"the parent takes the saga back, and it is {saga.state}"
    if saga.state in ("running", "compensating") and course.engine.next_due_ms(saga) is None:
        return f"the saga is {saga.state} and no timer is set: without an answer it is stuck"
    return ""


def _wrong_belief(world: World, name: str, step: StepProgress) -> str:
    """Whether the saga is sure of something that is not so."""
    if step.state == "succeeded" and not _is_done(world, name):
        return f"the saga holds {name} for applied, which it is not"
    is_sure = step.state in ("undone", "pending", "skipped") or (
        step.state == "refused" and step.reason not in UNSURE
    )
    if is_sure and world.may_be_done(name):
        return f"the saga holds {name} for {step.state}, yet it is applied or may be"
    return ""


def wrong_with_happening(happening: Happening, after: World) -> str:
    """Whether the engine has let something pass that it had to act on."""
    if happening.must_act and after.saga is happening.world.saga:
        return "a timer is due and nothing changes: the saga is stuck"
    if happening.forbidden and after.saga is not happening.world.saga:
        return f"{happening.forbidden} has decided what is for another person to decide"
    answer = happening.answer
    if answer is None:
        return ""
    if not happening.events:
        return "an answer leaves no event"
    if not isinstance(answer, StepApplied) or after.saga.state in FINISHED:
        return ""
    step = dict(places(after.saga))[answer.step]
    if step.direction == answer.direction and step.state not in ("succeeded", "undone"):
        return f"{answer.step} is known to be applied, and the saga does not believe it"
    return ""
