"""Steps that are done leg by leg: what must not run is refused at load."""

from typing import Any

import pytest

from messages.account import Capture, Credit, CreditOnHold, Debit, Release
from messages.child import StartChild
from messages.claims import Claim
from messages.participants import CLAIMS, SAGAS
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    DefinitionError,
    Legs,
    Params,
    ask,
    command,
    condition,
    define,
    effect_of,
    leg_effect_of,
    nested,
    result_of,
    step,
)
from saga_definitions.fee import FEE
from saga_definitions.payroll import PAYROLL
from tests.orchestrator.test_enquiries import TRIPS, Book


class PayParams(Params):
    source = Account()
    amount_minor = Amount()
    currency = Currency()
    legs = Legs(most=100)
    others = Legs(most=100)


p = PayParams()
LEG: dict[str, Any] = {
    "account_id": p.legs.leg.target,
    "amount_minor": p.legs.leg.amount_minor,
    "currency": p.currency,
}
PAID = command(Credit, **LEG)
BACK: dict[str, Any] = {"account_id": p.legs.leg.target}


def pay(**options: Any) -> Any:
    return step("pay", **{"do": PAID, "pivot": True, "each": p.legs, **options})


def held(**options: Any) -> Any:
    undo = command(Capture, **BACK, hold_id=leg_effect_of("credit"))
    do = command(CreditOnHold, **LEG)
    return step("credit", **{"do": do, "undo": undo, "each": p.legs, **options})


def after(name: str, **options: Any) -> Any:
    fields = {**LEG, "account_id": p.source, "amount_minor": p.amount_minor}
    return step(name, **{"do": command(Credit, **fields), "irreversible": True, **options})


def refused(*steps: Any) -> tuple[str, str]:
    with pytest.raises(DefinitionError) as error:
        define("pay_all", version=1, params=p, steps=steps)
    return error.value.place.removeprefix("pay_all.steps."), error.value.reason


def test_a_leg_is_known_only_to_a_step_that_is_done_leg_by_leg() -> None:
    place, reason = refused(pay(each=None))
    assert (place, "each.target" in reason) == ("pay.do.account_id", True)


@pytest.mark.parametrize("width", [0, 201, True, 1.5])
def test_the_width_has_bounds(width: Any) -> None:
    assert refused(pay(width=width))[0] == "pay.each.width"


def test_only_accounts_can_be_asked_leg_by_leg_and_never_enquired_after() -> None:
    booked = ask(TRIPS, Book, traveller="ann")
    assert refused(pay(do=booked)) == ("pay.each", "only accounts can be asked leg by leg")
    assert refused(held(on_timeout="compensate"))[0] == "credit.each"
    claim = ask(CLAIMS, Claim, resource="r", purpose="once", amount_minor=1, limit_minor=1)
    by_hand = ask(SAGAS, StartChild, definition="fee", version=1)
    for other in (claim, by_hand):
        assert refused(pay(do=other)) == ("pay.each", "only accounts can be asked leg by leg")


def test_an_effect_of_legs_is_named_leg_by_leg_and_only_of_the_same_list() -> None:
    capture = step("capture", do=command(Debit, **LEG | {"account_id": p.source}), pivot=True)
    many = command(Release, account_id=p.source, hold_id=effect_of("credit"))
    one = command(Release, **BACK, hold_id=leg_effect_of("credit"))
    pivot = after("capture", irreversible=False, pivot=True)
    assert "use leg_effect_of" in refused(held(), pivot, after("release", do=many))[1]
    assert refused(held(), pivot, after("release", do=one))[0] == "release.do.account_id"
    other = after("release", do=one, each=p.others)
    assert "of the same list" in refused(held(), pivot, other)[1]
    assert refused(held(), capture)[0] == "capture.do.amount_minor"


def test_no_saga_is_begun_leg_by_leg_nor_given_a_leg() -> None:
    given = {"source": p.source, "amount_minor": p.amount_minor, "currency": p.currency}
    fee = nested("fee", FEE, given={**given, "fee_account": p.legs.leg.target}, pivot=True)
    assert refused(fee) == (
        "fee.given.fee_account",
        "each.target: the step is not done for each leg",
    )


def test_a_saga_gives_its_children_so_many_legs_as_fit_into_its_events() -> None:
    class ManyParams(PayParams):
        more = Legs(most=900)

    many = ManyParams()
    money = {"source": many.source, "amount_minor": many.amount_minor, "currency": many.currency}

    def paid(name: str, legs: Legs) -> Any:
        return nested(name, PAYROLL, given={**money, "legs": legs}, irreversible=True)

    first = nested("first", PAYROLL, given={**money, "legs": many.more}, pivot=True)
    steps = (first, paid("second", many.legs))
    fits = define("many", version=1, params=many, steps=steps)
    assert fits.is_long
    with pytest.raises(DefinitionError) as error:
        define("many", version=1, params=many, steps=(*steps, paid("third", many.legs)))
    assert (error.value.place, error.value.reason) == (
        "many.steps.third",
        "up to here 1100 legs are given to sagas that are steps, of 1000",
    )


def test_a_leg_is_taken_back_by_its_own_hold() -> None:
    wrong = command(Capture, **BACK, hold_id="saga/credit.0/do")
    assert refused(held(undo=wrong), after("capture", irreversible=False, pivot=True)) == (
        "credit.undo.hold_id",
        "must be the same as what the step did",
    )


def test_the_result_of_legs_is_what_the_engine_counts() -> None:
    missing = result_of("pay", "unpaid")
    place, reason = refused(pay(), after("give_back", when=condition(missing, ">", 0)))
    assert (place, "refused_minor" in reason) == ("give_back.when", True)


def test_a_payroll_of_10_000_is_checked_to_the_last_leg() -> None:
    legs: list[Any] = [{"target": f"t{n}", "amount_minor": 1} for n in range(10_000)]
    params = {"source": "a", "amount_minor": 10_000, "currency": "EUR", "legs": legs}
    assert PAYROLL.check_params(params) == []
    for wrong in ({"target": "t"}, {"target": "a b", "amount_minor": 1}, 5, None):
        ((place, reason),) = PAYROLL.check_params({**params, "legs": [*legs[:-1], wrong]})
        assert (place, reason[:8]) == ("legs", "leg 9999")
    ((_, reason),) = PAYROLL.check_params({**params, "legs": [*legs, legs[0]]})
    assert reason == "must be a list of 1 to 10000 legs"
