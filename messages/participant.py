"""What a saga's step sends to a participant: the fields that every command carries, and the
question that is asked instead of sending a command again.

A participant answers with `messages.saga.StepApplied` or `StepDeclined` to the topic `reply_to`,
keyed by `saga_id`.
"""

from typing import Annotated, Final, Literal

import msgspec

from messages.identity import Direction

EffectId = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
SagaName = Annotated[str, msgspec.Meta(pattern=r"^([\x21-\x7e]{1,64}(?!\n))?$", max_length=64)]
StepName = Annotated[str, msgspec.Meta(max_length=64)]

OUTCOME_UNKNOWN: Final = "outcome_unknown"
"""The reason of a `StepDeclined` that can't tell (yet) whether the effect was applied. The engine
takes it for an answer that did not come in time: it asks again, and guesses nothing."""

EFFECT_UNKNOWN: Final = "effect_unknown"
"""The reason of a `StepDeclined` to an `Enquire`: no command of this effect has come so far. The
engine sends the command, which may overtake the one before it: the effect id makes it safe."""


class StepCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What every command of a step carries; the participant does one effect once.

    `issued_at_ms` is when the effect was first asked for (ms since 1970, UTC): a command older
    than the effect horizon is refused. `attempt` counts the sends of one effect, from 1.
    `undoes` names the forward effect that this command takes back, if it is a compensation. A
    compensation's `issued_at_ms` is when that FORWARD effect was first asked for: only so can a
    participant that doesn't know the forward effect tell "it never came" from "I have forgotten
    it".
    """

    effect_id: EffectId
    issued_at_ms: int
    attempt: int = 1
    undoes: Annotated[str, msgspec.Meta(max_length=200)] = ""
    saga_id: SagaName = ""
    step: StepName = ""
    direction: Direction = "do"
    reply_to: Literal["", "orchestrator.input"] = ""


class Enquire(StepCommand, frozen=True, kw_only=True, tag="participant.Enquire.v1"):
    """What became of the effect `effect_id`? Asked of a participant whose answer did not come.

    `command` is the type of the command that asked for the effect, `key` its record's key. The
    answer is the effect's own: applied, or declined with its reason; or declined as
    `outcome_unknown` or `effect_unknown`. An enquiry never does anything; but an effect that it was
    told to be declined is not done any more by a command of a lower attempt than its own.
    """

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    command: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
