"""Steps that are skipped, steps that come too late, and compensations chosen by a result."""

from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from messages.account import Freeze, Unfreeze
from messages.plan import Condition, Test
from orchestrator.references import Facts, Unresolved
from saga_definitions.dsl import (
    Amount,
    Definition,
    Instant,
    choose,
    command,
    condition,
    define,
    result_of,
)
from tests.orchestrator.graphs import MoveParams, graph, node, p
from tests.orchestrator.saga_scenario import (
    PARAMS,
    Scenario,
    applied,
    declined,
    given,
    passes,
    start,
    undo_applied,
)

LARGE = condition(p.amount_minor, ">", 1_000)


def test_a_step_whose_condition_does_not_hold_is_skipped_and_counts_as_done() -> None:
    definition = graph(node("a"), node("b", "a", when=LARGE), node("c", "b"))
    scenario = given(start("graph"), using=[definition])
    scenario.when(applied("a")).then("a applied", "b skipped", "c asked (1)")
    scenario.when(applied("c")).then("c applied", "completed")


def test_a_step_whose_condition_holds_is_done() -> None:
    definition = graph(node("a"), node("b", "a", when=LARGE))
    scenario = given(start("graph", amount_minor=1_001), using=[definition])
    scenario.when(applied("a")).then("a applied", "b asked (1)")


def test_a_skipped_step_is_not_undone_and_its_predecessors_are() -> None:
    definition = graph(node("a"), node("b", "a", when=LARGE), node("c", "b"))
    scenario = given(start("graph"), applied("a"), using=[definition])
    scenario.when(declined("c", "account_closed")).then(
        "c refused: account_closed", "turned back: account_closed", "a undo asked (1)"
    )
    scenario.when(undo_applied("a")).then("a undo applied", "compensated: account_closed")


def test_a_saga_of_which_every_step_is_skipped_is_completed_at_once() -> None:
    definition = graph(node("a", when=LARGE), node("b", "a", when=LARGE))
    given(using=[definition]).when(start("graph")).then(
        "started: graph 1", "a skipped", "b skipped", "completed"
    )


def test_a_condition_on_a_result_that_is_not_there_refuses_the_step() -> None:
    asked = condition(result_of("a", "fee"), ">", 0)
    definition = graph(node("a"), node("b", "a", when=asked))
    scenario = given(start("graph"), using=[definition])
    scenario.when(applied("a")).then(
        "a applied",
        "b refused: command_unresolved",
        "turned back: command_unresolved",
        "a undo asked (1)",
    )
    with_fee = given(start("graph"), using=[definition])
    with_fee.when(applied("a", fee=1)).then("a applied", "b asked (1)")


@pytest.mark.parametrize(
    ("left", "test", "right", "met"),
    [
        (5, "==", 5, True),
        (5, "!=", 5, False),
        (1, "==", True, False),
        ("5", "==", 5, False),
        ({"ref": "params.amount_minor"}, "<", 501, True),
        ({"ref": "params.amount_minor"}, ">=", 501, False),
        ({"ref": "params.reference"}, "==", None, True),
        ({"ref": "params.legs.1.target"}, "==", "bob", True),
        ({"ref": "params.legs.2.target"}, "!=", None, False),
        ({"ref": "params.legs.x"}, "!=", None, False),
        ({"ref": "params.amount_minor"}, "==", {"ref": "steps.a.result.taken"}, True),
    ],
)
def test_what_conditions_hold(left: Any, test: Test, right: Any, met: bool) -> None:
    params = {**PARAMS, "legs": [{"target": "carol"}, {"target": "bob"}]}
    facts = Facts("s", params, [("a", {"taken": 500})])
    assert facts.meet(Condition(left, test, right)) == met


@pytest.mark.parametrize("left", ["5", None, True, {"ref": "params.reference"}])
def test_an_order_of_what_is_no_integer_can_not_be_told(left: Any) -> None:
    with pytest.raises(Unresolved):
        Facts("s", {}, []).meet(Condition(left, "<", 7))


@given_any(st.integers(), st.integers())
def test_a_condition_and_its_opposite_never_agree(one: int, other: int) -> None:
    facts = Facts("s", {"one": one, "other": other}, [])
    sides = {"ref": "params.one"}, {"ref": "params.other"}
    pairs: list[tuple[Test, Test]] = [("==", "!="), ("<", ">="), (">", "<=")]
    for test, opposite in pairs:
        assert facts.meet(Condition(sides[0], test, sides[1])) != facts.meet(
            Condition(sides[0], opposite, sides[1])
        )


class QuotedParams(MoveParams):
    quote_ends_at = Instant()
    fee_minor = Amount()


q = QuotedParams()


def quoted(*steps: Any) -> Definition:
    return define("graph", version=1, params=q, steps=steps, deadline_ms=3_600_000)


def quoted_start(quote_ends_at: str) -> Any:
    return start("graph", quote_ends_at=quote_ends_at, fee_minor=1)


def test_a_step_is_not_asked_for_later_than_it_may_be() -> None:
    # Scenarios begin 1,000 s after 1970.
    definition = quoted(
        node("a", timeout_ms=3_600_000), node("pivot", "a", pivot=True, by=q.quote_ends_at)
    )
    begun = quoted_start("1970-01-01T01:17:40+01:00")
    in_time = given(begun, passes(s=59), using=[definition])
    in_time.when(applied("a")).then("a applied", "pivot asked (1)")
    late = given(begun, passes(s=61), using=[definition])
    late.when(applied("a")).then(
        "a applied", "pivot refused: too_late", "turned back: too_late", "a undo asked (1)"
    )


def test_a_step_that_was_asked_for_in_time_is_asked_for_again_later() -> None:
    definition = quoted(node("pivot", pivot=True, by=q.quote_ends_at, timeout_ms=5_000))
    scenario = given(quoted_start("1970-01-01T00:16:41Z"), using=[definition])
    scenario.given(passes(s=6))
    assert len(scenario.requests("pivot")) > 1
    scenario.when(applied("pivot")).then("pivot applied", "completed")


def chosen() -> Scenario:
    definition = graph(
        node(
            "a",
            do=command(Freeze, account_id=p.source),
            undo=choose(
                "was",
                {"open": command(Unfreeze, account_id=p.source)},
                otherwise=command(Unfreeze, account_id=p.target),
            ),
        ),
        node("b", "a"),
    )
    return given(start("graph"), using=[definition])


@pytest.mark.parametrize(
    ("result", "undone"),
    [({"was": "open"}, "alice"), ({"was": "frozen"}, "bob"), ({"was": 1}, "bob"), ({}, "bob")],
)
def test_the_compensation_is_chosen_by_the_result(result: dict[str, Any], undone: str) -> None:
    scenario = chosen().given(applied("a", **result), declined("b", "account_closed"))
    (asked,) = scenario.requests("a", "undo")
    assert asked.key == undone


def test_a_step_that_nobody_answered_is_taken_back_by_the_other_compensation_every_time() -> None:
    scenario = chosen().given(passes(s=40))
    assert scenario.state == "compensating"
    scenario.given(applied("a", was="open"), passes(minutes=5))
    assert len(scenario.requests("a", "undo")) > 1
    assert {asked.key for asked in scenario.requests("a", "undo")} == {"bob"}
