"""A partition of sagas: memory, timers, outputs and snapshots."""

from typing import Any

import msgspec
import pytest

from journal.machine import Machine
from journal.packing import CHUNK_BYTES
from journal.topics import ANSWERS
from messages.saga import (
    RecoverSaga,
    RecoveryRepeated,
    SagaAccepted,
    SagaAnswer,
    SagaCompleted,
    SagaEvent,
    SagaInput,
    SagaStarted,
    StartRefused,
    StartSaga,
    StepApplied,
    StepDeclined,
    StepRefused,
    StepRequested,
    StepSucceeded,
)
from messages.wire import Codec, encode
from orchestrator.graph import graph_of
from orchestrator.machine import SagaMachine
from orchestrator.progress import EventOutOfPlace, Finished, Saga
from orchestrator.starts import MAX_SKEW_MS
from orchestrator.timers import SLACK
from saga_definitions.registry import Registry
from tests.orchestrator.graphs import graph, node

EVENTS: Codec[SagaEvent] = Codec(SagaEvent)
ANSWERED: Codec[SagaAnswer] = Codec(SagaAnswer)
PARAMS = {"source": "alice", "target": "bob", "amount_minor": 500, "currency": "EUR"}
DAY_MS = 24 * 3_600 * 1_000


def start(saga: str, at_ms: int = 0, definition: str = "transfer") -> StartSaga:
    return StartSaga(
        saga_id=saga,
        tenant="bank",
        definition=definition,
        params=PARAMS,
        fingerprint="",
        request_id="r1",
        issued_at_ms=at_ms,
    )


def work(machine: SagaMachine, message: SagaInput, now_ms: int = 0) -> list[SagaEvent]:
    events = list(machine.decide(message, now_ms))
    for event in events:
        machine.evolve(event)
    return events


def finish(machine: SagaMachine, saga: str, now_ms: int = 0) -> None:
    work(machine, start(saga, now_ms), now_ms)
    for step in ("debit", "credit"):
        work(machine, StepApplied(saga_id=saga, step=step, direction="do", attempt=1), now_ms)


def restored(chunks: list[bytes], registry: Registry | None = None) -> SagaMachine:
    machine = SagaMachine(registry)
    for chunk in chunks:
        machine.restore(chunk)
    return machine


def test_the_machine_is_what_the_kernel_expects() -> None:
    machine: Machine[SagaInput, SagaEvent] = SagaMachine()
    assert machine.next_due_ms() is None
    assert not machine.fire(0)


def test_of_steps_only_a_request_has_an_output() -> None:
    machine = SagaMachine()
    for event in work(machine, start("s1")):
        outputs = machine.outputs(event)
        assert machine.key_of(event) == "s1"
        if isinstance(event, StepRequested):
            (output,) = outputs
            assert (output.topic, output.key, output.type) == (
                "account.input",
                "alice",
                "account.Debit.v1",
            )
            assert msgspec.json.decode(output.value)["effect_id"] == "s1/debit/do"
        elif isinstance(event, StepSucceeded | StepRefused):
            assert outputs == ()


def test_whoever_asked_is_told_of_the_start_and_of_the_end_alone() -> None:
    machine = SagaMachine()
    events = work(machine, start("s1"))
    debit = StepApplied(saga_id="s1", step="debit", direction="do", attempt=1)
    events += work(machine, debit)
    events += work(machine, msgspec.structs.replace(debit, step="credit"))
    told = [
        (output.key, output.type, ANSWERED.decode(output.value))
        for event in events
        for output in machine.outputs(event)
        if output.topic == ANSWERS
    ]
    assert told == [
        ("s1", "saga.SagaAccepted.v1", SagaAccepted(saga_id="s1", request_id="r1")),
        ("s1", "saga.SagaCompleted.v1", SagaCompleted(saga_id="s1", at_ms=0)),
    ]


def test_outputs_are_the_same_when_the_journal_is_read_again() -> None:
    machine = SagaMachine()
    for event in work(machine, start("s1")):
        again = EVENTS.decode(encode(event))
        assert SagaMachine().outputs(again) == machine.outputs(event)


def test_deciding_changes_nothing() -> None:
    machine = SagaMachine()
    machine.decide(start("s1"), 0)
    assert machine.sagas.get("s1") is None
    assert machine.next_due_ms() is None


def test_a_finished_saga_is_kept_in_its_compact_form() -> None:
    machine = SagaMachine()
    finish(machine, "s1", 7)
    kept = machine.sagas.get("s1")
    assert isinstance(kept, Finished)
    assert (kept.state, kept.finished_at_ms) == ("completed", 7)
    assert machine.sagas.live == {}


def test_finished_sagas_are_forgotten_in_the_order_of_finishing_after_the_horizon() -> None:
    machine = SagaMachine(memory_horizon_ms=DAY_MS)
    for i in range(10):
        finish(machine, f"s{i}", i)
    # The start of another saga is two events, each of which forgets at most four.
    work(machine, start("x", DAY_MS + 6), DAY_MS + 6)
    assert list(machine.sagas.finished) == ["s7", "s8", "s9"]


def test_a_saga_that_began_anew_is_there_also_for_who_remembers_for_longer() -> None:
    machine, later = (
        SagaMachine(memory_horizon_ms=DAY_MS),
        SagaMachine(memory_horizon_ms=9 * DAY_MS),
    )
    finish(machine, "s1")
    finish(later, "s1")
    # Another saga's events make the first machine forget.
    for saga in ("x", "s1"):
        for event in work(machine, start(saga, 2 * DAY_MS), 2 * DAY_MS):
            later.evolve(event)
    assert isinstance(machine.sagas.get("s1"), Saga)
    assert later.sagas.get("s1") == machine.sagas.get("s1")
    assert later.next_due_ms() == machine.next_due_ms()
    for step in ("debit", "credit"):
        work(later, StepApplied(saga_id="s1", step=step, direction="do", attempt=1), 3 * DAY_MS)
    ended = later.sagas.get("s1")
    assert isinstance(ended, Finished)
    assert ended.finished_at_ms == 3 * DAY_MS


def test_forgetting_is_bounded_per_event() -> None:
    machine = SagaMachine(memory_horizon_ms=DAY_MS)
    for i in range(100):
        finish(machine, f"s{i}")
    work(machine, start("x", 9 * DAY_MS), 9 * DAY_MS)
    assert len(machine.sagas.finished) == 100 - 2 * 4


def test_what_was_forgotten_is_not_started_again_by_a_late_copy_of_its_start() -> None:
    machine = SagaMachine(memory_horizon_ms=DAY_MS)
    finish(machine, "s1")
    finish(machine, "s2", DAY_MS)
    assert machine.sagas.get("s1") is None
    (late,) = work(machine, start("s1", 0), DAY_MS)
    assert isinstance(late, StartRefused)
    assert late.reason == "request_expired"


def test_timers_are_derived_from_events() -> None:
    machine = SagaMachine()
    work(machine, start("s1"), 500)
    assert machine.next_due_ms() == 10_500
    again = SagaMachine()
    for event in machine.decide(start("s2"), 500):
        again.evolve(EVENTS.decode(encode(event)))
    assert again.next_due_ms() == 10_500


def test_a_step_that_is_due_earlier_than_what_was_awaited_is_not_overslept() -> None:
    definition = graph(node("a"), node("b", "a", timeout_ms=500))
    machine = SagaMachine(Registry((definition,)))
    work(machine, start("s1", definition="graph"))
    assert machine.next_due_ms() == 10_000
    work(machine, StepApplied(saga_id="s1", step="a", direction="do", attempt=1))
    assert machine.next_due_ms() == 500


def test_timers_survive_a_restart_from_a_snapshot() -> None:
    machine = SagaMachine()
    work(machine, start("s1"), 500)
    again = restored(list(machine.snapshot()))
    assert again.next_due_ms() == 10_500
    assert again.fire(10_500) == machine.fire(10_500)


def test_firing_serves_one_saga_at_a_time_until_none_is_due() -> None:
    machine = SagaMachine()
    for i in range(5):
        work(machine, start(f"s{i}"), i)
    served: list[str] = []
    while events := machine.fire(10_003):
        served.append(events[0].saga_id)
        assert len({event.saga_id for event in events}) == 1
        for event in events:
            machine.evolve(event)
    assert served == ["s0", "s1", "s2", "s3"]
    assert machine.next_due_ms() == 10_004


def test_a_timer_stays_due_until_its_events_are_folded() -> None:
    machine = SagaMachine()
    work(machine, start("s1"), 0)
    assert machine.fire(10_000) == machine.fire(10_000) != ()


def test_the_timer_of_a_finished_saga_does_not_fire() -> None:
    machine = SagaMachine()
    work(machine, start("s1"), 0)
    assert machine.next_due_ms() == 10_000
    for step in ("debit", "credit"):
        work(machine, StepApplied(saga_id="s1", step=step, direction="do", attempt=1), 1)
    assert machine.fire(10_000) == ()
    assert machine.next_due_ms() is None


def test_timers_do_not_pile_up() -> None:
    machine = SagaMachine()
    for i in range(3 * SLACK):
        work(machine, start(f"s{i}"), 0)
        machine.next_due_ms()
        for step in ("debit", "credit"):
            work(machine, StepApplied(saga_id=f"s{i}", step=step, direction="do", attempt=1), 0)
        machine.next_due_ms()
    assert len(machine.timers) <= SLACK


def test_a_snapshot_holds_live_and_finished_sagas() -> None:
    registry = Registry((graph(node("a"), node("b", "a")),))
    machine = SagaMachine(registry)
    for i in range(20):
        work(machine, start(f"s{i}", definition="graph"), i)
    for i in range(10):
        for step in ("a", "b"):
            result: dict[str, Any] = {"hold_id": "h", "n": [1, {"x": None}]}
            answer = StepApplied(
                saga_id=f"s{i}", step=step, direction="do", attempt=1, result=result
            )
            if i < 5 or step == "a":
                work(machine, answer, 100 + i)
    again = restored(list(machine.snapshot()), registry)
    assert again.sagas.get("s0") == machine.sagas.get("s0")
    assert isinstance(again.sagas.get("s7"), Saga)
    assert again.sagas.live == machine.sagas.live
    assert again.sagas.finished == machine.sagas.finished


def test_snapshot_chunks_are_small_and_may_come_in_any_order() -> None:
    machine = SagaMachine(memory_horizon_ms=DAY_MS)
    for i in range(1_500):
        finish(machine, f"{i:032}", i // 100)
    chunks = list(machine.snapshot())
    assert len(chunks) >= 2
    assert all(len(chunk) < CHUNK_BYTES + 8_192 for chunk in chunks)
    again = SagaMachine(memory_horizon_ms=DAY_MS)
    for chunk in reversed(chunks):
        again.restore(chunk)
    for one in (machine, again):
        for i in range(50):
            work(one, start(f"x{i}", 5 + DAY_MS), 5 + DAY_MS)
    assert list(again.sagas.finished) == list(machine.sagas.finished)
    assert len(again.sagas.finished) == 1_500 - 2 * 50 * 4


def test_a_snapshot_is_as_of_its_call_though_it_is_read_later() -> None:
    machine = SagaMachine()
    finish(machine, "s1")
    work(machine, start("s2"))
    snapshot = machine.snapshot()
    finish(machine, "s3")
    work(machine, StepApplied(saga_id="s2", step="debit", direction="do", attempt=1))
    again = restored(list(snapshot))
    assert again.sagas.get("s3") is None
    saga = again.sagas.get("s2")
    assert isinstance(saga, Saga)
    assert saga.steps[0].state == "requested"


def test_restored_and_replayed_sagas_share_one_plan() -> None:
    machine = SagaMachine()
    for saga in ("s1", "s2"):
        work(machine, start(saga))
    again = restored(list(machine.snapshot()))
    replayed = SagaMachine()
    for saga in ("s1", "s2"):
        for event in SagaMachine().decide(start(saga), 0):
            replayed.evolve(EVENTS.decode(encode(event)))
    for sagas in (again.sagas, replayed.sagas):
        one, two = sagas.live.values()
        assert one.plan is two.plan


def test_equal_plans_share_one_graph() -> None:
    plan = graph(node("a")).plan
    copy = msgspec.json.decode(encode(plan), type=type(plan))
    assert graph_of(copy) is graph_of(plan)
    other = msgspec.structs.replace(plan, deadline_ms=5)
    assert graph_of(other) is not graph_of(plan)


def test_a_running_saga_keeps_the_plan_it_started_with() -> None:
    old, new = graph(node("a"), node("b", "a")), graph(node("z"))
    machine = SagaMachine(Registry((old,)))
    work(machine, start("s1", definition="graph"))
    deployed = restored(list(machine.snapshot()), Registry((new,)))
    answer = StepApplied(saga_id="s1", step="a", direction="do", attempt=1)
    assert [getattr(event, "step", "") for event in work(deployed, answer)] == ["a", "b"]


def test_an_event_of_a_saga_that_was_never_started_is_an_error() -> None:
    event = StepSucceeded(saga_id="s1", at_ms=0, step="debit", direction="do", attempt=1)
    with pytest.raises(EventOutOfPlace, match="fold it from an earlier offset"):
        SagaMachine().evolve(event)


def test_a_graph_knows_near_and_far_dependants() -> None:
    nodes = graph_of(graph(node("a"), node("b", "a"), node("c", "b"), node("d")).plan).nodes
    assert [n.dependants for n in nodes] == [(1, 2), (2,), (), ()]


def test_no_copy_of_a_start_begins_a_saga_again_once_it_is_forgotten() -> None:
    """Whenever the copy comes, and however far the first one's clock was ahead, as allowed."""
    for ahead_ms in (0, MAX_SKEW_MS - 1, MAX_SKEW_MS):
        machine = SagaMachine(memory_horizon_ms=DAY_MS)
        first = start("s1", ahead_ms)
        work(machine, first)
        for step in ("debit", "credit"):
            work(machine, StepApplied(saga_id="s1", step=step, direction="do", attempt=1), 1)
        for now_ms in range(DAY_MS - 2 * MAX_SKEW_MS, DAY_MS + 2 * MAX_SKEW_MS, 60_000):
            work(machine, start(f"tick-{now_ms}", now_ms), now_ms)
            assert not isinstance(machine.decide(first, now_ms)[0], SagaStarted), now_ms


def test_what_a_decision_foresaw_counts_only_for_the_very_saga_it_was_decided_for() -> None:
    """Decided twice, folded once: a decision that was thrown away must leave nothing behind."""
    machine, other = SagaMachine(), SagaMachine()
    work(machine, start("s1"))
    work(other, msgspec.structs.replace(start("s1"), params=PARAMS | {"amount_minor": 7}))
    answer = StepApplied(saga_id="s1", step="debit", direction="do", attempt=1, result={"n": 1})
    machine.decide(answer, 0)
    events = machine.decide(answer, 0)
    for event in events:
        other.evolve(event)
    for event in [EVENTS.decode(encode(event)) for event in events]:
        machine.evolve(event)
    theirs, ours = other.sagas.get("s1"), machine.sagas.get("s1")
    assert isinstance(theirs, Saga) and isinstance(ours, Saga)
    assert (theirs.params["amount_minor"], ours.params["amount_minor"]) == (7, 500)
    assert theirs.steps == ours.steps


def test_a_finished_saga_remembers_its_recoveries_in_the_partition_and_its_snapshot() -> None:
    machine = SagaMachine()
    work(machine, start("s1"))
    asked = RecoverSaga(saga_id="s1", request_id="r", action="cancel", who="ann", why="ticket")
    work(machine, asked)
    reason = "account_closed"
    work(
        machine,
        StepDeclined(saga_id="s1", step="debit", direction="do", attempt=1, reason=reason),
    )
    assert isinstance(machine.sagas.get("s1"), Finished)
    for one in (machine, restored(list(machine.snapshot()))):
        (heard,) = one.decide(asked, 1)
        assert isinstance(heard, RecoveryRepeated)
        assert (heard.state, heard.reason) == ("compensated", "cancelled")
