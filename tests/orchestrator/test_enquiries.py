"""A step whose outcome is enquired after: never guessed, sent again only when it never came."""

from typing import Any

import pytest

from messages.account import Credit, Debit
from messages.participant import Enquire, StepCommand
from messages.participants import Participant
from messages.payout import SendPayout
from messages.saga import SagaInput, SagaStarted, StartRefused, StepTimedOut
from messages.wire import Codec
from orchestrator.machine import SagaMachine
from orchestrator.saga import decide
from saga_definitions.dsl import Definition, Retry, ask, command, define, step
from saga_definitions.external_payout import external_payout
from saga_definitions.registry import Registry
from tests.orchestrator.graphs import MONEY, MoveParams
from tests.orchestrator.saga_scenario import (
    SAGA,
    Scenario,
    applied,
    declined,
    given,
    operator,
    passes,
    start,
    undo_applied,
)

PAYOUT = external_payout({"EUR": "settlement-eur"})
COMMANDS: Codec[Any] = Codec(SendPayout | Enquire)


def begin() -> Any:
    message = start(
        "external_payout",
        creditor_name="Bob",
        creditor_account="DE89370400440532013000",
        reference="invoice 7",
    )
    del message.params["target"]
    return message


def at_the_payout() -> Scenario:
    return given(begin(), applied("hold", hold_id="h"), using=[PAYOUT])


def last_command(scenario: Scenario, name: str = "payout") -> StepCommand:
    return COMMANDS.decode(bytes(scenario.requests(name)[-1].command))


def test_the_payout_goes_to_its_participant_with_the_partitions_it_has() -> None:
    scenario = at_the_payout().then("hold applied", "payout asked (1)")
    asked = scenario.requests("payout")[0]
    assert (asked.topic, asked.key, asked.partitions) == ("payout.input", "alice", 4)
    sent = last_command(scenario)
    assert isinstance(sent, SendPayout)
    assert (sent.effect_id, sent.reply_to) == (f"{SAGA}/payout/do", "orchestrator.input")


def test_an_applied_payout_is_captured_and_booked_to_the_settlement_account() -> None:
    scenario = at_the_payout().given(applied("payout"), applied("capture"))
    scenario.then("capture applied", "settle asked (1)")
    assert b'"account_id":"settlement-eur"' in bytes(scenario.requests("settle")[0].command)
    scenario.when(applied("settle")).then("settle applied", "completed")


def test_a_declined_payout_releases_the_hold() -> None:
    at_the_payout().when(declined("payout", "creditor_unknown")).then(
        "payout refused: creditor_unknown", "turned back: creditor_unknown", "hold undo asked (1)"
    )


def test_after_a_time_out_the_outcome_is_asked_for_under_the_same_effect_id() -> None:
    scenario = (
        at_the_payout().when(passes(s=35)).then("payout timed out, again later", "payout asked (2)")
    )
    asked = last_command(scenario)
    assert isinstance(asked, Enquire)
    assert (asked.effect_id, asked.attempt) == (f"{SAGA}/payout/do", 2)
    assert (asked.command, asked.key) == ("payout.SendPayout.v1", "alice")
    assert asked.issued_at_ms == scenario.requests("payout")[0].at_ms
    assert scenario.requests("payout")[-1].partitions == 4


def test_an_outcome_that_is_unknown_is_asked_for_again_and_is_no_refusal() -> None:
    scenario = at_the_payout().when(declined("payout", "outcome_unknown"))
    scenario.then("payout timed out, again later").when(passes(s=5)).then("payout asked (2)")
    assert isinstance(last_command(scenario), Enquire)


def test_why_an_outcome_is_unknown_is_kept() -> None:
    answer = declined("payout", "outcome_unknown")
    scenario = at_the_payout().when(type(answer)(**{**_fields(answer), "detail": "line dead"}))
    (event,) = scenario.last
    assert isinstance(event, StepTimedOut)
    assert event.detail == "line dead"


def test_a_command_that_never_came_is_sent_again() -> None:
    scenario = at_the_payout().given(passes(s=35), declined("payout", "effect_unknown", 2))
    scenario.then("payout refused: effect_unknown, again later").when(passes(s=10))
    assert isinstance(last_command(scenario), SendPayout)
    assert last_command(scenario).effect_id == f"{SAGA}/payout/do"


def test_a_command_that_may_still_come_keeps_the_deadline_from_turning_the_saga_back() -> None:
    scenario = at_the_payout().given(passes(ms=59_500), declined("payout", "effect_unknown", 2))
    scenario.then("payout refused: effect_unknown, again later")
    # The deadline, after 60 s, falls into the pause before the next attempt.
    scenario.when(passes(ms=600)).then()
    assert scenario.state == "running"


def test_cancelling_is_refused_while_the_command_may_still_come() -> None:
    scenario = at_the_payout().given(passes(s=35), declined("payout", "effect_unknown", 2))
    scenario.when(operator("cancel")).then("cancel refused: pivot_passed")


def test_an_outcome_that_stays_unknown_parks_the_saga_with_the_money_held() -> None:
    scenario = at_the_payout().when(passes(minutes=180))
    assert scenario.state == "parked"
    assert scenario.saga is not None
    assert scenario.saga.parked_reason == "outcome_unknown"
    assert not scenario.requests("hold", "undo")
    kinds = {type(COMMANDS.decode(bytes(r.command))) for r in scenario.requests("payout")[1:]}
    assert kinds == {Enquire}, "the payout was sent once"


def test_a_parked_saga_goes_on_by_a_late_answer_but_not_by_one_that_says_nothing() -> None:
    scenario = at_the_payout().given(passes(minutes=180))
    attempt = scenario.requests("payout")[-1].attempt
    for reason in ("outcome_unknown", "effect_unknown"):
        scenario.when(declined("payout", reason, attempt)).then(
            f"ignored: payout declined: {reason} (nothing_new)"
        )
    scenario.when(applied("payout", 3)).then(
        "payout applied", "resumed: running", "capture asked (1)"
    )


def test_an_operators_retry_enquires_too() -> None:
    scenario = at_the_payout().given(passes(minutes=180)).when(operator("retry"))
    assert isinstance(last_command(scenario), Enquire)


# A reversible step at a participant


class Book(StepCommand, frozen=True, kw_only=True, tag="trip.Book.v1"):
    traveller: str


class Unbook(StepCommand, frozen=True, kw_only=True, tag="trip.Unbook.v1"):
    traveller: str


TRIPS = Participant(
    name="trip",
    key="traveller",
    commands=frozenset({Book, Unbook}),
    inverse={Book: Unbook, Unbook: None},
    enquiries=True,
    max_unanswered=2,
)


def trip() -> Definition:
    p = MoveParams()
    return define(
        "trip",
        version=1,
        params=p,
        deadline_ms=20_000,
        steps=(
            step(
                "book",
                do=ask(TRIPS, Book, traveller="ann"),
                undo=ask(TRIPS, Unbook, traveller="ann"),
                retry=Retry(attempts=3),
                on_timeout="enquire",
                timeout_ms=1_000,
            ),
            step(
                "pay",
                do=command(Debit, account_id=p.source, **MONEY),
                undo=command(Credit, account_id=p.source, **MONEY),
            ),
        ),
    )


def book(*moves: Any) -> Scenario:
    return given(start("trip"), *moves, using=[trip()])


@pytest.mark.parametrize("attempt", [2, 3])
def test_a_reversible_command_that_may_still_come_is_undone_when_the_saga_turns_back(
    attempt: int,
) -> None:
    """Declared "never came" is no "will not come": without the undo it would stay booked."""
    scenario = book(passes(ms=1_500), declined("book", "effect_unknown", 2))
    if attempt == 3:
        scenario.given(passes(ms=600), declined("book", "effect_unknown", 3))
    else:
        scenario.given(operator("cancel"))
    assert scenario.state == "compensating"
    assert len(scenario.requests("book", "undo")) == 1
    scenario.when(undo_applied("book"))
    assert scenario.state == "compensated"


def test_no_further_saga_starts_while_too_many_wait_for_the_participant() -> None:
    registry, message = Registry([trip()]), start("trip")
    for waiting, kind in ((1, SagaStarted), (2, StartRefused)):
        counted = {TRIPS.topic: waiting}
        at_ms = message.issued_at_ms
        events = decide(None, message, at_ms, registry, unanswered=counted.__getitem__)
        assert isinstance(events[0], kind)


def test_a_machine_counts_who_waits_for_a_participant_also_after_a_restore() -> None:
    machine = SagaMachine(Registry([trip()]))

    def takes(message: SagaInput) -> None:
        for event in machine.decide(message, 2_000_000):
            machine.evolve(event)

    takes(start("trip"))
    assert machine.sagas.unanswered("trip.input") == 1
    restored = SagaMachine(Registry([trip()]))
    for chunk in machine.snapshot():
        restored.restore(chunk)
    assert restored.sagas.unanswered("trip.input") == 1
    takes(applied("book"))
    assert machine.sagas.unanswered("trip.input") == 0
    takes(declined("pay", "account_closed"))
    assert machine.sagas.unanswered("trip.input") == 1, "its undo"
    takes(undo_applied("book"))
    assert machine.sagas.unanswered("trip.input") == 0


def test_a_saga_that_waits_for_one_of_two_answers_still_counts() -> None:
    p = MoveParams()
    again = ask(TRIPS, Book, traveller="ann")
    back = ask(TRIPS, Unbook, traveller="ann")
    pair = define(
        "pair",
        version=1,
        params=p,
        steps=(
            step("out", do=again, undo=back, after=()),
            step("home", do=again, undo=back, after=()),
        ),
    )
    machine = SagaMachine(Registry([pair]))
    counts: list[int] = []
    for message in (start("pair"), applied("home"), applied("out")):
        for event in machine.decide(message, 2_000_000):
            machine.evolve(event)
        counts.append(machine.sagas.unanswered("trip.input"))
    assert counts == [1, 1, 0]


def _fields(answer: Any) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in answer.__struct_fields__}
