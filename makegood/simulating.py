"""`makegood simulate`: many seeds in several processes, or the story of one."""

import gc
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import SystemRandom

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simulation.conditions import FAULTS
from simulation.run import simulate

Found = tuple[list[tuple[int, str]], Counter[str], int]
"""Failed seeds with their first violation, what happened, and how many seeds were run."""

_CHUNK = 20


def tell_seed(console: Console, seed: int, transfers: int, *, trace: bool) -> int:
    """Run one seed; with `trace` tell its whole story. The exit status."""
    outcome = simulate(seed, transfers=transfers, tell=trace)
    for line in outcome.story if trace else ():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(outcome.conditions)
    for violation in outcome.violations:
        console.print(f"[red]{violation}", soft_wrap=True)
    console.print(
        f"seed {seed}: {outcome.records} records, {outcome.simulated_s:.0f} simulated seconds, "
        f"history {outcome.digest}, {len(outcome.violations)} violations"
    )
    return bool(outcome.violations)


def run_simulation(
    console: Console, runs: int, first: int | None, transfers: int, jobs: int
) -> int:
    """The exit status: 1 when a seed fails, or when some fault never happened in 1,000 runs."""
    if first is None:
        first = SystemRandom().randrange(10**9)
    console.print(f"seeds {first} to {first + runs - 1}, {transfers} transfers each")
    happened: Counter[str] = Counter()
    failed: list[int] = []
    began = time.perf_counter()
    with (
        Progress(
            TextColumn("simulating"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        ) as bar,
    ):
        task = bar.add_task("", total=runs)
        for wrong, counted, count in in_processes(runs, first, transfers, jobs):
            happened.update(counted)
            bar.advance(task, count)
            for seed, violation in wrong:
                failed.append(seed)
                bar.console.print(f"[red]seed {seed}: {violation}", soft_wrap=True)
    took_s = time.perf_counter() - began
    never = [fault for fault in FAULTS if not happened[fault]]
    for name, count in sorted(happened.items()):
        console.print(f"  {name:28}{count:>12,}", highlight=False)
    console.print(f"{runs:,} runs in {took_s:.0f} s, {runs / took_s:.1f} a second")
    if failed:
        console.print(
            f"[bold red]{len(failed)} seeds failed; tell the story of one with "
            f"makegood simulate --seed {failed[0]} --trace"
        )
    elif never and runs >= 1000:
        console.print(f"[bold red]never happened: {', '.join(never)}: this run proves little")
        return 1
    else:
        console.print("[bold green]No invariant was broken.")
    return bool(failed)


def in_processes(runs: int, first: int, transfers: int, jobs: int) -> Iterator[Found]:
    """Runs the seeds from `first` on in `jobs` processes; gives what was found, some at a time."""
    chunks = [
        (seed, min(_CHUNK, first + runs - seed), transfers)
        for seed in range(first, first + runs, _CHUNK)
    ]
    with ProcessPoolExecutor(jobs, get_context("spawn"), _quiet) as pool:
        yield from pool.map(_some, chunks)


def _quiet() -> None:
    # A run is short-lived and its objects with it: the collector has nothing to find.
    gc.set_threshold(200_000, 50, 100)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def _some(chunk: tuple[int, int, int]) -> Found:
    first, count, transfers = chunk
    wrong: list[tuple[int, str]] = []
    happened: Counter[str] = Counter()
    for seed in range(first, first + count):
        outcome = simulate(seed, transfers=transfers)
        happened.update(outcome.happened)
        if outcome.violations:
            wrong.append((seed, outcome.violations[0]))
    return wrong, happened, count
