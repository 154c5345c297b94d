"""`python -m simulation`: hunt for seeds that fail, or tell the story of one."""

import argparse
import cProfile
import pstats
import sys
import time
from collections import Counter

import structlog

from simulation.conditions import FAULTS
from simulation.run import simulate


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=100)
    options.add_argument("--first", type=int, default=1)
    options.add_argument("--transfers", type=int, default=50)
    options.add_argument("--seed", type=int, help="tell the story of this one")
    options.add_argument("--profile", action="store_true")
    given = options.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if given.seed is not None:
        outcome = simulate(given.seed, transfers=given.transfers, tell=True)
        print(*outcome.story, sep="\n")
        print(outcome.conditions, *outcome.violations, sep="\n")
        return bool(outcome.violations)
    profile = cProfile.Profile()
    if given.profile:
        profile.enable()
    failed = _hunt(range(given.first, given.first + given.seeds), given.transfers)
    if given.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    return bool(failed)


def _hunt(seeds: range, transfers: int) -> list[int]:
    failed: list[int] = []
    happened: Counter[str] = Counter()
    began = time.perf_counter()
    records = steps = 0
    for seed in seeds:
        outcome = simulate(seed, transfers=transfers)
        happened.update(outcome.happened)
        records += outcome.records
        steps += outcome.steps
        if outcome.violations:
            failed.append(seed)
            print(f"seed {seed}:", *outcome.violations[:5], sep="\n    ", flush=True)
    took_s = time.perf_counter() - began
    print(*(f"{name}={count}" for name, count in sorted(happened.items())))
    print("never happened:", [fault for fault in FAULTS if not happened[fault]])
    print(
        f"{len(seeds)} runs, {len(seeds) / took_s:.1f} a second, "
        f"{records / len(seeds):.0f} records and {steps / len(seeds):.0f} turns each; "
        f"failed: {failed}"
    )
    return failed


if __name__ == "__main__":
    sys.exit(main())
