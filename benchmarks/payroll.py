"""A payroll of 10,000 legs: how long each piece of work holds the loop, and what memory it takes.

    python -m benchmarks.payroll [--legs 10000]

Both services' machines, message by message as their processors run them, without Kafka: what is
measured is CPU time, which other processes on the machine do not change much. Of every kind of work
it tells the longest piece, and the bytes that the saga takes.
"""

import argparse
import gc
import resource
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from account_service.machine import AccountMachine
from account_service.service import INPUTS as ACCOUNT_INPUTS
from api.asking import MAX_LONG_BODY_BYTES
from journal.topics import ANSWERS
from messages.account import Deposit, OpenAccount
from messages.identity import fingerprint
from messages.saga import StartSaga
from messages.wire import encode
from orchestrator.machine import SagaMachine
from orchestrator.saga import Saga
from orchestrator.service import EVENTS
from orchestrator.service import INPUTS as SAGA_INPUTS
from saga_definitions.payroll import PAYROLL

NOW_MS: Final = 1_767_225_600_000
SAGA: Final = "5a6a" * 8
CLOSED_EVERY: Final = 100
"""Every so many targets there is none: their legs are refused."""


class Longest:
    """The longest piece of each kind of work, in ms of CPU time, and how often it was done."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[float, int, float]] = {}

    def of(self, kind: str, work: Callable[[], Any]) -> Any:
        began = time.thread_time()
        result = work()
        took_ms = (time.thread_time() - began) * 1_000
        longest, count, total = self.found.get(kind, (0.0, 0, 0.0))
        self.found[kind] = (max(longest, took_ms), count + 1, total + took_ms)
        return result


class Payroll:
    def __init__(self, legs: int) -> None:
        self.longest = Longest()
        self.sagas, self.accounts = SagaMachine(), AccountMachine()
        self.events: list[bytes] = []
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.legs = [
            {"target": f"employee-{leg:06}", "amount_minor": 1 + leg} for leg in range(legs)
        ]
        self.total = sum(1 + leg for leg in range(legs))
        self._open("employer", self.total)
        for leg, one in enumerate(self.legs):
            if leg % CLOSED_EVERY:
                self._open(str(one["target"]), 0)

    def _open(self, account: str, amount_minor: int) -> None:
        named = {"account_id": account, "issued_at_ms": NOW_MS, "currency": "EUR"}
        commands: list[Any] = [OpenAccount(effect_id=f"o-{account}", **named)]
        if amount_minor:
            commands.append(Deposit(effect_id="d", amount_minor=amount_minor, **named))
        for command in commands:
            for event in self.accounts.decide(command, NOW_MS):
                self.accounts.evolve(event)

    def body(self) -> bytes:
        return encode(
            {
                "source": "employer",
                "amount_minor": self.total,
                "currency": "EUR",
                "legs": self.legs,
            }
        )

    def start(self) -> bytes:
        """As the API does it."""
        of = self.longest.of
        body = self.body()
        params = of("API: decode the body", lambda: msgspec.json.decode(body))
        problems = of("API: check the parameters", lambda: PAYROLL.check_params(params))
        assert not problems, problems
        print_ = of("API: fingerprint", lambda: fingerprint("payroll", params))
        command = StartSaga(
            saga_id=SAGA,
            tenant="bank",
            definition="payroll",
            params=params,
            fingerprint=print_,
            request_id="r",
            issued_at_ms=NOW_MS,
        )
        return of("API: encode the request", lambda: encode(command))

    def run(self, request: bytes) -> None:
        """Everything that follows from the request, each message as one piece."""
        self.longest.of("engine: start", lambda: self._saga(request))
        while self.waiting:
            topic, value = self.waiting.popleft()
            if topic == "account.input":
                self.longest.of("accounts: a command", lambda: self._account(value))  # noqa: B023
            else:
                self.longest.of("engine: an answer", lambda: self._saga(value))  # noqa: B023

    def _saga(self, value: bytes) -> None:
        message = SAGA_INPUTS.decode(value)
        for event in self.sagas.decide(message, NOW_MS):
            self.events.append(encode(event))
            self.sagas.evolve(event)
            self._release(self.sagas.outputs(event))
        self.sagas.next_due_ms()

    def _account(self, value: bytes) -> None:
        for event in self.accounts.decide(ACCOUNT_INPUTS.decode(value), NOW_MS):
            encode(event)
            self.accounts.evolve(event)
            self._release(self.accounts.outputs(event))

    def _release(self, outputs: Any) -> None:
        self.waiting.extend((out.topic, out.value) for out in outputs if out.topic != ANSWERS)


def measure(legs: int) -> None:
    payroll = Payroll(legs)
    longest = payroll.longest
    request = payroll.start()
    # The accounts of this process would make a garbage collection longer than the work is.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    payroll.longest.of("engine: decode (traced)", lambda: SAGA_INPUTS.decode(request))
    before = tracemalloc.get_traced_memory()[0]
    kept = SAGA_INPUTS.decode(request)
    params_bytes = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del kept, longest.found["engine: decode (traced)"]

    half = _halfway(payroll, request)
    chunks = half.sagas.snapshot()
    sizes: list[int] = []
    while (
        chunk := longest.of("engine: a chunk of the snapshot", lambda: next(chunks, None))
    ) is not None:
        sizes.append(len(chunk))
        again = SagaMachine()
        longest.of("engine: restore a chunk", lambda: again.restore(chunk))  # noqa: B023
    saga = half.sagas.sagas.get(SAGA)
    assert isinstance(saga, Saga)
    progress_bytes = len(msgspec.json.encode(saga.legs))

    payroll.run(request)
    finished = payroll.sagas.sagas.get(SAGA)
    assert finished is not None
    fold = SagaMachine()
    for first in range(0, len(payroll.events), 250):
        piece = payroll.events[first : first + 250]
        longest.of("read side: fold 250 events", lambda: _fold(fold, piece))  # noqa: B023
    print(f"{legs:,} legs: {finished.state} {finished.reason}, {len(payroll.events):,} events")
    print(f"request {len(request):,} bytes (bodies may have {MAX_LONG_BODY_BYTES:,})")
    print(
        f"its parameters in memory {params_bytes / 1e6:.1f} MB; legs' progress {progress_bytes:,} B"
    )
    print(f"snapshot chunks of at most {max(sizes):,} bytes")
    print(f"{'longest':>12} {'mean':>9} {'times':>8}")
    for kind, (most, count, total) in longest.found.items():
        print(f"{most:9.2f} ms {total / count:6.3f} ms {count:8,}  {kind}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory of this process {peak_mib} MiB")


def _halfway(whole: Payroll, request: bytes) -> Payroll:
    """Another one, stopped when half of its legs are paid."""
    half = Payroll(len(whole.legs))
    half.longest = Longest()
    half._saga(request)
    for _ in range(len(whole.legs)):
        topic, value = half.waiting.popleft()
        half._account(value) if topic == "account.input" else half._saga(value)
    return half


def _fold(machine: SagaMachine, piece: list[bytes]) -> None:
    for value in piece:
        machine.evolve(EVENTS.decode(value))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--legs", type=int, default=10_000)
    measure(parser.parse_args().legs)


if __name__ == "__main__":
    main()
