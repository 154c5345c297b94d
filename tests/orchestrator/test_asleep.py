"""Sagas that sleep: nobody can tell them from others but by the memory that they take."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.saga import RecoverSaga, StartSaga, StepApplied, StepRequested
from orchestrator import asleep
from orchestrator.asleep import FAR_MS, Asleep
from orchestrator.machine import SagaMachine
from orchestrator.progress import Saga, next_due_ms
from saga_definitions.registry import shipped

NOW_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
MARCH_MS = 1_772_323_200_000


def start(number: int, **params: Any) -> StartSaga:
    return StartSaga(
        saga_id=f"saga-{number}",
        tenant="bank",
        definition="scheduled_transfer",
        params={
            "source": "alice",
            "target": "bob",
            "amount_minor": 1 + number,
            "currency": "EUR",
            "execute_at": "2026-03-01T00:00:00Z",
            **params,
        },
        fingerprint="",
        request_id="r",
        issued_at_ms=NOW_MS,
    )


def handle(machine: SagaMachine, message: Any, now_ms: int = NOW_MS) -> list[Any]:
    events = list(machine.decide(message, now_ms))
    for event in events:
        machine.evolve(event)
    return events


def sleeping(count: int) -> SagaMachine:
    machine = SagaMachine()
    for number in range(count):
        handle(machine, start(number))
    assert (len(machine.sagas.asleep), len(machine.sagas.live)) == (count, 0)
    return machine


def contents(machine: SagaMachine) -> dict[str, Saga]:
    return {s.id: s for block in machine.sagas.asleep.blocks() for s in block.sagas()}


def fired(machine: SagaMachine, now_ms: int) -> list[str]:
    """The sagas that ask for their debit, one for each time that they do."""
    asked: list[str] = []
    while (due_ms := machine.next_due_ms()) is not None and due_ms <= now_ms:
        for event in machine.fire(now_ms):
            machine.evolve(event)
            if isinstance(event, StepRequested):
                asked.append(event.saga_id)
    return asked


def test_a_thousand_sleepers_wake_once_each_when_their_time_comes_also_after_a_restart() -> None:
    machine = sleeping(1_000)
    again = SagaMachine()
    for chunk in reversed(list(machine.snapshot())):
        again.restore(chunk)
    assert contents(again) == contents(machine)
    for one in (machine, again):
        assert fired(one, MARCH_MS - 1) == []
        assert Counter(fired(one, MARCH_MS)) == Counter(f"saga-{n}" for n in range(1_000))
        assert len(one.sagas.asleep) == 0


def test_a_sleeper_that_is_asked_for_again_hears_how_it_stands_and_sleeps_on() -> None:
    machine = sleeping(300)
    (told,) = handle(machine, start(7))
    assert (told.state, told.reason) == ("running", "waiting")
    assert (len(machine.sagas.asleep), len(machine.sagas.live)) == (300, 0)


def test_a_sleeper_can_be_cancelled_and_the_others_sleep_on() -> None:
    machine = sleeping(300)
    message = RecoverSaga(saga_id="saga-7", request_id="o", action="cancel", who="ann", why="why")
    handle(machine, message)
    cancelled = machine.sagas.get("saga-7")
    assert cancelled is not None and cancelled.state == "compensated"
    assert Counter(fired(machine, MARCH_MS))["saga-7"] == 0
    assert len(machine.sagas.live) == 299


def test_what_waits_for_little_time_or_is_large_stays_awake() -> None:
    machine = SagaMachine()
    handle(machine, start(0, execute_at="2026-01-01T01:00:00Z"))
    assert (len(machine.sagas.live), len(machine.sagas.asleep)) == (1, 0)
    legs = {"id": "x" * asleep.MAX_ROW_BYTES}
    (saga,) = machine.sagas.live.values()
    far = msgspec.structs.replace(saga, deadline_at_ms=MARCH_MS, steps=sleeper(0, MARCH_MS).steps)
    assert asleep.sleeps(far, NOW_MS)
    assert not asleep.sleeps(msgspec.structs.replace(far, params=legs), NOW_MS)


def sleeper(number: int, due_ms: int) -> Saga:
    machine = sleeping(1)
    (saga,) = contents(machine).values()
    wait, *others = saga.steps
    waits = msgspec.structs.replace(wait, timeout_at_ms=due_ms)
    definition = shipped().find("scheduled_transfer" if number % 3 else "transfer")
    return msgspec.structs.replace(
        saga,
        id=f"saga-{number}",
        plan=definition.plan if number % 3 else saga.plan,
        steps=(waits, *others),
        deadline_at_ms=due_ms + 1,
    )


MOVES = st.lists(st.tuples(st.sampled_from("aaaagpd"), st.integers(0, 40)), max_size=120)
"""a: add, g: get, p: pop, d: let time pass and wake what is due; which one, or how many hours."""


@pytest.mark.parametrize("block", [1, 4])
@given(moves=MOVES)
@settings(max_examples=200)
def test_sleepers_are_what_a_plain_dict_would_have(
    block: int, moves: list[tuple[str, int]]
) -> None:
    usual, asleep.BLOCK = asleep.BLOCK, block  # pyright: ignore[reportConstantRedefinition]
    try:
        kept, plain, now_ms = Asleep(), dict[str, Saga](), NOW_MS
        for move, number in moves:
            name = f"saga-{number}"
            if move == "a" and name not in plain:
                plain[name] = sleeper(number, now_ms + FAR_MS + 1 + number * FAR_MS // 4)
                kept.add(plain[name], now_ms)
            elif move == "g":
                assert kept.get(name) == plain.get(name)
            elif move == "p":
                assert kept.pop(name) == plain.pop(name, None)
            elif move == "d":
                now_ms += number * FAR_MS // 4
                while (due := kept.due(now_ms)) is not None:
                    assert kept.pop(due.id) == plain.pop(due.id)
                assert all((next_due_ms(saga) or 0) > now_ms for saga in plain.values())
            assert len(kept) == len(plain)
            first = min((next_due_ms(saga) or 0 for saga in plain.values()), default=None)
            assert kept.next_due_ms() == first
        assert {s.id: s for block in kept.blocks() for s in block.sagas()} == plain
    finally:
        asleep.BLOCK = usual  # pyright: ignore[reportConstantRedefinition]


def test_an_answer_that_comes_out_of_nowhere_leaves_a_sleeper_asleep() -> None:
    machine = sleeping(300)
    (event,) = handle(
        machine, StepApplied(saga_id="saga-9", step="debit", direction="do", attempt=1)
    )
    assert event.why == "not_requested"
    assert len(machine.sagas.asleep) == 300


def test_a_sleeper_that_is_asked_about_just_before_its_time_is_not_lost() -> None:
    machine = sleeping(300)
    handle(machine, start(7), MARCH_MS - 60_000)
    assert (len(machine.sagas.asleep), list(machine.sagas.live)) == (299, ["saga-7"])
    assert Counter(fired(machine, MARCH_MS))["saga-7"] == 1


def test_sleepers_that_are_woken_at_once_leave_nothing_behind() -> None:
    kept, saga = Asleep(), sleeper(1, MARCH_MS)
    for _ in range(10 * asleep.BLOCK):
        kept.add(saga, NOW_MS)
        assert kept.pop(saga.id) is saga
    assert len(kept._due) <= 5 * asleep.BLOCK
