"""A payroll of 10,000 legs on a whole bank of one partition, with other transfers beside it.

    python -m benchmarks.payroll_bank [--legs 10000]

How long it takes, how long the transfers beside it take, one after the other, compared with those
before it, and what memory each role has had at most. Then the books are audited.
"""

import argparse
import asyncio
import time
from pathlib import Path

import uvloop

from makegood.auditing import audit_at_rest
from makegood.bank import Bank
from makegood.client import Client
from makegood.embedded import embedded_bank

_ACCOUNTS = 100
_BEFORE = 50
_ROLES = ("orchestrator-0", "account-service-0", "projector-0", "api-0")
_MONEY_MINOR = 1_000_000_000


async def main(legs: int) -> None:
    data = Path(__file__).parent.parent / ".makegood" / "bench"
    async with (
        embedded_bank(data, fresh=True, settings={"partitions": "1"}, announce=print) as bank,
        Client(bank.url, connections=20, patience_s=90) as client,
    ):
        await _open(client)
        before = [await _single(client, f"before-{n}") for n in range(_BEFORE)]
        began = time.perf_counter()
        paying = asyncio.create_task(client.transfer("payroll", _body(legs)))
        during: list[float] = []
        while not paying.done():
            during.append(await _single(client, f"during-{len(during)}"))
        paid = await paying
        took_s = time.perf_counter() - began
        print(f"{legs:,} legs {paid.state} {paid.reason} in {took_s:.1f} s")
        _tell("transfers before it", before)
        _tell("transfers beside it", during)
        print(", ".join(f"{role} {_peak_mib(bank, role)} MiB" for role in _ROLES), "at most")
        report = await audit_at_rest(bank.corner)
        print(f"the books are {'right' if report.ok else 'NOT right'}")


async def _open(client: Client) -> None:
    for number in range(_ACCOUNTS):
        name = f"acc-{number}"
        await client.order("/accounts", f"open-{name}", {"id": name, "currency": "EUR"})
    for name in ("acc-0", "acc-1"):
        money = {"amount_minor": _MONEY_MINOR, "currency": "EUR"}
        await client.order(f"/accounts/{name}/deposits", f"fund-{name}", money)


def _body(legs: int) -> dict[str, object]:
    """One leg in about a hundred can't be paid."""
    targets = [*(f"acc-{number}" for number in range(2, _ACCOUNTS)), "nobody-there"]
    return {
        "definition": "payroll",
        "source": "acc-0",
        "amount_minor": sum(range(1, legs + 1)),
        "currency": "EUR",
        "legs": [
            {"target": targets[leg % len(targets)], "amount_minor": leg + 1} for leg in range(legs)
        ],
    }


async def _single(client: Client, key: str) -> float:
    """Seconds from the request to the completed transfer."""
    began = time.perf_counter()
    body = {"source": "acc-1", "target": "acc-2", "amount_minor": 1, "currency": "EUR"}
    transfer = await client.transfer(key, body)
    assert transfer.state == "completed", transfer
    return time.perf_counter() - began


def _tell(what: str, took_s: list[float]) -> None:
    took_s.sort()
    p50, p99 = (took_s[int(len(took_s) * share)] * 1_000 for share in (0.5, 0.99))
    print(f"{len(took_s)} {what}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")


def _peak_mib(bank: Bank, role: str) -> int:
    """Linux only: 0 elsewhere."""
    status = Path(f"/proc/{bank.child(role).pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payroll_bank", description=__doc__)
    parser.add_argument("--legs", type=int, default=10_000)
    uvloop.run(main(parser.parse_args().legs))
