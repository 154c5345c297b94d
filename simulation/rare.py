"""What has to happen now and then, or a set of runs proves little: every kind of fault, every kind
of event, and the seldom trodden paths of the code ("sometimes" assertions).

The kernel's own warnings tell of its rare paths; in a simulation they are counted, not written.
"""

import logging
from collections import Counter
from collections.abc import Generator, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, get_args

import structlog

from messages.account import AccountEvent
from messages.saga import SagaEvent
from messages.wire import type_name
from participant.effects import EffectEvent
from simulation.conditions import FAULTS
from simulation.history import Fact

ENOUGH_RUNS: Final = 1_000
"""In so many runs everything has to have happened."""

_EVENTS: Final = tuple(
    type_name(kind).rpartition(".")[0]
    for family in (SagaEvent, AccountEvent, EffectEvent)
    for kind in get_args(family)
)
PATHS: Final = (
    "void",
    "append_to_place_down",
    "projector_crash_between_rows",
    "PositionsMoved",
    "asked_again",
    "key_reused",
    "warned owner_deposed",
    "warned epoch_given_up",
    "warned link_gap",
    "warned send_failed",
    "warned record_rejected",
    "warned snapshot_torn",
    "warned snapshot_failed",
    "completed partial",
    "parked outcome_unknown",
    "parked compensation_failed",
    "parked step_failed",
    "ignored saga_finished",
    "ignored saga_unknown",
    "refused insufficient_funds",
    "refused account_frozen",
    "refused effect_voided",
    "not asked too_late",
    "not started participant_busy",
    "warned handler_failed",
    "handler_crashed",
    "deed_repeated",
    "undo_not_now",
    "enquiry_told",
    "enquiry_never_came",
    "enquiry_overtook_deed",
    "told outcome_unknown",
    "told effect_unknown",
    "told effect_voided",
    "told effect_in_progress",
    "told participant_busy",
    "voided outside",
    "drew legs undone",
    "drew legs held",
    "drew legs pivot",
    "drew legs past",
    "drew child undone",
    "drew child pivot",
    "drew child past",
    "drew lock",
    "drew lock again",
    "leg refused",
    "leg taken back",
    "leg asked again",
    "child refused",
    "child taken back",
    "child asked again",
    "child told to approve",
    "child told to reject",
    "lock waited for",
    "told lock_timeout",
    "told queue_full",
    "told limit_exceeded",
    "reversal completed",
    "reversal_of_whole",
    "reversal_of_part",
    "reversal_of_more",
    "reversals_at_once",
)


def missing(happened: Counter[str]) -> list[str]:
    """What never happened, of all that should have."""
    return [name for name in (*FAULTS, *_EVENTS, *PATHS) if not happened[name]]


@contextmanager
def warnings_counted(happened: Counter[str]) -> Generator[None]:
    """Count what is logged as a warning or worse, e.g. as `warned link_gap`, and write nothing."""

    def count(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        happened[f"warned {event['event']}"] += 1
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[count],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _of_leg(fact: Fact) -> Iterator[str]:
    asked = fact.type == "saga.StepRequested"
    if fact.type == "saga.StepRefused":
        yield "leg refused"
    elif asked and fact.fields["direction"] == "undo":
        yield "leg taken back"
    elif asked and fact.fields["attempt"] > 1:
        yield "leg asked again"


def told_by(fact: Fact) -> Iterator[str]:
    """What a journal's record says that has happened."""
    yield fact.type
    reason = fact.fields.get("reason")
    if "." in fact.fields.get("step", ""):
        yield from _of_leg(fact)
    elif fact.type == "saga.StepRequested" and "child_id" in fact.fields["command"]:
        if fact.fields["direction"] == "undo":
            yield "child taken back"
        elif fact.fields["attempt"] > 1:
            yield "child asked again"
    elif fact.type == "saga.ParentAnswered" and reason:
        yield "child refused"
    if fact.type == "saga.SagaParked":
        yield f"parked {reason}"
    elif fact.type == "saga.SagaCompleted" and reason:
        yield f"completed {reason}"
    elif fact.type == "account.CommandRefused":
        yield f"refused {reason}"
    elif fact.type == "saga.AnswerIgnored":
        yield f"ignored {fact.fields['why']}"
    elif fact.type == "saga.StartRefused":
        yield f"not started {reason}"
    elif fact.type == "saga.StepRefused" and reason == "too_late":
        yield f"not asked {reason}"
    elif fact.type in ("participant.EffectSettled", "participant.EffectTold") and reason:
        yield f"told {reason}"
    elif fact.type == "participant.EffectTold" and fact.fields.get("voids"):
        yield "voided outside"
