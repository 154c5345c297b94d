"""The definitions that ship, and the simulator's, hold in every order of outcomes."""

from typing import Any, get_args

import pytest

from checker.course import Bounds
from checker.examples import example_params
from checker.exploration import CannotCheck, Findings, explore
from messages.account import Credit
from messages.plan import CommandTemplate, OnTimeout
from saga_definitions.dsl import Definition, ask, command, define, step
from saga_definitions.registry import configured, shipped
from simulation.definitions import COLLECT, PATIENT
from tests.checker.broken import asks, by_hand, credit, debit
from tests.orchestrator.graphs import MONEY, MoveParams, node
from tests.orchestrator.test_enquiries import TRIPS, Book, Unbook

ALL = configured({"EUR": "settlement-eur", "USD": "settlement-usd"})
SHIPPED = [
    (definition, number)
    for name in ALL.names()
    for version in ALL.versions(name)
    for definition in [ALL.find(f"{name}@{version}")]
    for number in range(len(example_params(definition)))
]
TRANSFER = shipped().find("transfer")


def held(found: Findings) -> Findings:
    assert found.counterexample is None, found.counterexample
    return found


@pytest.mark.parametrize(
    ("definition", "case"), SHIPPED, ids=[f"{d.name}@{d.version}-{case}" for d, case in SHIPPED]
)
def test_a_definition_that_ships_holds(definition: Definition, case: int) -> None:
    params = example_params(definition)[case]
    found = held(explore(definition, params, bounds=Bounds(states=4_000)))
    # Where steps run at once there are more histories than a test has time for.
    parallel = definition.name in ("fx_transfer", "split_transfer", "standing_order")
    parallel = parallel or "payroll" in definition.name
    assert found.faults is None or (parallel and found.faults >= 2)
    assert {"completed", "compensated", "parked"} <= found.ends.keys()


@pytest.mark.parametrize("on_timeout", get_args(OnTimeout))
def test_what_an_outside_participant_is_asked_for_and_takes_back_holds(
    on_timeout: OnTimeout,
) -> None:
    booked = define(
        "booked",
        version=1,
        params=MoveParams(),
        steps=(
            step(
                "book",
                do=ask(TRIPS, Book, traveller="ann"),
                undo=ask(TRIPS, Unbook, traveller="ann"),
                on_timeout=on_timeout,
            ),
            node("debit", "book"),
            step("credit", do=command(Credit, account_id=MoveParams.target, **MONEY), pivot=True),
        ),
    )
    found = held(explore(booked, only_params(booked)))
    assert found.faults is None
    assert {"completed", "compensated", "parked"} <= found.ends.keys()


def only_params(definition: Definition, **given: object) -> dict[str, Any]:
    (params,) = example_params(definition, given)
    return params


def test_more_attempts_change_nothing() -> None:
    few = explore(TRANSFER, only_params(TRANSFER), bounds=Bounds(operators=0))
    many = Bounds(attempts=3, operators=0)
    found = held(explore(TRANSFER, only_params(TRANSFER), bounds=many))
    assert found.faults is None
    assert found.states > few.states


def test_every_way_in_which_conditions_turn_out_is_a_case() -> None:
    approved = shipped().find("approved_transfer")
    below, above = (params["amount_minor"] for params in example_params(approved))
    assert below <= 1_000_000 < above
    assert len(example_params(shipped().find("split_transfer"))) == 2


def test_what_undoes_a_step_by_its_answer_is_looked_at_for_every_answer() -> None:
    def chosen(case: CommandTemplate) -> Findings:
        step = debit(undo_by="how", undo_cases={"fee": case})
        return explore(by_hand(step, credit("credit", "debit")), {})

    assert held(chosen(asks("Credit", "alice"))).faults is None
    wrong = chosen(asks("Credit", "alice", 99)).counterexample
    assert wrong is not None
    assert wrong.problem == "the saga is compensated and has moved -1 EUR on alice"


def test_silence_that_is_not_borne_and_refusals_that_are_worth_another_try_hold() -> None:
    assert held(explore(PATIENT, only_params(PATIENT))).faults is None


def test_parallel_steps_hold_as_far_as_the_bounds_reach() -> None:
    params = only_params(COLLECT, amount_minor=100, total_minor=200)
    found = held(explore(COLLECT, params, bounds=Bounds(faults=2)))
    assert found.faults == 2


def test_steps_that_are_alike_are_looked_at_in_one_order_only() -> None:
    def split(*names: str) -> Definition:
        legs = [credit(n, "debit", pivot=False, undo=asks("Debit", "bob")) for n in names]
        paid = debit(
            do=asks("Debit", "alice", 100 * len(names)),
            undo=asks("Credit", "alice", 100 * len(names)),
        )
        return by_hand(paid, *legs)

    alike = held(explore(split("a", "b", "c"), {}, bounds=Bounds(faults=1)))
    *others, last = split("a", "b", "c").plan.steps
    unlike = by_hand(*others, credit("c", "debit", pivot=False, undo=last.undo, timeout_ms=1))
    assert alike.states < 0.7 * held(explore(unlike, {}, bounds=Bounds(faults=1))).states


def test_a_reversible_step_behind_the_pivot_is_never_taken_back() -> None:
    # The compiler refuses it; the engine would not undo it either: it parks the saga.
    found = held(explore(by_hand(credit(), debit("debit", "credit")), {}))
    assert found.faults is None


def test_without_faults_only_the_order_of_the_answers_is_open() -> None:
    found = held(explore(by_hand(debit(), credit("credit", "debit")), {}, bounds=Bounds(faults=0)))
    assert (found.states, found.ends) == (3, {"running": 2, "completed": 1})


def test_when_the_states_run_out_it_says_how_many_faults_were_looked_at() -> None:
    found = explore(TRANSFER, only_params(TRANSFER), bounds=Bounds(states=200))
    assert found.states == 200
    assert found.faults is not None and 0 < found.faults < 5


def test_params_that_the_definition_refuses_are_told() -> None:
    with pytest.raises(CannotCheck, match="amount_minor: must be an integer of minor units"):
        example_params(TRANSFER, {"amount_minor": 0})
    with pytest.raises(CannotCheck, match="source: is required"):
        explore(TRANSFER, {})
