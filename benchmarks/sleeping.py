"""What sagas that wait for a time far off take in memory, how long their restoring takes, and that
they go on afterwards.

    python -m benchmarks.sleeping [--sagas 1000000]

One partition's machine, without Kafka: scheduled transfers begin and go to sleep, and a snapshot
is taken when nine of ten have begun. Another process restores it, folds the events since, and wakes
those that are due first. Bytes are those of the process (resident), Linux only; of each kind of
work the longest piece is told, in CPU time.
"""

import argparse
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.payroll import Longest
from messages.saga import StartSaga
from messages.wire import encode
from orchestrator.machine import SagaMachine
from orchestrator.service import EVENTS, INPUTS

NOW_MS = 1_767_225_600_000
DUE_MS = 1_769_925_600_000
"""2026-02-01T06:00Z, when the first ones are due."""
_PAGE_BYTES = 4_096


def main(sagas: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        snapshot, journal = Path(folder) / "snapshot", Path(folder) / "journal"
        processes = multiprocessing.get_context("spawn")
        for work in (_begin, _restore):
            # Each in a process of its own: memory once used is not always given back.
            process = processes.Process(target=work, args=(sagas, snapshot, journal))
            process.start()
            process.join()
            assert process.exitcode == 0, process.exitcode


def _begin(sagas: int, snapshot: Path, journal: Path) -> None:
    _collect_as_a_role()
    empty, began, longest = _resident(), time.process_time(), Longest()
    machine, before = SagaMachine(), sagas * 9 // 10
    with journal.open("wb") as tail, snapshot.open("wb") as chunks:
        for number in range(sagas):
            if number == before:
                whole = longest.of("take hold of a snapshot", machine.snapshot)
                while (
                    chunk := longest.of("a chunk of it", lambda: next(whole, None))  # noqa: B023
                ) is not None:
                    _write(chunks, chunk)
            for event in longest.of("begin a saga", lambda: _begun(machine, number)):  # noqa: B023
                if number >= before:
                    _write(tail, event)
    grown = _resident() - empty
    print(f"{len(machine.sagas.asleep):,} of {sagas:,} sagas sleep", end=", ")
    print(f"{grown / 1e6:.0f} MB, {grown / sagas:.0f} bytes each")
    print(f"begun in {time.process_time() - began:.0f} s of CPU, with a snapshot", end=" ")
    print(f"of {snapshot.stat().st_size / 1e6:.0f} MB")
    _tell(longest)


def _collect_as_a_role() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _begun(machine: SagaMachine, number: int) -> list[bytes]:
    message = INPUTS.decode(encode(_start(number)))
    events = [encode(event) for event in machine.decide(message, NOW_MS)]
    for event in events:
        machine.evolve(EVENTS.decode(event))
    machine.next_due_ms()
    return events


def _restore(sagas: int, snapshot: Path, journal: Path) -> None:
    _collect_as_a_role()
    empty, began, longest = _resident(), time.process_time(), Longest()
    machine = SagaMachine()
    for chunk in _read(snapshot):
        longest.of("restore a chunk", lambda: machine.restore(chunk))  # noqa: B023
    for event in _read(journal):
        longest.of("fold an event", lambda: machine.evolve(EVENTS.decode(event)))  # noqa: B023
    took_s, grown = time.process_time() - began, _resident() - empty
    assert len(machine.sagas.asleep) == sagas
    assert machine.next_due_ms() == DUE_MS
    print(f"restored in another process in {took_s:.0f} s of CPU, {grown / 1e6:.0f} MB")
    assert not machine.fire(DUE_MS - 1)
    due = sum(_due_first(number) for number in range(sagas))
    began, woken = time.process_time(), 0
    while events := longest.of("wake one", lambda: _woken(machine)):
        woken += 1
        assert events[0].still_waiting == "", events
    took_s = time.process_time() - began
    assert woken == due, (woken, due)
    assert len(machine.sagas.asleep) == sagas - woken
    print(f"{woken:,} due in the same millisecond woke in {took_s:.0f} s of CPU")
    _tell(longest)


def _woken(machine: SagaMachine) -> list[Any]:
    at_ms = machine.next_due_ms()
    events = list(machine.fire(DUE_MS)) if at_ms is not None and at_ms <= DUE_MS else []
    for event in events:
        machine.evolve(EVENTS.decode(encode(event)))
    return events


def _write(file: BinaryIO, piece: bytes) -> None:
    file.write(len(piece).to_bytes(4) + piece)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size := file.read(4):
            yield file.read(int.from_bytes(size))


def _tell(longest: Longest) -> None:
    for kind, (most, count, total) in longest.found.items():
        print(f"{most:9.2f} ms at most {total / count:7.3f} ms on average  {kind}")


def _due_first(number: int) -> bool:
    return number % 11 == 0 and number % 28 == 0


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
