"""JSON or MessagePack: what our own messages cost in either, in time and in bytes.

    python -m benchmarks.wire_format

A message is encoded and decoded once; figures are the best of several rounds, per message.
"""

import timeit
from typing import Any

import msgspec

from messages.account import AccountEvent, Debit, Debited
from messages.saga import SagaEvent, SagaInput, SagaStarted, StepApplied
from saga_definitions.transfer import TRANSFER

_ROUNDS = 5
_TIMES = 20_000

_COMMON: dict[str, Any] = {
    "account_id": "eur-0123",
    "effect_id": "0123456789abcdef0123456789abcdef/debit/do",
    "saga_id": "0123456789abcdef0123456789abcdef",
    "step": "debit",
    "reply_to": "orchestrator.input",
}
MESSAGES: list[tuple[Any, Any]] = [
    (Debit, Debit(**_COMMON, issued_at_ms=1_764_000_000_000, amount_minor=12_345, currency="EUR")),
    (
        AccountEvent,
        Debited(
            **_COMMON,
            version=7,
            at_ms=1_764_000_000_000,
            fingerprint=2**62,
            amount_minor=12_345,
            currency="EUR",
            balance_minor=1_000_000,
        ),
    ),
    (SagaInput, StepApplied(saga_id="0" * 32, step="debit", direction="do", attempt=1)),
    (
        SagaEvent,
        SagaStarted(
            saga_id="0" * 32,
            at_ms=1_764_000_000_000,
            tenant="default",
            params={"source": "a", "target": "b", "amount_minor": 1, "currency": "EUR"},
            fingerprint="0" * 24,
            request_id="0" * 32,
            plan=TRANSFER.plan,
        ),
    ),
]


def best_us(work: Any) -> float:
    return min(timeit.repeat(work, number=_TIMES, repeat=_ROUNDS)) / _TIMES * 1e6


def main() -> None:
    print(f"{'message':14}{'format':14}{'bytes':>7}{'encode us':>11}{'decode us':>11}")
    for family, message in MESSAGES:
        for name, module in (("json", msgspec.json), ("messagepack", msgspec.msgpack)):
            encoder, decoder = module.Encoder(), module.Decoder(family)
            wire = encoder.encode(message)
            encode_us = best_us(lambda e=encoder, m=message: e.encode(m))
            decode_us = best_us(lambda d=decoder, w=wire: d.decode(w))
            kind = type(message).__name__
            print(f"{kind:14}{name:14}{len(wire):>7}{encode_us:>11.2f}{decode_us:>11.2f}")


if __name__ == "__main__":
    main()
