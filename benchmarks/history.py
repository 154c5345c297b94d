"""A saga with a history of 100,000 events: what each of them costs, and whether any of it grows.

    python -m benchmarks.history [--events 100000]

The engine's machine alone: a transfer's credit is refused for good, so the saga is parked, and an
operator tries it again, thousands of times; in the end it is applied. Told are the longest piece of
each kind of work in CPU time, early and late in the saga's life, and the size of the saga.
"""

import argparse
import gc
from typing import Any, Final

from benchmarks.payroll import Longest
from messages.saga import (
    RecoverSaga,
    SagaInput,
    StartSaga,
    StepApplied,
    StepDeclined,
    StepRequested,
)
from messages.wire import encode
from orchestrator.machine import SagaMachine
from orchestrator.saga import Finished, Saga
from orchestrator.service import EVENTS, INPUTS
from read_model.history import MAX_PIECE

NOW_MS: Final = 1_767_225_600_000
SAGA: Final = "5a6a" * 8


class Life:
    def __init__(self) -> None:
        self.machine = SagaMachine()
        self.events: list[bytes] = []
        self.attempt = 0
        self.longest = Longest()

    def take(self, kind: str, message: SagaInput) -> None:
        value = encode(message)
        self.longest.of(kind, lambda: self._take(value))

    def _take(self, value: bytes) -> None:
        for event in self.machine.decide(INPUTS.decode(value), NOW_MS):
            self.events.append(encode(event))
            self.machine.evolve(EVENTS.decode(self.events[-1]))
            self.machine.outputs(event)
            if isinstance(event, StepRequested):
                self.attempt = event.attempt
        self.machine.next_due_ms()

    @property
    def saga(self) -> Saga | Finished:
        saga = self.machine.sagas.get(SAGA)
        assert saga is not None
        return saga


def _answer(kind: Any, life: Life, step: str, **more: Any) -> SagaInput:
    return kind(saga_id=SAGA, step=step, direction="do", attempt=life.attempt, **more)


def measure(events: int) -> None:
    gc.collect()
    gc.freeze()
    life = Life()
    params = {"source": "alice", "target": "bob", "amount_minor": 500, "currency": "EUR"}
    life.take(
        "start",
        StartSaga(
            saga_id=SAGA,
            tenant="bank",
            definition="transfer",
            params=params,
            fingerprint="",
            request_id="r",
            issued_at_ms=NOW_MS,
        ),
    )
    life.take("answer", _answer(StepApplied, life, "debit"))
    when, tries = "early", 0
    while len(life.events) < events:
        if when == "early" and len(life.events) > events // 10:
            _tell(life, when)
            when, life.longest = "late", Longest()
        refused = _answer(StepDeclined, life, "credit", reason="effect_expired", detail="")
        life.take("answer", refused)
        saga = life.saga
        assert isinstance(saga, Saga) and saga.state == "parked", saga
        tries += 1
        again = RecoverSaga(
            saga_id=SAGA, request_id=f"r{tries}", action="retry", who="ann", why="try again"
        )
        life.take("retry", again)
    _tell(life, when)
    life.take("answer", _answer(StepApplied, life, "credit"))
    assert life.saga.state == "completed", life.saga
    print(f"{len(life.events):,} events, {tries:,} retries, {life.saga.state}")
    fold, longest = SagaMachine(), Longest()
    for first in range(0, len(life.events), MAX_PIECE):
        piece = life.events[first : first + MAX_PIECE]
        longest.of("read side: fold a piece", lambda: _fold(fold, piece))  # noqa: B023
    assert fold.sagas.get(SAGA) == life.saga
    _show(longest)


def _fold(machine: SagaMachine, piece: list[bytes]) -> None:
    for value in piece:
        machine.evolve(EVENTS.decode(value))


def _tell(life: Life, when: str) -> None:
    size = sum(len(chunk) for chunk in life.machine.snapshot())
    print(f"{when}, at {len(life.events):,} events: a snapshot of {size:,} bytes")
    _show(life.longest)


def _show(longest: Longest) -> None:
    for kind, (most, count, total) in longest.found.items():
        print(f"{most:9.2f} ms at most {total / count:7.3f} ms on average {count:8,}  {kind}")
    print(f"{sum(total for _, _, total in longest.found.values()) / 1_000:9.2f} s in all")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    measure(parser.parse_args().events)


if __name__ == "__main__":
    main()
