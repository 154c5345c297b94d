"""`python -m chaos`: attack the bank for some minutes, heal it, and tell whether anything broke."""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import structlog
import uvloop

from chaos import report, throughput
from chaos.deaths import Death, Deaths
from chaos.faults import Faults
from chaos.surroundings import surroundings
from chaos.verdict import ENDED_WITHIN_S, judge, too_few
from chaos.workload import Workload

_CALM_S: Final = 6.0
_POLL_S: Final = 0.25
_TELL_S: Final = 30.0
_STORM_S: Final = 45.0
_LONGER: Final = 4 / 3
_MORE_S: Final = 60.0


async def attack(
    seconds: float,
    *,
    seed: int,
    folder: Path,
    clients: int = 16,
    cold: int = 200,
    pause_s: float = 0.5,
    deaths: int | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Deaths of single processes one by one (`deaths` of them; None: each kind), then faults of
    every kind at once, in `seconds` together, or up to a third more on a slow machine. `cold`:
    accounts beside the hot ones. Gives the numbers of the run; `good` says whether everything held.
    """
    asked_minutes = seconds / 60
    async with surroundings(folder) as around:
        began = time.monotonic()

        def now_s() -> float:
            return time.monotonic() - began

        bank = around.bank
        # Who ends by himself, for want of a broker, say, is brought back as in production.
        watching = asyncio.create_task(bank.watch())
        workload = Workload(
            bank.url, bank.corner.database_url, now_s, clients=clients, cold=cold, seed=seed
        )
        announce(f"opening {len(workload.accounts)} accounts")
        await workload.open_accounts()
        began = time.monotonic()
        paying = asyncio.create_task(workload.run())
        await asyncio.sleep(_CALM_S)
        dying = Deaths(around, workload, now_s)
        died: list[Death] = []
        for number in range(dying.many if deaths is None else deaths):
            died.append(await dying.one(number))
            announce(f"died: {died[-1].whom}; work was back after {died[-1].back_s:.1f} s")
        calm_per_s = throughput.rate(workload.ends_s, now_s() - _CALM_S, now_s())
        faults = Faults(around, workload.ends_s, now_s, seed, pause_s)
        telling = asyncio.create_task(_tell(faults, workload, now_s, announce))
        # However long the deaths took, there is a storm.
        await faults.run(max(seconds, now_s() + _STORM_S))
        # A slow machine gets somewhat longer for as many faults as a long run must have.
        while (
            too_few(len(faults.happened) + len(died), asked_minutes)
            and not faults.broken
            and now_s() < _LONGER * seconds
        ):
            announce(f"{len(faults.happened)} faults are too few: going on for a minute")
            await faults.run(now_s() + _MORE_S)
        telling.cancel()
        around.payments.clear_up()
        healed_s = now_s()
        announce(f"healed at {healed_s:.0f} s; waiting for the open transfers")
        await _back(workload, healed_s, calm_per_s)
        workload.stop()
        await paying
        seconds = now_s()
        open_then = [one.told_s for one in workload.told if one.asked_s <= healed_s]
        ended_s = max(0.0, max(open_then, default=healed_s) - healed_s)
        announce(f"auditing {len(workload.told)} transfers")
        verdict = await judge(around, workload, died, ended_s, faults.broken)
        verdict.late += [f"no transfer ended for a minute from {at:.0f} s" for at in faults.stalls]
        verdict.late += too_few(len(faults.happened) + len(died), asked_minutes)
        if watching.done() and not watching.cancelled() and watching.exception():
            verdict.wrong.append(f"a role could not be kept alive: {watching.exception()}")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return report.write(
        folder,
        report.Run(
            seed=seed,
            seconds=seconds,
            calm_per_s=calm_per_s,
            healed_s=healed_s,
            ended_s=ended_s,
            deaths=died,
            faults=faults,
            workload=workload,
            verdict=verdict,
        ),
    )


async def _tell(
    faults: Faults, workload: Workload, now_s: Callable[[], float], announce: Callable[[str], None]
) -> None:
    while True:
        await asyncio.sleep(_TELL_S)
        announce(
            f"{now_s():.0f} s: {len(faults.happened)} faults, {len(workload.told)} transfers, "
            f"{throughput.rate(workload.ends_s, now_s() - _TELL_S, now_s()):.1f}/s"
        )


async def _back(workload: Workload, healed_s: float, calm_per_s: float) -> None:
    """Wait until transfers end as in calm times, at most for as long as all open ones may take."""
    deadline = time.monotonic() + ENDED_WITHIN_S
    while time.monotonic() < deadline:
        now_s = healed_s + ENDED_WITHIN_S - (deadline - time.monotonic())
        if throughput.back_after_s(workload.ends_s, healed_s, now_s, calm_per_s) is not None:
            return
        await asyncio.sleep(_POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed when left out")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--accounts", type=int, default=10_000, help="beside the 8 hot ones")
    parser.add_argument("--pause-s", type=float, default=0.5, help="mean pause after a fault")
    parser.add_argument(
        "--deaths", type=int, default=None, help="single deaths; default: each kind"
    )
    parser.add_argument("--folder", type=Path, default=Path(".makegood/chaos"))
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    # The client library reports every lost connection; here they are meant to be lost.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    seed = SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    print(f"seed {seed}, {asked.minutes:g} minutes", flush=True)
    found = uvloop.run(
        attack(
            asked.minutes * 60,
            seed=seed,
            folder=asked.folder.resolve(),
            clients=asked.clients,
            cold=asked.accounts,
            pause_s=asked.pause_s,
            deaths=asked.deaths,
            announce=lambda said: print(said, file=sys.stderr, flush=True),
        )
    )
    for name, value in found.items():
        print(f"{name:32}{value}")
    print(f"page: {asked.folder}/report.html")
    sys.exit(not found["good"])


if __name__ == "__main__":
    main()
