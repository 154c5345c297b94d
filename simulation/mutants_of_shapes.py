"""Mutants of sagas that are steps, of legs, locks and claims; see `simulation/mutants.py`."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from claims import locks, quotas
from claims.locks import Lock, Party
from claims.machine import ClaimsMachine
from claims.quotas import Quota
from messages import identity
from messages.child import ParentAnswered, ParentStep
from messages.claims import Claim
from orchestrator import course, saga
from orchestrator import progress as progress_of_sagas
from orchestrator.progress import StepProgress
from participant.outcomes import Applied
from simulation.mutant import Mutant


def _completed_for_good(original: Any) -> Any:
    def undo_child(known: Any, message: Any, now_ms: int, *rest: Any) -> Any:
        if known is None or known.state != "completed":
            return original(known, message, now_ms, *rest)
        asking = ParentStep(message.saga_id, message.step, "undo", message.attempt)
        return [ParentAnswered(saga_id=known.id, at_ms=now_ms, parent=asking)]

    return undo_child


def _another_life_each_time(_: Any) -> Any:
    def next_life(self: Any) -> int:
        return int(self.life + (self.state in ("requested", "timed_out")))

    return property(next_life)


def _refused_legs_cost_nothing(original: Any) -> Any:
    def whole(*arguments: Any, **named: Any) -> StepProgress:
        step: StepProgress = original(*arguments, **named)
        if "refused_minor" not in step.result:
            return step
        return msgspec.structs.replace(step, result={**step.result, "refused_minor": 0})

    return whole


def _through_with_the_first_leg(original: Any) -> Any:
    def whole(step: Any, legs: Any, elements: Any, **named: Any) -> StepProgress:
        if legs.applied:
            legs = msgspec.structs.replace(legs, letters=legs.letters[: legs.applied], open={})
        whole: StepProgress = original(step, legs, elements, **named)
        return whole

    return whole


def _legs_share_an_effect(_: Any) -> Any:
    return lambda saga_id, step, direction: identity.effect_id(
        saga_id, step.partition(".")[0], direction
    )


def _another_child_each_time(original: Any) -> Any:
    count = iter(range(10**9))
    return lambda saga_id, step, at_ms, life: original(saga_id, step, at_ms, next(count))


def _granted_to_whoever_asks(_: Any) -> Any:
    return lambda lock, command: Applied()


def _takes_the_place_of_the_holder(_: Any) -> Any:
    def given(lock: Lock, effect_id: str) -> Lock:
        party: Party = next(one for one in lock.queue if one.effect_id == effect_id)
        return Lock(party, tuple(one for one in lock.queue if one is not party))

    return given


def _kept(_: Any) -> Any:
    return lambda lock, effect_id: lock


def _kept_by_who_turns_back(original: Any) -> Any:
    def decide(self: Any, message: Any, now_ms: int) -> Any:
        if getattr(message, "undoes", "") and getattr(message, "lock_id", ""):
            message = msgspec.structs.replace(message, lock_id="another")
        return original(self, message, now_ms)

    return decide


def _claimed_without_end(original: Any) -> Callable[..., Any]:
    def decide(quota: Quota | None, command: Any) -> Any:
        return Applied() if isinstance(command, Claim) else original(quota, command)

    return decide


def _nothing_is_given_back(original: Any) -> Any:
    def evolve(quota: Quota | None, command: Any) -> Quota:
        changed: Quota = original(quota, command)
        return changed if isinstance(command, Claim) or quota is None else quota

    return evolve


OF_SHAPES: Final = (
    Mutant(
        "a completed saga is not taken back with its parent",
        (saga, "undo_child", _completed_for_good),
    ),
    Mutant(
        "a step that is asked for again begins another saga",
        (StepProgress, "next_life", _another_life_each_time),
    ),
    Mutant(
        "what a payroll could not pay is not given back",
        (progress_of_sagas, "whole", _refused_legs_cost_nothing),
    ),
    Mutant(
        "a step is through with its first leg",
        (progress_of_sagas, "whole", _through_with_the_first_leg),
    ),
    Mutant("the legs of a step share one effect", (course, "effect_id", _legs_share_an_effect)),
    Mutant("a child is begun twice", (course, "child_id", _another_child_each_time)),
    Mutant("who could pay some passes for who paid all", (course, "PARTIAL", lambda _: "")),
    Mutant(
        "a lock is given to whoever asks",
        (locks, "acquire", _granted_to_whoever_asks),
        (locks, "given", _takes_the_place_of_the_holder),
    ),
    Mutant("a lock is never free again", (locks, "released", _kept)),
    Mutant(
        "a lock stays with who turns back",
        (ClaimsMachine, "_undo_lock", _kept_by_who_turns_back),
    ),
    Mutant("of a transfer any amount is claimed", (quotas, "decide", _claimed_without_end)),
    Mutant("a claim is not given back", (quotas, "evolve", _nothing_is_given_back)),
)
