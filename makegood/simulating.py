"""`makegood simulate`: many seeds in several processes, or the story of one."""

import gc
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import SystemRandom

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simulation.conditions import TRANSFERS
from simulation.rare import ENOUGH_RUNS, missing
from simulation.run import Outcome, simulate
from simulation.scenario import WHOLE, Scenario
from simulation.shrinking import shrink

Found = tuple[list[tuple[int, str]], Counter[str], int]
"""Failed seeds with their first violation, what happened, and how many seeds were run."""

_CHUNK = 20


def tell_seed(
    console: Console, seed: int, scenario: Scenario, transfers: int, *, trace: bool, shrink_s: float
) -> int:
    """Run one seed, or the part of it that `scenario` names. With `trace` tell its story, else
    look for a smaller run when it fails. The exit status."""
    outcome = simulate(seed, scenario, transfers=transfers, tell=trace)
    _tell(console, outcome)
    if outcome.violations and not trace and shrink_s > 0:
        _shrink(console, outcome, transfers, shrink_s)
    return bool(outcome.violations)


def _tell(console: Console, outcome: Outcome) -> None:
    for line in outcome.story:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(outcome.conditions)
    for violation in outcome.violations:
        console.print(violation, style="red", markup=False, soft_wrap=True)
    console.print(
        f"seed {outcome.seed}: {outcome.records} records, {outcome.simulated_s:.0f} simulated "
        f"seconds, history {outcome.digest}, {len(outcome.violations)} violations"
    )


def _shrink(console: Console, failed: Outcome, transfers: int, within_s: float) -> None:
    """Print the smallest run that fails like `failed`, its timeline, and how to see it again."""
    console.print(f"looking for a smaller run that fails like seed {failed.seed} ...")
    smallest = shrink(failed, transfers, within_s)
    _tell(console, simulate(failed.seed, smallest.scenario, transfers=transfers, tell=True))
    command = f"makegood simulate --seed {failed.seed}"
    if transfers != TRANSFERS:
        command += f" --transfers {transfers}"
    if smallest.scenario != WHOLE:
        command += f" --scenario '{smallest.scenario}'"
    console.print(
        f"shrunk from {failed.records} records to {smallest.records}: {command} --trace",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def run_simulation(
    console: Console, runs: int, first: int | None, transfers: int, jobs: int, shrink_s: float
) -> int:
    """The exit status: 1 when a seed fails, or when something that has to happen never did."""
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
                bar.console.print(
                    f"seed {seed}: {violation}", style="red", markup=False, soft_wrap=True
                )
    took_s = time.perf_counter() - began
    never = missing(happened)
    for name, count in sorted(happened.items()):
        console.print(f"  {name:28}{count:>12,}", highlight=False)
    console.print(f"{runs:,} runs in {took_s:.0f} s, {runs / took_s:.1f} a second")
    if failed:
        console.print(
            f"[bold red]{len(failed)} seeds failed; tell the story of one with "
            f"makegood simulate --seed {failed[0]} --trace"
        )
        if shrink_s > 0:
            _shrink(console, simulate(failed[0], transfers=transfers), transfers, shrink_s)
    elif never and runs >= ENOUGH_RUNS:
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
    # What a run leaves behind is collected after it; what is there before it, never.
    gc.freeze()
    gc.disable()


def _some(chunk: tuple[int, int, int]) -> Found:
    first, count, transfers = chunk
    wrong: list[tuple[int, str]] = []
    happened: Counter[str] = Counter()
    for seed in range(first, first + count):
        outcome = simulate(seed, transfers=transfers)
        gc.collect()
        happened.update(outcome.happened)
        if outcome.violations:
            wrong.append((seed, outcome.violations[0]))
    return wrong, happened, count
