"""The protocol holds in every history within the bounds, and every rule of it is needed there."""

import pytest

from model.__main__ import RULES, main, without
from model.exploration import counterexample, explore
from model.state import ALL_RULES, BOUNDS, Bounds

HANDLED_TWICE = "handled twice in the valid history"
APPLIED_TWICE = "applied twice by the receiver"
RELEASED = "is released, and its batch will never be in the valid history"
LOST = "an input is never applied"

GOES_WRONG = {
    "epoch_rule": HANDLED_TWICE,
    "offset_check": RELEASED,
    "release_after_ack": RELEASED,
    "seq_persisted": LOST,
    "reopen_after_doubt": HANDLED_TWICE,
    "epoch_used_once": RELEASED,
    "dedupe": APPLIED_TWICE,
}


def test_with_all_rules_nothing_breaks_and_every_history_ends_well():
    found = explore(ALL_RULES, BOUNDS)
    assert found.counterexample is None
    assert found.is_finite
    assert found.states > 100_000, "a model that hardly moves proves nothing"


@pytest.mark.parametrize("bounds", [Bounds(inputs=1, faults=3), Bounds(inputs=3, faults=1)])
def test_other_bounds_hold_too(bounds: Bounds):
    found = explore(ALL_RULES, bounds)
    assert (found.counterexample, found.is_finite) == (None, True)


def test_without_faults_everything_is_applied():
    found = explore(ALL_RULES, Bounds(inputs=2, faults=0))
    assert (found.counterexample, found.is_finite) == (None, True)
    assert found.done


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_something_goes_wrong(rule: str):
    found = counterexample(without(rule))
    assert found is not None, f"the protocol holds without {rule}"
    assert GOES_WRONG[rule] in found.problem


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_is_needed_as_long_as_nothing_goes_wrong(rule: str):
    assert counterexample(without(rule), Bounds(faults=0)) is None


def test_the_history_told_is_a_shortest_one():
    found = counterexample(without("dedupe"))
    assert found is not None
    assert found.history == [
        "A begins to open",
        "the Opened of A lands at 0: A works",
        "A appends the batch of epoch 0 for input 1, expects 1",
        "the batch of epoch 0 for input 1 of A lands at 1: A releases its outputs",
        "number 1 (input 1, epoch 0) of A lands, is applied, "
        "the confirmation is lost: A will repeat it",
        "number 1 (input 1, epoch 0) of A lands, is applied, is confirmed",
    ]


def test_the_command_tells_what_it_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.argv", ["model", "--faults", "1"])
    assert main() == 0
    told = capsys.readouterr().out
    assert "every history ends with every input applied exactly once" in told
    assert all(f"Without {rule}: " in told for rule in RULES)
