"""A step that is a saga: what is refused when it is loaded, and what callers are told at once."""

from dataclasses import replace
from typing import Any

import pytest

from messages.account import Credit, Debit, Hold, Release
from messages.child import StartChild
from messages.participants import SAGAS
from saga_definitions.definition import Definition
from saga_definitions.description import mermaid, said
from saga_definitions.dsl import (
    DefinitionError,
    Differ,
    Instant,
    ask,
    command,
    define,
    effect_of,
    nested,
    result_of,
    step,
    wait_for,
    wait_until,
)
from saga_definitions.fee import FEE
from saga_definitions.registry import Registry, shipped
from saga_definitions.transfer import TRANSFER
from tests.orchestrator.graphs import MONEY, MoveParams, node

p = MoveParams()
GIVEN: Any = {"source": p.source, "target": p.target, **MONEY}
FEE_GIVEN: Any = {"source": p.source, "fee_account": p.target, **MONEY}
HOUR_MS = 3_600_000


def small(name: str = "small", *steps: Any, **options: Any) -> Definition:
    return define(
        name, **{"version": 1, "params": p, "steps": steps or (node("debit"),), **options}
    )


def outer(*steps: Any, **options: Any) -> Definition:
    return small("outer", *steps, **options)


def refusal(*steps: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(DefinitionError) as error:
        outer(*steps, **options)
    return error.value.place, error.value.reason


def test_a_child_that_could_not_be_taken_back_is_refused_before_the_pivot() -> None:
    assert refusal(nested("pay", TRANSFER, given=GIVEN)) == (
        "outer.steps.pay",
        "transfer@1 can't be taken back once it is completed: make the step the pivot",
    )
    assert outer(nested("pay", TRANSFER, given=GIVEN, pivot=True)).children == (TRANSFER,)
    outer(node("pivot", pivot=True), nested("pay", TRANSFER, given=GIVEN, irreversible=True))


def test_a_definition_is_no_step_of_itself() -> None:
    inner = outer(node("debit"))
    between = small("between", nested("one", inner, given=GIVEN))
    for child, name in ((inner, "outer@1"), (between, "between@1")):
        assert refusal(nested("one", child, given=GIVEN), version=2) == (
            "outer.steps.one",
            f"outer would be a step of itself, within {name}",
        )


def test_sagas_within_each_other_have_a_bound() -> None:
    deep = small("d1")
    for n in range(2, 5):
        deep = small(f"d{n}", nested("one", deep, given=GIVEN))
    assert refusal(nested("one", deep, given=GIVEN))[1] == "at most 4 sagas within each other"


def test_a_child_has_to_end_within_the_deadline_that_turns_its_parent_back() -> None:
    slow = small(deadline_ms=HOUR_MS)
    assert refusal(nested("one", slow, given=GIVEN), deadline_ms=HOUR_MS - 1) == (
        "outer.steps.one",
        "small@1 may take 3600000 ms, but at 3599999 ms outer turns back",
    )
    waits = small("waits", wait_for("word", timeout_ms=HOUR_MS), node("debit", "word"))
    assert "may take 3720000 ms" in refusal(nested("one", waits, given=GIVEN))[1]
    # The pivot's own deadline counts: its parent does not turn back meanwhile.
    outer(nested("one", waits, given=GIVEN, pivot=True))


def test_a_child_that_waits_counts_as_a_wait_with_something_done() -> None:
    days = 24 * HOUR_MS
    waits = small("waits", wait_for("word", timeout_ms=4 * days), node("debit", "word"))
    place, reason = refusal(node("debit"), nested("one", waits, given=GIVEN, pivot=True))
    assert (place, reason.split(" to take ")[0]) == ("outer.steps.one", "waits too long")
    hold = node(
        "hold",
        do=command(Hold, account_id=p.source, **MONEY),
        undo=command(Release, account_id=p.source, hold_id=effect_of("hold")),
    )
    outer(hold, nested("one", waits, given=GIVEN, pivot=True, after=("hold",)))

    class Dated(MoveParams):
        at = Instant()

    dated = define(
        "dated",
        version=1,
        params=Dated(),
        steps=(wait_until("due", Dated.at), node("debit", "due")),
    )
    given = {**GIVEN, "at": "2027-01-01T00:00:00Z"}
    assert "may take any time" in refusal(nested("one", dated, given=given))[1]
    assert refusal(node("debit"), nested("one", dated, given=given, pivot=True))[1].startswith(
        "waits too long"
    )


@pytest.mark.parametrize(
    ("given", "place", "reason"),
    [
        ({"source": p.source, **MONEY}, "fee_account", "fee requires it"),
        ({**FEE_GIVEN, "more": 1}, "more", "fee has no such parameter"),
        (
            {**FEE_GIVEN, "source": p.amount_minor},
            "source",
            "params.amount_minor is of another type than this field",
        ),
        ({**FEE_GIVEN, "currency": "XXX"}, "currency", "must be an active ISO 4217 currency code"),
        (
            {**FEE_GIVEN, "source": result_of("later", "x")},
            "source",
            "no step 'later' comes before",
        ),
    ],
)
def test_what_a_child_is_given_is_checked(given: Any, place: str, reason: str) -> None:
    assert refusal(nested("one", FEE, given=given)) == (f"outer.steps.one.given.{place}", reason)


def test_a_child_answers_with_nothing_and_is_not_asked_by_hand() -> None:
    place, reason = refusal(
        nested("one", FEE, given=FEE_GIVEN),
        step(
            "credit",
            do=command(Credit, account_id=result_of("one", "account"), **MONEY),
            undo=command(Debit, account_id=result_of("one", "account"), **MONEY),
        ),
    )
    assert (place, reason) == (
        "outer.steps.credit.do.account_id",
        "step 'one' is a saga: it answers with nothing",
    )
    by_hand = ask(SAGAS, StartChild, definition="fee", version=1, params="x")
    assert refusal(step("one", do=by_hand, pivot=True)) == (
        "outer.steps.one.do",
        "a step that is a saga is written nested(...)",
    )


def test_what_the_child_refuses_is_refused_when_its_parent_is_asked_for() -> None:
    definition = shipped().find("transfer_with_fee")
    good = {
        "source": "alice",
        "target": "bob",
        "amount_minor": 5,
        "currency": "EUR",
        "fee_account": "fees",
        "fee_minor": 1,
    }
    assert definition.check_params(good) == []
    assert definition.check_params({**good, "fee_account": "alice"}) == [
        ("fee_account", "must differ from source, says fee of its fee_account")
    ]
    assert definition.check_params({**good, "target": "alice"}) == [
        ("target", "must differ from source, says transfer of its target")
    ]


def test_what_only_the_run_can_tell_is_left_to_the_child() -> None:
    strict = small("strict", rules=(Differ(p.source, p.target),))
    read = outer(
        node("debit"), nested("one", strict, given={**GIVEN, "target": result_of("debit", "x")})
    )
    same = {"source": "alice", "target": "alice", "amount_minor": 5, "currency": "EUR"}
    assert read.check_params(same) == []


def test_a_registry_knows_the_children_and_refuses_two_of_a_version() -> None:
    definition = outer(nested("one", FEE, given=FEE_GIVEN))
    assert Registry((definition,)).version("fee", 1) is FEE
    other = replace(FEE, plan=small().plan)
    with pytest.raises(DefinitionError, match="version 1 is defined twice"):
        Registry((definition, other))


def test_a_step_that_is_a_saga_is_shown_as_one() -> None:
    definition = shipped().find("transfer_with_fee")
    assert said(definition)["steps.payment.do"] == (
        "transfer@1(source=source, target=target, amount_minor=amount_minor, currency=currency)"
    )
    assert "fee@1" in mermaid(definition)
