"""A definition that must not run is refused when it is loaded, with the place and the reason."""

from typing import Any

import pytest

from messages.account import Capture, Credit, Debit, Freeze, Hold, Release
from messages.participant import StepCommand
from messages.participants import Participant, ParticipantError
from messages.plan import CommandTemplate
from messages.saga import StartSaga
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    DefinitionError,
    Differ,
    Params,
    Retry,
    Text,
    ask,
    command,
    define,
    effect_of,
    result_of,
    step,
)
from saga_definitions.registry import Registry


class MoveParams(Params):
    source = Account()
    target = Account()
    amount_minor = Amount()
    currency = Currency()
    reference = Text(optional=True)
    code = Text()


class OtherParams(Params):
    source = Account()


p = MoveParams()
MONEY: dict[str, Any] = {"amount_minor": p.amount_minor, "currency": p.currency}
DEBIT = command(Debit, account_id=p.source, **MONEY)
CREDIT = command(Credit, account_id=p.source, **MONEY)


def move(name: str, **options: Any) -> Any:
    """A sound reversible step."""
    return step(name, **{"do": DEBIT, "undo": CREDIT, **options})


def definition(*steps: Any, **options: Any) -> Definition:
    return define("move", **{"version": 1, "params": p, "steps": steps, **options})


def refusal(*steps: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(DefinitionError) as error:
        definition(*steps, **options)
    assert str(error.value) == f"{error.value.place}: {error.value.reason}"
    return error.value.place, error.value.reason


def test_steps_run_one_after_the_other_unless_told_otherwise() -> None:
    plan = definition(move("a"), move("b"), move("c", after=("a",)), move("d", after=())).plan
    assert [(s.name, s.after) for s in plan.steps] == [
        ("a", ()),
        ("b", ("a",)),
        ("c", ("a",)),
        ("d", ()),
    ]


def test_the_plan_lists_every_step_after_those_it_waits_for() -> None:
    plan = definition(move("a", after=("c",)), move("b", after=("a",)), move("c", after=())).plan
    assert [s.name for s in plan.steps] == ["c", "a", "b"]


def test_a_template_holds_references_and_literals() -> None:
    seven: dict[str, Any] = {"account_id": p.source, "amount_minor": 7, "currency": "EUR"}
    plan = definition(move("a", do=command(Debit, **seven), undo=command(Credit, **seven))).plan
    assert plan.steps[0].do == CommandTemplate(
        topic="account.input",
        type="account.Debit.v1",
        key="account_id",
        fields={"account_id": {"ref": "params.source"}, "amount_minor": 7, "currency": "EUR"},
    )


@pytest.mark.parametrize(
    ("undo", "place", "reason"),
    [
        (command(Credit, account_id=p.target, **MONEY), "undo.account_id", "must be the same"),
        (
            command(Credit, account_id=p.source, amount_minor=1, currency=p.currency),
            "undo.amount_minor",
            "must be the same",
        ),
        (
            command(Credit, account_id=p.source, amount_minor=p.amount_minor, currency="EUR"),
            "undo.currency",
            "must be the same",
        ),
        (DEBIT, "undo", "a Debit is taken back by Credit"),
        (command(Freeze, account_id=p.source), "undo", "a Debit is taken back by Credit"),
    ],
)
def test_an_undo_that_does_not_put_back_what_was_moved_is_refused(
    undo: Any, place: str, reason: str
) -> None:
    found, said = refusal(move("a", undo=undo))
    assert found == f"move.steps.a.{place}"
    assert said.startswith(reason)


def test_a_release_of_another_hold_is_no_undo() -> None:
    hold = command(Hold, account_id=p.source, **MONEY)
    mine = command(Release, account_id=p.source, hold_id=effect_of("a"))
    definition(
        step("a", do=hold, undo=mine),
        step("b", do=hold, undo=command(Release, account_id=p.source, hold_id=effect_of("b"))),
    )
    other = command(Release, account_id=p.source, hold_id=effect_of("a"))
    found, _ = refusal(step("a", do=hold, undo=mine), step("b", do=hold, undo=other))
    assert found == "move.steps.b.undo.hold_id"


def test_an_empty_definition_is_refused() -> None:
    assert refusal() == ("move.steps", "a definition needs at least one step")


def test_a_circle_of_steps_is_refused_and_shown() -> None:
    place, reason = refusal(
        move("start", after=()), move("a", after=("c",)), move("b", after=("a",)), move("c")
    )
    assert place == "move.steps.a.after"
    assert reason.endswith("a after c after b after a")


def test_a_step_that_waits_for_itself_is_refused() -> None:
    assert refusal(move("a", after=("a",)))[1].endswith("a after a")


def test_waiting_for_an_unknown_step_is_refused() -> None:
    assert refusal(move("a", after=("z",))) == ("move.steps.a.after", "there is no step 'z'")


def test_two_steps_of_one_name_are_refused() -> None:
    assert refusal(move("a"), move("a")) == ("move.steps.a", "two steps have this name")


def test_a_step_that_does_nothing_and_takes_something_back_is_refused() -> None:
    place, reason = refusal(move("a", do=None), move("b"))
    assert place == "move.steps.a.do"
    assert "must be a command" in reason


def test_a_step_without_undo_must_be_declared_irreversible() -> None:
    place, reason = refusal(move("a", undo=None))
    assert place == "move.steps.a"
    assert "needs an undo" in reason


def test_an_irreversible_step_before_the_pivot_is_refused() -> None:
    place, reason = refusal(
        move("a", undo=None, irreversible=True), move("b", undo=None, pivot=True)
    )
    assert place == "move.steps.a"
    assert "make it the pivot" in reason


def test_a_reversible_step_after_the_pivot_is_refused() -> None:
    place, reason = refusal(move("a", undo=None, pivot=True), move("b"))
    assert place == "move.steps.b.undo"
    assert reason.startswith("reversible, yet after the pivot a")


def test_a_step_beside_the_pivot_is_refused() -> None:
    place, reason = refusal(move("a", undo=None, pivot=True), move("b", after=()))
    assert place == "move.steps.b"
    assert reason.startswith("runs beside the pivot a")


def test_a_second_pivot_is_refused() -> None:
    place, reason = refusal(move("a", undo=None, pivot=True), move("b", undo=None, pivot=True))
    assert (place, reason) == ("move.steps.b", "a is the pivot already")


def test_a_pivot_with_an_undo_is_refused() -> None:
    assert refusal(move("a", pivot=True)) == ("move.steps.a.undo", "the pivot is never undone")


def test_an_unknown_field_of_a_command_is_refused() -> None:
    bad = command(Credit, account_id=p.source, amount=p.amount_minor, **MONEY)
    assert refusal(move("a", undo=bad)) == (
        "move.steps.a.undo.amount",
        "Credit has no such field",
    )


def test_a_missing_field_of_a_command_is_refused() -> None:
    bad = command(Debit, account_id=p.source, currency=p.currency)
    assert refusal(move("a", do=bad)) == ("move.steps.a.do.amount_minor", "Debit requires it")


def test_a_field_that_the_engine_fills_in_is_refused() -> None:
    bad = command(Credit, account_id=p.source, undoes="x", **MONEY)
    assert refusal(move("a", undo=bad)) == (
        "move.steps.a.undo.undoes",
        "is filled in by the engine",
    )


def test_a_command_that_no_participant_takes_is_refused() -> None:
    place, reason = refusal(move("a", do=command(StartSaga)))  # type: ignore[arg-type]
    assert (place, reason) == ("move.steps.a.do", "the participant account takes no StartSaga")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("amount_minor", p.source, "params.source is of another type than this field"),
        ("account_id", p.code, "params.code is of another type than this field"),
        ("currency", p.source, "params.source is of another type than this field"),
        ("account_id", OtherParams.source, "params.source is not a parameter of this definition"),
        (
            "account_id",
            p.reference,
            "params.reference is optional: a command can't rely on it, unless its step has "
            'when=condition(..., "!=", None)',
        ),
        ("account_id", result_of("z", "account"), "no step 'z' comes before"),
        ("account_id", Account(), "unknown reference ''"),
        ("amount_minor", 0, "Expected `int` >= 1"),
        ("amount_minor", "7", "Expected `int`, got `str`"),
        ("amount_minor", True, "Expected `int`, got `bool`"),
    ],
)
def test_a_value_that_the_field_can_not_take_is_refused(
    field: str, value: Any, reason: str
) -> None:
    bad = command(Debit, **{"account_id": p.source, **MONEY, field: value})
    assert refusal(move("a", do=bad)) == (f"move.steps.a.do.{field}", reason)


def test_a_step_may_use_the_result_of_a_step_before_it() -> None:
    use = command(Capture, account_id=p.source, hold_id=result_of("hold", "hold_id"))
    hold = step(
        "hold",
        do=command(Hold, account_id=p.source, **MONEY),
        undo=command(Release, account_id=p.source, hold_id=effect_of("hold")),
    )
    plan = definition(hold, step("use", do=use, pivot=True)).plan
    assert plan.steps[1].do.fields["hold_id"] == {"ref": "steps.hold.result.hold_id"}


def test_a_step_may_not_use_the_result_of_a_step_beside_it() -> None:
    beside = command(Debit, account_id=result_of("a", "account"), **MONEY)
    place, reason = refusal(move("a"), move("b", after=(), do=beside))
    assert (place, reason) == ("move.steps.b.do.account_id", "no step 'a' comes before")


def test_an_undo_may_not_use_the_result_of_its_own_step_which_may_never_be_known() -> None:
    undo = command(Release, account_id=p.source, hold_id=result_of("a", "hold_id"))
    place, reason = refusal(move("a", undo=undo))
    assert place == "move.steps.a.undo.hold_id"
    assert reason.endswith("use effect_of('a')")


def test_a_forward_command_may_not_name_its_own_effect_or_a_later_one() -> None:
    own = command(Capture, account_id=p.source, hold_id=effect_of("a"))
    later = command(Capture, account_id=p.source, hold_id=effect_of("b"))
    assert refusal(move("a", do=own))[1] == "no step 'a' comes before"
    assert refusal(move("a", do=later), move("b"))[1] == "no step 'b' comes before"


@pytest.mark.parametrize(
    ("field", "retry"),
    [
        ("attempts", Retry(attempts=0)),
        ("attempts", Retry(attempts=1.5)),  # type: ignore[arg-type]
        ("first_delay_ms", Retry(first_delay_ms=0)),
        ("max_delay_ms", Retry(first_delay_ms=500, max_delay_ms=400)),
        ("factor", Retry(factor=0.5)),
        ("factor", Retry(factor=float("nan"))),
        ("retryable", Retry(retryable=("no_such_reason",))),
    ],
)
def test_bad_retry_numbers_are_refused(field: str, retry: Retry) -> None:
    assert refusal(move("a", retry=retry))[0] == f"move.steps.a.retry.{field}"


def test_an_undo_is_retried_on_every_refusal_so_it_lists_none() -> None:
    retry = Retry(retryable=("account_frozen",))
    assert refusal(move("a", undo_retry=retry))[0] == "move.steps.a.undo_retry.retryable"


def test_a_pivot_must_not_be_given_up_on_a_time_out() -> None:
    pivot = move("a", undo=None, pivot=True, on_timeout="compensate")
    assert refusal(pivot)[0] == "move.steps.a.on_timeout"


@pytest.mark.parametrize("timeout_ms", [0, -1, 1.5, True])
def test_a_bad_time_out_is_refused(timeout_ms: Any) -> None:
    assert refusal(move("a", timeout_ms=timeout_ms))[0] == "move.steps.a.timeout_ms"


def test_a_bad_deadline_version_or_rule_is_refused() -> None:
    assert refusal(move("a"), deadline_ms=0)[0] == "move.deadline_ms"
    assert refusal(move("a"), version=0)[0] == "move.version"
    assert refusal(move("a"), rules=(Differ(p.source, Account()),))[0] == "move.rules"


def test_a_name_that_is_no_name_is_refused() -> None:
    assert refusal(move("A b"))[0] == "move.steps.A b"
    with pytest.raises(DefinitionError):
        define("no/name", version=1, params=p, steps=(move("a"),))


def test_the_registry_knows_the_latest_version_and_every_older_one() -> None:
    one, two = definition(move("a")), definition(move("a"), version=2)
    registry = Registry((two, one))
    assert registry.latest("move") is two
    assert registry.version("move", 1) is one
    assert registry.version("move", 3) is None
    assert registry.latest("nothing") is None
    assert registry.names() == ("move",)


def test_the_registry_refuses_a_version_that_is_defined_twice() -> None:
    with pytest.raises(DefinitionError, match="version 1 is defined twice"):
        Registry((definition(move("a")), definition(move("b"))))


def test_a_command_without_parameters_of_its_own_needs_only_its_account() -> None:
    freeze = step("freeze", do=command(Freeze, account_id=p.source), pivot=True)
    assert set(definition(freeze).plan.steps[0].do.fields) == {"account_id"}


# Participants other than the accounts


class Book(StepCommand, frozen=True, kw_only=True, tag="trip.Book.v1"):
    traveller: str
    seats: int = 1


class Unbook(StepCommand, frozen=True, kw_only=True, tag="trip.Unbook.v1"):
    traveller: str


TRIPS = Participant(
    name="trip",
    key="traveller",
    commands=frozenset({Book, Unbook}),
    inverse={Book: Unbook, Unbook: None},
    refusals=frozenset({"full"}),
)
BOOK = ask(TRIPS, Book, traveller="ann")
UNBOOK = ask(TRIPS, Unbook, traveller="ann")


def test_a_step_at_a_participant_is_planned_with_its_topic_key_and_partitions() -> None:
    (planned,) = definition(step("book", do=BOOK, undo=UNBOOK)).plan.steps
    assert planned.do == CommandTemplate(
        "trip.input", "trip.Book.v1", "traveller", {"traveller": "ann"}, 4
    )


@pytest.mark.parametrize(
    ("written", "place", "reason"),
    [
        ({"do": ask(TRIPS, Debit)}, "do", "the participant trip takes no Debit"),
        ({"undo": CREDIT}, "undo", "a Book is taken back by Unbook"),
        (
            {"undo": ask(TRIPS, Unbook, traveller="bob")},
            "undo.traveller",
            "must be the same as what the step did",
        ),
        ({"on_timeout": "enquire"}, "on_timeout", "trip answers no enquiries"),
        (
            {"retry": Retry(retryable=("sold_out",))},
            "retry.retryable",
            "trip never refuses with 'sold_out'",
        ),
        ({"do": ask(TRIPS, Book, traveller=1)}, "do.traveller", "Expected `str`, got `int`"),
        (
            {"do": ask(TRIPS, Book, traveller="ann", effect_id="e")},
            "do.effect_id",
            "is filled in by the engine",
        ),
    ],
)
def test_a_step_that_its_participant_could_not_do_is_refused(
    written: dict[str, Any], place: str, reason: str
) -> None:
    found = refusal(step("book", **{"do": BOOK, "undo": UNBOOK, **written}))
    assert found == (f"move.steps.book.{place}", reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "Trip!"}, "a name is lower case"),
        ({"key": "seat"}, "has no field 'seat' to route by"),
        ({"inverse": {Book: Debit}}, "doesn't take Debit"),
        ({"partitions": -1}, "at most 1000 partitions"),
    ],
)
def test_a_participant_that_could_not_be_asked_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    declared: dict[str, Any] = {
        "name": "trip",
        "key": "traveller",
        "commands": frozenset({Book, Unbook}),
        "inverse": {Book: Unbook},
    }
    with pytest.raises(ParticipantError, match=reason):
        Participant(**{**declared, **changes})


# Values that depend on a parameter


class PayParams(Params):
    currency = Currency(among=("EUR", "USD"))


def pay(table: dict[str, str], currency: Any = None) -> tuple[str, str]:
    mine = PayParams()
    chosen = (currency or mine.currency).select(table)
    credit = command(Credit, account_id=chosen, amount_minor=1, currency=mine.currency)
    with pytest.raises(DefinitionError) as error:
        define("pay", version=1, params=mine, steps=(step("credit", do=credit, pivot=True),))
    return error.value.place, error.value.reason


def test_a_table_that_lacks_what_may_come_is_refused() -> None:
    place = "pay.steps.credit.do.account_id"
    assert pay({"EUR": "a"}) == (place, "the table for params.currency lacks USD")
    assert pay({"EUR": "a", "USD": "not an id"})[0] == place
    other = (place, "params.currency is not a parameter of this definition")
    assert pay({"EUR": "a", "USD": "b"}, p.currency) == other
