"""A run that fails is cut down to what it takes to fail: the same sort of rule, less to read."""

from collections.abc import Iterator
from itertools import islice

import pytest

from simulation.mutants import MUTANTS
from simulation.run import Outcome, simulate
from simulation.scenario import Scenario, ScenarioMalformed, parse
from simulation.shrinking import kind_of, shrink

TRANSFERS = 50
WITHIN_S = 20.0


def _failures() -> Iterator[Outcome]:
    outcomes = (simulate(seed, transfers=TRANSFERS) for seed in range(1, 2_000))
    return (outcome for outcome in outcomes if outcome.violations)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    [
        "the offset of an append is not checked",
        "a failed send passes for a confirmed one",
        "a step without an answer passes for one that did nothing",
        "inputs of another partition are taken",
    ],
)
def test_a_mutants_failure_shrinks_to_a_small_run_that_fails_alike(name: str):
    with MUTANTS[name].at_large():
        # How small it gets depends on the failure: one that takes a long outage, or a race that
        # any change undoes, needs most of its day. Of a few one has to get smaller.
        for failed in islice(_failures(), 3):
            smallest = shrink(failed, TRANSFERS, WITHIN_S)
            if smallest.records * 5 < failed.records * 4:
                break
        again = simulate(failed.seed, parse(str(smallest.scenario)), transfers=TRANSFERS, tell=True)
    assert kind_of(failed.violations[0]) in {kind_of(violation) for violation in again.violations}
    assert again.digest == smallest.digest
    assert again.records * 5 < failed.records * 4
    assert len(again.incidents) <= 3
    assert 0 < len(again.story) <= again.records + len(again.incidents) * 3 + 10
    # Without the mutant the very same run is in order.
    assert simulate(failed.seed, smallest.scenario, transfers=TRANSFERS).violations == []


def test_the_story_of_a_failure_tells_of_the_sagas_concerned_only():
    with MUTANTS["a failed saga ends without compensation"].at_large():
        failed = next(_failures())
        told = simulate(failed.seed, tell=True)
    concerned = {
        saga
        for line in told.story
        for word in line.split()
        if (saga := word.removeprefix("saga_id=")) != word
    }
    named = "\n".join(told.violations)
    assert concerned
    assert all(saga in named for saga in concerned)


def test_a_seed_that_does_not_fail_is_told_whole():
    told = simulate(3, Scenario({"transfers": 2}), tell=True)
    assert told.violations == []
    assert len(told.story) >= told.records


@pytest.mark.parametrize(
    "text", ["", "transfers=3 without=late,slow", "accounts=4 incidents=", "incidents=1,12"]
)
def test_a_scenario_is_read_as_it_was_written(text: str):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("transfers", "has no value"),
        ("transfers=0", "at least 1"),
        ("transfers=-3", "not a number"),
        ("transfers=٣", "not a number"),
        ("incidents=1,x", "not a number"),
        ("without=rain", "no fault"),
        ("without=crash", "left out by its number"),
        ("weather=bad", "not known"),
    ],
)
def test_what_is_no_scenario_is_refused_with_the_part_and_the_reason(text: str, why: str):
    with pytest.raises(ScenarioMalformed, match=why) as refused:
        parse(text)
    assert repr(text) in str(refused.value)
