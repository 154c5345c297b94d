"""What the API listens to in the sagas' journal: the events that answer a caller, and no more.

Two thirds of the events are about steps, and a start carries its whole plan; nobody waits for
either, so they are not even decoded.
"""

from typing import Any, Final

import msgspec

from messages.saga import (
    CompensationStarted,
    RecoveryAccepted,
    RecoveryRefused,
    SagaCompensated,
    SagaCompleted,
    SagaParked,
    SagaResumed,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    StartRefused,
    StartRepeated,
    StepWaiting,
    WaitEnded,
)
from messages.wire import Codec


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="saga.SagaStarted.v1"):
    """As much of a `SagaStarted` as its caller waits for."""

    saga_id: str
    request_id: str


Event = (
    Started
    | StartRepeated
    | StartRefused
    | CompensationStarted
    | SagaCompleted
    | SagaCompensated
    | SagaParked
    | SagaResumed
    | RecoveryAccepted
    | RecoveryRefused
    | StepWaiting
    | WaitEnded
    | SignalAccepted
    | SignalRepeated
    | SignalRefused
)
HEARD: Final[Codec[Any]] = Codec(Event)
