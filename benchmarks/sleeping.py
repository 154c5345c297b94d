"""What sagas that wait for a time far off take in memory, and how long their restoring takes.

    python -m benchmarks.sleeping [--sagas 1000000]

One partition's machine, without Kafka: scheduled transfers begin and go to sleep, a snapshot is
taken and another machine made of it. Bytes are those of the process (resident), Linux only.
"""

import argparse
import gc
import time
from pathlib import Path

from messages.saga import StartSaga
from messages.wire import encode
from orchestrator.machine import SagaMachine
from orchestrator.service import EVENTS, INPUTS

NOW_MS = 1_767_225_600_000
_PAGE_BYTES = 4_096


def main(sagas: int) -> None:
    gc.collect()
    empty, began = _resident(), time.process_time()
    machine = SagaMachine()
    for number in range(sagas):
        message = INPUTS.decode(encode(_start(number)))
        for event in machine.decide(message, NOW_MS):
            machine.evolve(EVENTS.decode(encode(event)))
        machine.next_due_ms()
    each = (_resident() - empty) / sagas
    print(f"{len(machine.sagas.asleep):,} of {sagas:,} sagas sleep, {each:.0f} bytes each")
    print(f"begun in {time.process_time() - began:.0f} s of CPU")
    began, longest_s, size = time.process_time(), 0.0, 0
    again, chunks = SagaMachine(), machine.snapshot()
    while (chunk := next(chunks, None)) is not None:
        size += len(chunk)
        step = time.thread_time()
        again.restore(chunk)
        longest_s = max(longest_s, time.thread_time() - step)
    took_s = time.process_time() - began
    print(f"snapshot of {size / 1e6:.0f} MB taken and restored in {took_s:.0f} s of CPU")
    print(f"a chunk holds the loop for {longest_s * 1_000:.0f} ms at most")
    assert len(again.sagas.asleep) == sagas
    assert again.next_due_ms() == machine.next_due_ms()


def _start(number: int) -> StartSaga:
    return StartSaga(
        saga_id=f"{number * 2_654_435_761 % 2**128:032x}",
        tenant="bank",
        definition="scheduled_transfer",
        params={
            "source": f"account-{number % 1_000}",
            "target": f"payee-{number % 997}",
            "amount_minor": 100 + number % 9_973,
            "currency": "EUR",
            "execute_at": f"2026-{2 + number % 11:02}-{1 + number % 28:02}T06:00:00Z",
        },
        fingerprint="",
        request_id="request",
        issued_at_ms=NOW_MS,
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sleeping", description=__doc__)
    parser.add_argument("--sagas", type=int, default=1_000_000)
    main(parser.parse_args().sagas)
