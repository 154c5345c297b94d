"""Events in words."""

import msgspec
import pytest

from read_model.telling import tell
from tests import poison


@pytest.mark.parametrize("event", poison.SAGA_EVENTS)
def test_every_event_is_told_in_a_line(event: bytes) -> None:
    fields = msgspec.json.decode(event)
    told = tell(fields)
    assert told
    for name in ("step", "reason", "who", "why"):
        if fields.get(name):
            assert str(fields[name]) in told, name


def test_tries_and_directions_are_told() -> None:
    refused = {
        "type": "saga.StepRefused.v1",
        "at_ms": 1_000,
        "step": "debit",
        "direction": "undo",
        "attempt": 3,
        "reason": "busy",
        "detail": "",
        "retry_at_ms": 1_250,
    }
    assert tell(refused) == "undo of debit (attempt 3) refused: busy; next try in 0.25 s"


def test_an_enquiry_is_told_apart_from_what_it_enquires_after() -> None:
    asked = {
        "type": "saga.StepRequested.v1",
        "at_ms": 1_000,
        "step": "payout",
        "attempt": 2,
        "command_type": "payout.SendPayout.v1",
        "timeout_at_ms": 31_000,
    }
    assert tell(asked) == "asked for payout (attempt 2), waits 30 s for the answer"
    enquiry = {**asked, "command_type": "participant.Enquire.v1"}
    assert tell(enquiry) == "enquired after payout (attempt 2), waits 30 s for the answer"


def test_an_answer_that_can_not_tell_is_no_silence() -> None:
    silent = {"type": "saga.StepTimedOut.v1", "at_ms": 1_000, "step": "payout", "attempt": 1}
    end = "its outcome is unknown; no further try"
    assert tell(silent) == f"no answer in time to payout: {end}"
    told = tell({**silent, "detail": "no line"})
    assert told == f"no certain answer (no line) to payout: {end}"


def test_a_type_that_is_not_known_yet_is_told_by_its_name() -> None:
    event = {"type": "saga.FeeWaived.v1", "step": "fee", "at_ms": 1}
    assert tell(event) == "fee waived: fee"
    assert tell({"type": "saga.ClockMoved.v2", "at_ms": 1}) == "clock moved"
