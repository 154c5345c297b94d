"""A standing order: every payment at its time, once, whatever happens in between."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.account import CloseAccount, Deposit, OpenAccount, Withdraw
from messages.instant import instant_ms
from messages.saga import (
    CompensationStarted,
    RecoveryRefused,
    SagaEvent,
    SagaStarted,
    StartRefused,
    StartRepeated,
    StartSaga,
    StepRequested,
)
from messages.wire import Codec, encode
from orchestrator.machine import SagaMachine
from orchestrator.progress import Saga
from saga_definitions import recurrence
from saga_definitions.standing_order import MAX_PAYMENTS, STANDING_ORDER
from tests.orchestrator.real_accounts import NOW_MS, SAGA, OnRealAccounts

DAY_MS = 86_400_000
AMOUNT = 100
EVENTS: Codec[SagaEvent] = Codec(SagaEvent)
ORDER: dict[str, Any] = {
    "source": "source",
    "target": "target",
    "amount_minor": AMOUNT,
    "currency": "EUR",
    "first": "2026-01-31",
    "every": "month",
    "at": "09:00",
    "zone": "Europe/Berlin",
    "times": 4,
}


class Run(OnRealAccounts):
    """One order."""

    def __init__(self, cover: int = 1_000, **changes: Any) -> None:
        super().__init__(SagaMachine())
        self.cover = cover
        for account in ("source", "target"):
            self.order(OpenAccount, account, currency="EUR")
        if cover:
            self.order(Deposit, "source", currency="EUR", amount_minor=cover)
        self.params = {**ORDER, **changes}
        self.start()

    def start(self) -> None:
        self.ask(
            StartSaga(
                saga_id=SAGA,
                tenant="bank",
                definition="standing_order",
                params=self.params,
                fingerprint="",
                request_id="r",
                issued_at_ms=self.now_ms,
            )
        )

    @property
    def due(self) -> list[str]:
        (started,) = (e for e in self.events if isinstance(e, SagaStarted) and e.saga_id == SAGA)
        return started.params["due"]

    @property
    def paid(self) -> int:
        return self.balances["target"]

    @property
    def asleep(self) -> bool:
        return len(self.machine.sagas.asleep) == 1 and not self.machine.sagas.live

    def begun(self) -> list[StepRequested]:
        """The payments that were asked for, in order, each once."""
        return [
            event
            for event in self.events
            if isinstance(event, StepRequested) and event.saga_id == SAGA and event.attempt == 1
        ]

    def until(self, ms: int) -> None:
        """Everything arrives, up to this time."""
        self.deliver_all()
        while (due_ms := self.machine.next_due_ms()) is not None and due_ms <= ms:
            self.let_time_pass()
            self.deliver_all()
        self.now_ms = ms

    def until_paid(self, payments: int) -> None:
        """A second after this many of them are due."""
        self.until(ms_of(self.due[payments - 1]) + 1_000)

    def kill(self, *, snapshot: bool) -> None:
        """Another process takes over, from the journal or from a snapshot; what was under way to it
        or from it is lost."""
        again = SagaMachine()
        if snapshot:
            self.restored(again)
        else:
            for event in self.events:
                again.evolve(EVENTS.decode(encode(event)))
        assert again.sagas.get(SAGA) == self.saga
        self.machine = again
        self.waiting.clear()

    def look(self) -> None:
        if isinstance(self.saga, Saga):
            steps = self.saga.legs["pay"].open.values()
            assert [step.state for step in steps].count("waiting") <= 1


def ms_of(text: str) -> int:
    found = instant_ms(text)
    assert found is not None
    return found


def test_each_payment_is_made_at_its_local_time_on_its_month_end() -> None:
    run = Run()
    assert run.due == [
        "2026-01-31T09:00:00+01:00",
        "2026-02-28T09:00:00+01:00",
        "2026-03-31T09:00:00+02:00",
        "2026-04-30T09:00:00+02:00",
    ]
    for number, due in enumerate(run.due):
        run.until(ms_of(due) - 1)
        assert run.paid == number * AMOUNT
        run.until(ms_of(due))
        assert run.paid == (number + 1) * AMOUNT
    assert (run.saga.state, run.saga.reason) == ("completed", "")
    assert [event.at_ms for event in run.begun()] == [ms_of(due) for due in run.due]


def test_a_time_that_the_clocks_leave_out_or_show_twice_is_paid_once() -> None:
    spring = Run(first="2026-03-29", at="02:30", every="day", times=2)
    assert spring.due == ["2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"]
    autumn = Run(first="2026-10-25", at="02:30", every="day", times=2)
    assert autumn.due == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    autumn.until(ms_of("2026-10-26T00:00:00+01:00"))
    assert autumn.paid == AMOUNT


def test_what_is_past_when_it_is_asked_for_is_left_out_not_paid_at_once() -> None:
    run = Run(first="2025-08-31", times=2)
    assert run.due == ["2026-01-31T09:00:00+01:00", "2026-02-28T09:00:00+01:00"]
    assert not run.begun()


def test_a_payment_that_is_refused_stops_none_of_the_others_and_is_told_with_its_reason() -> None:
    run = Run(cover=AMOUNT)
    run.until_paid(2)
    run.order(Deposit, "source", currency="EUR", amount_minor=2 * AMOUNT)
    run.until_paid(3)
    legs = run.saga.legs["pay"]
    assert list(legs.refusals()) == [(1, "insufficient_funds")]
    assert (run.paid, legs.applied) == (2 * AMOUNT, 2)
    run.order(Withdraw, "target", currency="EUR", amount_minor=2 * AMOUNT)
    run.order(CloseAccount, "target")
    run.finish()
    assert (run.saga.state, run.saga.reason) == ("completed", "partial")
    # The last one was debited, refused by the target, and given back.
    source = next(a for a in run.accounts.ledger.accounts() if a.account_id == "source")
    assert source.balance_minor == AMOUNT


def test_an_order_of_which_nothing_could_be_paid_is_compensated() -> None:
    run = Run(cover=0)
    run.finish()
    assert (run.saga.state, run.saga.reason) == ("compensated", "insufficient_funds")


def test_cancelling_between_payments_leaves_those_made_and_ends_those_to_come() -> None:
    run = Run()
    run.until_paid(2)
    run.say("cancel")
    assert (run.saga.state, run.saga.reason) == ("completed", "partial")
    run.until(NOW_MS + 365 * DAY_MS)
    assert run.paid == 2 * AMOUNT


def test_cancelling_before_the_first_payment_compensates_the_order() -> None:
    run = Run()
    run.say("cancel")
    assert (run.saga.state, run.saga.reason) == ("compensated", "cancelled")
    run.until(NOW_MS + 365 * DAY_MS)
    assert run.paid == 0


def test_cancelling_during_a_payment_sees_it_through_and_begins_no_other() -> None:
    run = Run()
    run.until(ms_of(run.due[0]) - 1)
    run.let_time_pass()
    run.say("cancel")
    assert run.saga.state == "running"
    run.say("cancel")
    last = run.events[-1]
    assert isinstance(last, RecoveryRefused) and last.reason == "pivot_passed"
    run.deliver_all()
    assert (run.saga.state, run.saga.reason, run.paid) == ("completed", "partial", AMOUNT)


def test_an_operator_can_not_take_back_what_was_paid() -> None:
    run = Run()
    run.until_paid(1)
    run.say("compensate")
    assert isinstance(run.events[-1], RecoveryRefused)
    run.finish()
    assert (run.saga.state, run.paid) == ("completed", 4 * AMOUNT)


def test_the_same_request_again_is_the_same_order_whatever_time_zone_data_say_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run()
    run.until_paid(1)
    due = run.due

    def moved(self: recurrence.Recurrence, number: int) -> Any:
        raise AssertionError("looked up again")

    monkeypatch.setattr(recurrence.Recurrence, "occurrence", moved)
    run.start()
    assert isinstance(run.events[-1], StartRepeated)
    run.kill(snapshot=False)
    run.finish()
    assert [event.at_ms for event in run.begun()] == [ms_of(one) for one in due]
    assert (run.saga.state, run.paid) == ("completed", 4 * AMOUNT)


def test_the_same_key_with_another_order_is_refused() -> None:
    run = Run()
    run.params = {**run.params, "times": 5}
    run.start()
    assert isinstance(run.events[-1], StartRefused)


def test_after_long_silence_all_payments_that_came_due_are_made_once() -> None:
    run = Run()
    run.now_ms = ms_of(run.due[2])
    run.finish()
    assert (run.saga.state, run.paid) == ("completed", 4 * AMOUNT)
    assert len(run.begun()) == 4


def test_a_payment_that_nobody_answers_does_not_hold_up_the_next_ones() -> None:
    run = Run()
    run.until(ms_of(run.due[0]) - 1)
    run.let_time_pass()
    run.waiting.clear()  # The first payment's command is lost; its parent asks again after a while.
    for _ in range(3):
        run.waiting.clear()
        run.let_time_pass()
    assert run.saga.legs["pay"].waiting == 1


def test_an_order_sleeps_between_its_payments_even_the_longest_one() -> None:
    run = Run(times=MAX_PAYMENTS, cover=MAX_PAYMENTS * AMOUNT)
    assert run.asleep
    run.until_paid(1)
    assert run.asleep and run.paid == AMOUNT
    run.kill(snapshot=True)
    assert run.asleep
    run.until_paid(2)
    assert run.asleep and run.paid == 2 * AMOUNT
    run.kill(snapshot=False)
    run.until_paid(MAX_PAYMENTS)
    assert (run.saga.state, run.paid) == ("completed", MAX_PAYMENTS * AMOUNT)


def test_a_sleeping_order_can_be_cancelled() -> None:
    run = Run()
    run.until_paid(1)
    run.kill(snapshot=True)
    run.say("cancel")
    assert (run.saga.state, run.paid) == ("completed", AMOUNT)
    assert not len(run.machine.sagas.asleep)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"zone": "Europe/Nowhere"}, "zone"),
        ({"zone": "../etc/passwd"}, "zone"),
        ({"zone": "right/UTC"}, "zone"),
        ({"zone": "localtime"}, "zone"),
        ({"zone": "Europe"}, "zone"),
        ({"zone": 1}, "zone"),
        ({"first": "2026-02-30"}, "first"),
        ({"first": "1969-12-31"}, "first"),
        ({"first": "20260131"}, "first"),
        ({"at": "24:00"}, "at"),
        ({"at": "9:00"}, "at"),
        ({"every": "fortnight"}, "every"),
        ({"every": ["month"]}, "every"),
        ({"times": 0}, "times"),
        ({"times": MAX_PAYMENTS + 1}, "times"),
        ({"times": True}, "times"),
        ({"due": ["2026-01-31T09:00:00+01:00"]}, "due"),
        ({"target": "source"}, "target"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(changes: dict[str, Any], place: str) -> None:
    problems = STANDING_ORDER.check_params({**ORDER, **changes})
    assert [where for where, _ in problems] == [place]


def test_the_last_days_that_can_be_asked_for_have_instants() -> None:
    params = {**ORDER, "first": "2999-12-31", "every": "year", "times": MAX_PAYMENTS}
    assert STANDING_ORDER.check_params(params) == []
    due = STANDING_ORDER.complete(params, NOW_MS)["due"]
    assert [ms_of(one) for one in due] == sorted({ms_of(one) for one in due})
    assert len(due) == MAX_PAYMENTS


MOVES = st.lists(st.tuples(st.sampled_from("dddddlrtttjncwx"), st.integers(0, 50)), max_size=80)
"""d: deliver, l: lose, r: deliver and keep a copy, t: time passes, j/n: the process is killed, and
another one goes on from the journal or a snapshot, w: money comes in, c: the order is cancelled,
x: the target is closed; which message."""


def played(run: Run, moves: list[tuple[str, int]]) -> int | None:
    """When it was cancelled: the number of events by then."""
    cancelled = None
    for move, number in moves:
        if not isinstance(run.saga, Saga):
            break
        if move == "t":
            run.let_time_pass()
        elif move in "jn":
            run.kill(snapshot=move == "n")
        elif move == "w":
            run.order(Deposit, "source", currency="EUR", amount_minor=AMOUNT)
            run.cover += AMOUNT
        elif move == "x" and number == 0:
            run.order(CloseAccount, "target")
        elif move == "c" and number < 10 and cancelled is None:
            run.say("cancel")
            cancelled = len(run.events)
        elif run.waiting and move in "dlr":
            at = number % len(run.waiting)
            if move == "l":
                run.waiting.pop(at)
            else:
                run.deliver(at, keep=move == "r")
    return cancelled


@given(moves=MOVES, cover=st.integers(0, 5), every=st.sampled_from(["day", "month"]))
@settings(max_examples=300, deadline=None)
def test_every_payment_is_made_at_most_once_and_told_as_it_is(
    moves: list[tuple[str, int]], cover: int, every: str
) -> None:
    run = Run(cover=cover * AMOUNT, every=every)
    due = run.due
    cancelled = played(run, moves)
    run.finish()
    while run.waiting:
        run.deliver()
    if cancelled is not None:
        late = run.events[cancelled:]
        assert not [
            e for e in late if isinstance(e, StepRequested) and e.saga_id == SAGA and e.attempt == 1
        ]
    asked = Counter(event.step for event in run.begun())
    assert not asked or max(asked.values()) == 1
    for event in run.begun():
        assert event.at_ms >= ms_of(due[int(event.step.partition(".")[2])])
    balances = {a.account_id: a.balance_minor for a in run.accounts.ledger.accounts()}
    assert balances["source"] + balances["target"] == run.cover
    told = [e for e in run.events if e.saga_id == SAGA and type(e).__name__ == "StepSucceeded"]
    assert run.paid == AMOUNT * len(told)
    assert run.saga.state == ("completed" if told else "compensated")
    turned = [e for e in run.events if isinstance(e, CompensationStarted) and e.saga_id == SAGA]
    assert len(turned) == (not told)
