"""The same request again: how it is known, and what it hears. Pure."""

from hashlib import blake2b
from typing import Final, TypeVar

from messages.saga import (
    RecoverSaga,
    RecoveryRepeated,
    SignalRepeated,
    SignalSaga,
    StartRepeated,
    StartSaga,
)
from messages.wire import encode
from orchestrator.progress import Finished, Saga

R = TypeVar("R", StartRepeated, SignalRepeated, RecoveryRepeated)

REUSED: Final = ("request_reused", "this request was used with another content")
"""Reason and detail of what is asked for under a name that stands for something else."""


def digest(*said: object) -> str:
    """What names the content of a request."""
    return blake2b(encode(said), digest_size=8).hexdigest()


def repeated(
    kind: type[R], saga: Saga | Finished, message: StartSaga | SignalSaga | RecoverSaga, now_ms: int
) -> R:
    """The answer: the saga as it stands."""
    return kind(
        saga_id=message.saga_id,
        at_ms=now_ms,
        request_id=message.request_id,
        state=saga.state,
        reason=saga.standing,
    )
