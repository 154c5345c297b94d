"""Conditions, waits, times and chosen compensations that must not run are refused at load."""

from typing import Any

import pytest

from messages.account import Credit, Debit, Hold, Release
from messages.plan import AwaitSignal, AwaitTime, Condition
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    DefinitionError,
    Instant,
    Params,
    Person,
    Text,
    choose,
    command,
    condition,
    define,
    effect_of,
    result_of,
    step,
    wait_for,
    wait_until,
)
from saga_definitions.order import MAX_IN_HAND_MS


class MoveParams(Params):
    source = Account()
    amount_minor = Amount()
    currency = Currency()
    code = Text()
    note = Text(optional=True)
    initiator = Person()
    execute_at = Instant()


class OtherParams(Params):
    initiator = Person()
    execute_at = Instant()


p = MoveParams()
MONEY: dict[str, Any] = {"amount_minor": p.amount_minor, "currency": p.currency}
DEBIT = command(Debit, account_id=p.source, **MONEY)
CREDIT = command(Credit, account_id=p.source, **MONEY)
LARGE = condition(p.amount_minor, ">", 100)
DAY_MS = 86_400_000


def move(name: str, **options: Any) -> Any:
    return step(name, **{"do": DEBIT, "undo": CREDIT, **options})


def hold(name: str, **options: Any) -> Any:
    return step(
        name,
        do=command(Hold, account_id=p.source, **MONEY),
        undo=command(Release, account_id=p.source, hold_id=effect_of(name)),
        **options,
    )


def definition(*steps: Any) -> Definition:
    return define("move", version=1, params=p, steps=steps)


def refusal(*steps: Any) -> tuple[str, str]:
    with pytest.raises(DefinitionError) as error:
        definition(*steps)
    return error.value.place, error.value.reason


def test_conditions_and_waits_stand_in_the_plan_as_data() -> None:
    plan = definition(
        wait_until("due", p.execute_at),
        wait_for("approval", timeout_ms=DAY_MS, not_by=p.initiator, when=LARGE),
        move("a", by=p.execute_at),
    ).plan
    due, approval, a = plan.steps
    assert due.wait == AwaitTime("params.execute_at")
    assert approval.wait == AwaitSignal(DAY_MS, "params.initiator")
    assert approval.when == (Condition({"ref": "params.amount_minor"}, ">", 100),)
    assert (due.do, a.by) == (None, "params.execute_at")


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (condition(1, "==", 1), "compares two literals"),
        (condition(p.amount_minor, "~", 1), "no test is called '~'"),  # pyright: ignore[reportArgumentType]
        (condition(p.code, "<", "b"), "only integers have an order"),
        (condition(p.amount_minor, "<", "b"), "only integers have an order"),
        (condition(p.amount_minor, ">", None), "only integers have an order"),
        (condition(p.amount_minor, "==", "5"), "Expected `int`, got `str`"),
        (
            condition(p.currency, "==", "euro"),
            "Expected `str` matching regex '^[A-Z]{3}(?!\\\\n)$'",
        ),
        (condition(OtherParams.initiator, "==", "ann"), "params.initiator is not a parameter"),
        (condition(effect_of("a"), "==", "x"), "an effect id says nothing"),
        (condition(result_of("z", "n"), "==", "x"), "no step 'z' comes before"),
        (condition(result_of("b", "n"), "==", "x"), "no step 'b' comes before"),
    ],
)
def test_a_condition_that_says_nothing_is_refused(when: Any, reason: str) -> None:
    place, said = refusal(move("a"), move("b", when=when))
    assert place == "move.steps.b.when"
    assert said.startswith(reason)


def test_an_optional_parameter_serves_a_step_that_asks_for_it() -> None:
    named = command(Debit, account_id=p.note, **MONEY)
    back = command(Credit, account_id=p.note, **MONEY)
    place, said = refusal(move("a", do=named, undo=back))
    assert (place, said[:23]) == ("move.steps.a.do.account_id", "params.note is optional")
    there = condition(p.note, "!=", None)
    # The text is no account id: that is another check's business.
    assert refusal(move("a", do=named, undo=back, when=there))[1].endswith("than this field")


def test_who_relies_on_a_step_that_may_be_skipped_needs_its_condition() -> None:
    late = condition(result_of("a", "n"), "==", 1)
    assert refusal(move("a", when=LARGE), move("b", when=late)) == (
        "move.steps.b.when",
        "step 'a' may be skipped: whoever relies on it needs the same when",
    )
    definition(move("a", when=LARGE), move("b", when=(LARGE, late)))


def test_the_pivot_is_never_skipped() -> None:
    pivot = step("z", do=CREDIT, pivot=True, when=LARGE)
    assert refusal(move("a"), pivot)[0] == "move.steps.z.when"


def test_nothing_waits_behind_the_pivot_or_beside_it() -> None:
    pivot = step("z", do=CREDIT, pivot=True)
    wait = wait_for("approval", timeout_ms=1)
    assert refusal(move("a"), pivot, wait)[1].startswith("waits after the pivot z")
    beside = wait_for("approval", timeout_ms=1, after=())
    assert refusal(move("a"), pivot, beside)[1].startswith("runs beside the pivot z")


@pytest.mark.parametrize(
    "wait",
    [
        wait_until("wait", p.execute_at),
        wait_until("wait", p.execute_at, after=()),
        wait_for("wait", timeout_ms=MAX_IN_HAND_MS + 1),
    ],
)
def test_a_debit_does_not_outlast_the_memory_that_takes_it_back(wait: Any) -> None:
    place, said = refusal(move("a", after=()), wait)
    assert (place, said[:31]) == ("move.steps.wait", "waits too long to take a back a")


def test_several_waits_add_up() -> None:
    half = MAX_IN_HAND_MS // 2
    definition(move("a"), wait_for("one", timeout_ms=half), wait_for("two", timeout_ms=half))
    refusal(move("a"), wait_for("one", timeout_ms=half), wait_for("two", timeout_ms=half + 2))


def test_a_hold_outlasts_every_wait() -> None:
    definition(hold("a"), wait_until("wait", p.execute_at), move("b"))
    definition(wait_for("wait", timeout_ms=366 * DAY_MS), move("b"))


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ([wait_for("w", timeout_ms=0)], "w.timeout_ms"),
        ([wait_for("w", timeout_ms=367 * DAY_MS)], "w.timeout_ms"),
        ([wait_for("w", timeout_ms=1, not_by=OtherParams.initiator)], "w.not_by"),
        ([wait_for("w", timeout_ms=1, not_by=p.source)], "w.not_by"),  # pyright: ignore[reportArgumentType]
        ([wait_until("w", OtherParams.execute_at)], "w.at"),
        ([wait_until("w", p.code)], "w.at"),  # pyright: ignore[reportArgumentType]
        ([move("w", by=p.code)], "w.by"),
    ],
)
def test_a_wait_for_what_is_none_is_refused(steps: list[Any], place: str) -> None:
    assert refusal(*steps)[0] == f"move.steps.{place}"


def test_every_chosen_compensation_must_put_back_what_was_moved() -> None:
    wrong = command(Credit, account_id=p.source, amount_minor=1, currency=p.currency)
    place, said = refusal(move("a", undo=choose("was", {"x": wrong}, otherwise=CREDIT)))
    assert (place, said) == (
        "move.steps.a.undo.x.amount_minor",
        "must be the same as what the step did",
    )
    assert refusal(move("a", undo=choose("was", {}, otherwise=wrong)))[0].endswith("amount_minor")


@pytest.mark.parametrize(
    ("instant", "good"),
    [
        ("2026-12-01T09:00:00+01:00", True),
        ("2026-12-01T09:00:00.5Z", True),
        ("2026-12-01T09:00:00", False),
        ("2026-12-01", False),
        ("2026-13-01T09:00:00Z", False),
        ("2026-12-01T09:00:00Z\n", False),
        ("1969-12-31T23:59:59Z", False),
        ("0001-01-01T00:00:00+23:59", False),
        ("2026-12-01T09:00:00+25:00", False),
        (1_700_000_000_000, False),
        (None, False),
    ],
)
def test_an_instant_has_its_offset(instant: Any, good: bool) -> None:
    assert (p.execute_at.problem(instant) is None) == good


@pytest.mark.parametrize(
    ("person", "good"),
    [
        ("ann", True),
        ("ann.b@bank", True),
        ("", False),
        ("a b", False),
        ("ann\n", False),
        (1, False),
    ],
)
def test_a_person_is_an_id(person: Any, good: bool) -> None:
    assert (p.initiator.problem(person) is None) == good
