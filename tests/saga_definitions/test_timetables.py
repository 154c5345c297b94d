"""A step that is done at many times: what is refused when it is loaded, and what is said of it."""

from typing import Any

import pytest

from messages.account import Credit
from saga_definitions.definition import Definition
from saga_definitions.description import changes, said
from saga_definitions.dsl import (
    Count,
    Day,
    DefinitionError,
    Instants,
    Rhythm,
    Step,
    TimeOfDay,
    Timetable,
    Zone,
    command,
    define,
    nested,
    step,
)
from saga_definitions.fee import FEE
from saga_definitions.standing_order import STANDING_ORDER
from saga_definitions.transfer import TRANSFER
from tests.orchestrator.graphs import MoveParams, node


class OrderParams(MoveParams):
    first = Day()
    every = Rhythm()
    at = TimeOfDay()
    zone = Zone()
    times = Count(most=3)
    due = Instants()


p = OrderParams()
TABLE = Timetable(p.due, p.first, p.every, p.at, p.zone, p.times)
MONEY: Any = {"amount_minor": p.amount_minor, "currency": p.currency}
GIVEN: Any = {"source": p.source, "target": p.target, **MONEY}


def order(*steps: Step, **options: Any) -> Definition:
    return define(
        "order", **{"version": 1, "params": p, "steps": steps, "timetable": TABLE, **options}
    )


def refusal(*steps: Step, **options: Any) -> tuple[str, str]:
    with pytest.raises(DefinitionError) as error:
        order(*steps, **options)
    return error.value.place, error.value.reason


def pay(**options: Any) -> Step:
    return nested("pay", TRANSFER, **{"given": GIVEN, "each": p.due, "pivot": True, **options})


def test_only_a_saga_that_is_the_pivot_is_done_at_many_times() -> None:
    assert order(pay()).plan.steps[0].at == "each"
    reason = "only a saga that is the pivot is done at many times"
    past = pay(pivot=False, irreversible=True)
    assert refusal(node("pivot", pivot=True), past) == ("order.steps.pay.each", reason)
    credit: Any = command(Credit, account_id=p.target, **MONEY)
    many: Any = step("credit", do=credit, each=p.due, pivot=True)  # pyright: ignore[reportArgumentType]
    assert refusal(many) == ("order.steps.credit.each", reason)


def test_instants_need_what_fills_them() -> None:
    assert refusal(pay(), timetable=None) == ("order.timetable", "nothing fills due")


def test_nothing_is_taken_in_hand_for_as_long_as_payments_are_to_come() -> None:
    place, reason = refusal(node("debit"), pay())
    assert (place, reason.split(":")[0]) == (
        "order.steps.pay",
        "waits too long to take debit back afterwards",
    )
    given: Any = {"source": p.source, "fee_account": p.target, **MONEY}
    assert refusal(nested("fee", FEE, given=given, each=p.due))[1].startswith("waits too long")


def test_how_many_are_waited_for_is_bounded() -> None:
    assert refusal(pay(width=0))[0] == "order.steps.pay.each.width"


def test_a_saga_that_finds_its_own_times_is_no_step() -> None:
    given = {param.name: getattr(p, param.name) for param in order(pay()).params}
    with pytest.raises(DefinitionError, match="finds its own times when it begins"):
        define(
            "outer",
            version=1,
            params=p,
            timetable=TABLE,
            steps=(nested("inner", order(pay()), given=given, pivot=True),),
        )


def test_what_a_timetable_is_made_of_is_told() -> None:
    assert said(STANDING_ORDER)["timetable.due"] == "Timetable(first, every, at, zone, times)"
    assert said(STANDING_ORDER)["steps.pay.at"] == "each"
    assert "params.due" not in said(STANDING_ORDER)
    assert changes(STANDING_ORDER, STANDING_ORDER) == []
