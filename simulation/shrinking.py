"""From a run that failed to the smallest part of it that still fails in the same way.

Greedy: sizes first, for a smaller run is a faster try; then the incidents, in halves and then one
by one (Zeller's ddmin), then the other faults; again and again until nothing more can go.
"""

import time
from collections.abc import Callable, Iterator

import msgspec

from simulation.conditions import INCIDENTS
from simulation.run import Outcome, simulate
from simulation.scenario import SMALLEST, Scenario

Fails = Callable[[Scenario], bool]
"""Whether a part of the run still fails in the same way."""


def kind_of(violation: str) -> str:
    """What sort of rule was broken: `books`, `courses`, `Deadlock`, ..."""
    return violation.partition(":")[0]


def shrink(failed: Outcome, transfers: int, within_s: float) -> Outcome:
    """The smallest run found in `within_s` seconds of CPU time that breaks a rule of the same sort
    as `failed` did first; `failed` itself if there is none. `transfers`: what it was run with."""
    kind = kind_of(failed.violations[0])
    until_s = time.process_time() + within_s
    smallest = failed

    def fails(scenario: Scenario) -> bool:
        nonlocal smallest
        outcome = simulate(failed.seed, scenario, transfers=transfers)
        same = any(kind_of(violation) == kind for violation in outcome.violations)
        if same:
            smallest = outcome
        return same

    for _ in _steps(failed, fails):
        if time.process_time() >= until_s:
            break
    return smallest


def _steps(failed: Outcome, fails: Fails) -> Iterator[None]:
    """Make the run smaller, one try at a time, until no try succeeds."""
    scenario = failed.scenario
    while True:
        before = scenario
        for narrow in (_smaller, _fewer_incidents, _fewer_faults):
            for found in narrow(failed, scenario, fails):
                scenario = found or scenario
                yield
        if scenario == before:
            return


def _fewer_incidents(
    failed: Outcome, scenario: Scenario, fails: Fails
) -> Iterator[Scenario | None]:
    left = sorted(failed.incidents if scenario.incidents is None else scenario.incidents)
    size = len(left)
    while size:
        at = 0
        while at < len(left):
            without = left[:at] + left[at + size :]
            tried = msgspec.structs.replace(scenario, incidents=frozenset(without))
            if fails(tried):
                left = without
                yield tried
            else:
                at += size
                yield None
        size //= 2


def _fewer_faults(failed: Outcome, scenario: Scenario, fails: Fails) -> Iterator[Scenario | None]:
    for kind in sorted(failed.conditions.faults - scenario.without - set(INCIDENTS)):
        tried = msgspec.structs.replace(scenario, without=scenario.without | {kind})
        if fails(tried):
            scenario = tried
            yield tried
        else:
            yield None


def _smaller(failed: Outcome, scenario: Scenario, fails: Fails) -> Iterator[Scenario | None]:
    for name, least in SMALLEST.items():
        drawn = int(getattr(failed.conditions, name))
        now = scenario.sizes.get(name, drawn)
        # Whether it fails can hang on chance: sizes all over the range, the smallest first.
        for smaller in range(least, now, max(1, (now - least) // 8)):
            tried = msgspec.structs.replace(scenario, sizes={**scenario.sizes, name: smaller})
            if fails(tried):
                scenario = tried
                yield tried
                break
            yield None
