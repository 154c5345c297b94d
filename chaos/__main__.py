"""`python -m chaos`: attack the bank for some minutes, heal it, and tell whether anything broke."""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from random import SystemRandom
from typing import Any

import structlog
import uvloop

from chaos import report
from chaos.faults import Faults
from chaos.verdict import judge
from chaos.workload import Workload
from devstack.stack import Stack
from makegood.bank import Bank, Corner, own_database

_CALM_S = 5.0
_COUNTS = {"orchestrator": 2, "account-service": 2, "projector": 2, "api": 1}


async def attack(
    seconds: float, *, seed: int, clients: int, pause_s: float, folder: Path
) -> dict[str, Any]:
    """The numbers of the run; `good` says whether everything held."""
    async with Stack(folder / "stack", brokers=3, kafka_heap="400m", fresh=True) as stack:
        url = await own_database(stack.database_url, "makegood_chaos")
        corner = Corner(stack.bootstrap, url, "chaos-")
        settings = {"partitions": "4", "start_timeout_s": "180"}
        async with Bank(corner, folder / "log", settings=settings, count=_COUNTS) as bank:
            # Who ends by himself, for want of a broker, say, is brought back as in production.
            watching = asyncio.create_task(bank.watch())
            workload = Workload(bank.url, clients, seed)
            await workload.open_accounts()
            faults = Faults(stack, bank, seed, pause_s)
            paying = asyncio.create_task(workload.run())
            began = time.monotonic()
            await asyncio.sleep(_CALM_S)
            await faults.run(seconds)
            await asyncio.sleep(_CALM_S)
            workload.stop()
            await paying
            verdict = await judge(corner, workload, faults.happened)
            if watching.done() and not watching.cancelled() and watching.exception():
                verdict.wrong.append(f"a role could not be kept alive: {watching.exception()}")
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        found = report.numbers(verdict, workload.told, faults.happened, time.monotonic() - began)
    report.write(folder, found, workload.told, faults.happened)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed when left out")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--pause-s", type=float, default=1.5, help="mean pause between two faults")
    parser.add_argument("--folder", type=Path, default=Path(".makegood/chaos"))
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    seed = SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    print(f"seed {seed}, {asked.minutes:g} minutes", flush=True)
    found = uvloop.run(
        attack(
            asked.minutes * 60,
            seed=seed,
            clients=asked.clients,
            pause_s=asked.pause_s,
            folder=asked.folder.resolve(),
        )
    )
    for name, value in found.items():
        print(f"{name:32}{value}")
    print(f"page: {asked.folder}/report.html")
    sys.exit(not found["good"])


if __name__ == "__main__":
    main()
