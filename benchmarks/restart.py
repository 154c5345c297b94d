"""How long a killed orchestrator takes to be back at work, with many finished sagas behind it.

    python -m benchmarks.restart --sagas 100000

From the start of the new process until a transfer that was asked for meanwhile is completed, as a
client sees it. The old one is killed (SIGKILL): there is no good-bye and no last snapshot.
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path

import uvloop

from benchmarks.load import account_names, gateway, open_accounts, through_kafka
from makegood.embedded import embedded_bank

PARTITIONS = 4
_ROUNDS = 5


async def main(sagas: int) -> None:
    data = Path(__file__).parent.parent / ".makegood" / "bench"
    settings = {"partitions": str(PARTITIONS)}
    async with (
        embedded_bank(data, fresh=True, settings=settings, announce=print) as bank,
        gateway(bank.corner, PARTITIONS) as gate,
    ):
        names = account_names(1_000)
        await open_accounts(gate, names)
        load = await through_kafka(gate, names, sagas, 1024, seed=1)
        print(f"{sagas:,} sagas finished at {load.transfers_per_s:,.0f} a second")
        took_s: list[float] = []
        for number in range(_ROUNDS):
            await bank.kill("orchestrator-0")
            began = time.perf_counter()
            bank.revive("orchestrator-0")
            # One for each partition: all of them have to be back.
            await asyncio.gather(
                *(through_kafka(gate, names, 1, 1, seed) for seed in range(number, number + 16))
            )
            took_s.append(time.perf_counter() - began)
        shown = ", ".join(f"{s:.2f}" for s in took_s)
        print(f"back at work after {statistics.median(took_s):.2f} s (rounds: {shown})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restart", description=__doc__)
    parser.add_argument("--sagas", type=int, default=100_000)
    uvloop.run(main(parser.parse_args().sagas))
