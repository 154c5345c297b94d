"""The simulator bites: every rule that is taken away is noticed, mostly within a few seeds."""

import pytest

from simulation.mutants import MUTANTS
from simulation.run import simulate

WITHIN_SEEDS = 2_000


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    with MUTANTS[name].at_large():
        for seed in range(1, WITHIN_SEEDS + 1):
            if simulate(seed).violations:
                return
    pytest.fail(f"{WITHIN_SEEDS} seeds did not notice that {name}")


def test_nothing_is_left_of_a_mutant_afterwards() -> None:
    digest = simulate(3).digest
    for mutant in MUTANTS.values():
        with mutant.at_large():
            pass
    assert simulate(3).digest == digest
