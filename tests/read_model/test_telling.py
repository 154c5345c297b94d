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


def test_a_type_that_is_not_known_yet_is_told_by_its_name() -> None:
    event = {"type": "saga.FeeWaived.v1", "step": "fee", "at_ms": 1}
    assert tell(event) == "fee waived: fee"
    assert tell({"type": "saga.ClockMoved.v2", "at_ms": 1}) == "clock moved"
