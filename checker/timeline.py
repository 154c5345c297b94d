"""What the engine says, in the words of a timeline."""

from typing import Final

from checker.world import ENQUIRY
from messages.saga import (
    AnswerIgnored,
    CompensationStarted,
    RecoveryAccepted,
    RecoveryRefused,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    SagaResumed,
    SagaStarted,
    StepRefused,
    StepRequested,
    StepSucceeded,
    StepTimedOut,
)

_UNDO: Final = {"do": "", "undo": "undo of "}


def told(event: SagaEvent) -> str:
    """One line without a period."""
    match event:
        case SagaStarted():
            return f"starts {event.plan.definition}@{event.plan.version}"
        case StepRequested() if event.command_type == ENQUIRY:
            return f"enquires after {event.step}#{event.attempt}"
        case StepRequested():
            return f"asks for {_UNDO[event.direction]}{event.step}#{event.attempt}"
        case StepSucceeded():
            return f"knows {_UNDO[event.direction]}{event.step} to be applied"
        case StepRefused():
            again = "will ask again" if event.retry_at_ms else "for good"
            return f"knows {_UNDO[event.direction]}{event.step} to be refused, {again}"
        case StepTimedOut():
            again = "will ask again" if event.retry_at_ms else "asks no more"
            return f"waits no longer for {_UNDO[event.direction]}{event.step}, {again}"
        case AnswerIgnored():
            return f"ignores the answer: {event.why}"
        case CompensationStarted():
            return f"turns back: {event.reason}"
        case SagaCompleted():
            return "COMPLETED"
        case SagaCompensated():
            return "COMPENSATED"
        case SagaParked():
            return f"PARKED at {event.step}: {event.reason}"
        case SagaResumed():
            return f"goes on, {event.state}"
        case RecoveryAccepted():
            return "obeys"
        case RecoveryRefused():
            return f"refuses: {event.reason}"
        case _:
            return type(event).__name__
