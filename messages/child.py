"""Sagas in sagas: what a step that is a saga (the parent's) asks of that saga (the child), and what
the child's journal says of it.

The child is a saga of its own, named by `messages.identity.child_id`. Its end is answered to the
parent as any participant answers: `StepApplied` when it completed, `StepDeclined` with its reason
when it was compensated, so nothing has moved. A child that is under way, or parked, says nothing.
"""

from typing import Annotated, Any, Final

import msgspec

from messages.identity import Direction
from messages.participant import StepCommand
from messages.wire import type_name

ChildId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
ParentId = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,64}(?!\n)$")]


class _OfParent(StepCommand, frozen=True, kw_only=True):
    """`saga_id` and `step` are the parent's, `child_id` the saga that is meant."""

    saga_id: ParentId  # pyright: ignore[reportGeneralTypeIssues]
    child_id: ChildId


class StartChild(_OfParent, frozen=True, kw_only=True, tag="saga.StartChild.v1"):
    """Begin the child, or say how it ended. The same child is never begun twice."""

    definition: str
    version: int
    params: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class UndoChild(_OfParent, frozen=True, kw_only=True, tag="saga.UndoChild.v1"):
    """Take the child back: what it is doing, or has done. If it never came it never will."""


START_CHILD: Final = type_name(StartChild)


class ParentStep(msgspec.Struct, frozen=True):
    """Whom a child answers to: the step that asked last, and in which attempt."""

    saga_id: str
    step: str
    direction: Direction
    attempt: int


class ParentAsked(msgspec.Struct, frozen=True, kw_only=True, tag="saga.ParentAsked.v1"):
    """The parent asks again, or wants the child taken back: the latest attempt is answered."""

    saga_id: str
    at_ms: int
    parent: ParentStep


class ParentAnswered(msgspec.Struct, frozen=True, kw_only=True, tag="saga.ParentAnswered.v1"):
    """What the parent is told. `reason` empty: applied; else declined with it."""

    saga_id: str
    at_ms: int
    parent: ParentStep
    reason: str = ""
    detail: str = ""


class ChildRefused(msgspec.Struct, frozen=True, kw_only=True, tag="saga.ChildRefused.v1"):
    """The child is not begun, and never will be under this id; the parent's next try has another.

    `reason` is `effect_voided` when the parent took it back before it came.
    """

    saga_id: str
    at_ms: int
    parent: ParentStep
    reason: str
    detail: str = ""
