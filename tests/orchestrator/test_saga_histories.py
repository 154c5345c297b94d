"""Random graphs, random orders of delivery, loss, repetition and time: what always holds.

The participant is a model of an account's effect memory: it applies an effect once, decides a
refused one again only for a later attempt, and voids what a compensation did not find. Commands
and answers are lost, repeated, held back and reordered; then the network heals.
"""

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import event as note
from hypothesis import strategies as st

from journal.topics import ANSWERS
from messages.plan import Condition, Retry
from messages.saga import (
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaInput,
    SagaParked,
    SagaResumed,
    SignalAccepted,
    StepApplied,
    StepDeclined,
    StepRefused,
    StepRequested,
    StepSkipped,
    StepSucceeded,
)
from messages.wire import Codec, encode
from orchestrator.machine import SagaMachine
from orchestrator.progress import Finished, next_due_ms
from saga_definitions.dsl import Definition, condition, wait_for
from saga_definitions.registry import Registry
from tests.orchestrator.graphs import graph, node, p
from tests.orchestrator.saga_scenario import PARAMS, SAGA, START_MS, signal, start

EVENTS: Codec[SagaEvent] = Codec(SagaEvent)
DISTURBANCES = (
    *("command", "command", "command", "answer", "answer", "answer", "time", "time"),
    *("lose", "repeat", "start", "wrong", "snapshot", "signal", "signal"),
)
SKIPPED = condition(p.amount_minor, ">", PARAMS["amount_minor"])
DONE = condition(p.amount_minor, "<=", PARAMS["amount_minor"])
REASONS = ("account_frozen", "account_closed", "effect_expired")


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Reversible steps and waits, maybe a pivot after all of them, then maybe irreversible steps;
    but for the pivot each may be one that is skipped."""

    def options() -> dict[str, Any]:
        return {
            "timeout_ms": draw(st.sampled_from((300, 1_000))),
            "retry": Retry(
                attempts=draw(st.integers(1, 3)),
                first_delay_ms=50,
                max_delay_ms=200,
                retryable=("account_frozen",),
            ),
            "undo_retry": Retry(attempts=draw(st.integers(1, 3)), first_delay_ms=50),
            "when": when(),
        }

    def when() -> Any:
        return draw(st.sampled_from(((), (), (), SKIPPED, DONE)))

    def some_of(names: list[str]) -> list[str]:
        return draw(st.lists(st.sampled_from(names), unique=True)) if names else []

    steps: list[Any] = []
    before: list[str] = []
    for i in range(draw(st.integers(0, 4))):
        after = tuple(some_of(before))
        if draw(st.integers(0, 3)):
            give_up = draw(st.sampled_from(("retry", "compensate")))
            steps.append(node(f"a{i}", *after, on_timeout=give_up, **options()))
        else:
            timeout_ms = draw(st.sampled_from((500, 86_400_000)))
            steps.append(wait_for(f"a{i}", timeout_ms=timeout_ms, after=after, when=when()))
        before.append(f"a{i}")
    if not before or draw(st.booleans()):
        steps.append(node("pivot", *before, pivot=True, **{**options(), "when": ()}))
        past = ["pivot"]
        for i in range(draw(st.integers(0, 2))):
            after = some_of(past) or ["pivot"]
            steps.append(node(f"z{i}", *after, irreversible=True, **options()))
            past.append(f"z{i}")
    return graph(*steps, deadline_ms=draw(st.sampled_from((700, 60_000))))


class Participant:
    """Effect id -> (outcome, attempt that it was decided on)."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.effects: dict[str, tuple[str, int]] = {}

    def applied(self, effect: str) -> bool:
        return self.effects.get(effect, ("", 0))[0] == "applied"

    def ask(self, command: dict[str, Any], healthy: bool) -> SagaInput:
        effect, attempt = command["effect_id"], command["attempt"]
        outcome, decided_on = self.effects.get(effect, ("", 0))
        if outcome not in ("applied", "settled", "effect_voided") and attempt > decided_on:
            outcome = self._decide(command, healthy)
            self.effects[effect] = (outcome, attempt)
        names = {name: command[name] for name in ("saga_id", "step", "direction", "attempt")}
        if outcome in ("applied", "settled"):
            return StepApplied(**names)
        return StepDeclined(**names, reason=outcome)

    def _decide(self, command: dict[str, Any], healthy: bool) -> str:
        willing = healthy or self._draw(st.integers(0, 3)) > 0
        if not willing:
            return self._draw(st.sampled_from(REASONS))
        undone = command.get("undoes", "")
        if undone:
            gone = "settled" if self.applied(undone) else "effect_voided"
            self.effects[undone] = (gone, 1_000)
        return "applied"


class World:
    """A partition of the engine, the participant, and an unreliable network between them."""

    def __init__(self, draw: st.DrawFn, definition: Definition) -> None:
        self.draw = draw
        self.plan = definition.plan
        self.registry = Registry((definition,))
        self.machine = SagaMachine(self.registry)
        self.participant = Participant(draw)
        self.now_ms = START_MS
        self.events: list[SagaEvent] = []
        self.to_participant: list[bytes] = []
        self.to_engine: list[SagaInput] = []
        self.snapshot: tuple[list[bytes], int] = ([], 0)

    def take(self, message: SagaInput) -> None:
        self.fold(self.machine.decide(message, self.now_ms))

    def fold(self, events: Any) -> None:
        assert events, "every input and every due timer has an event"
        for event in events:
            self.machine.evolve(event)
            self.events.append(event)
            self.to_participant.extend(
                output.value for output in self.machine.outputs(event) if output.topic != ANSWERS
            )

    def pass_time(self) -> bool:
        due_ms = self.machine.next_due_ms()
        saga = self.machine.sagas.live.get(SAGA)
        actual_ms = None if saga is None else next_due_ms(saga)
        assert actual_ms is None or (due_ms is not None and due_ms <= actual_ms), "overslept"
        if due_ms is None:
            return False
        self.now_ms = max(self.now_ms, due_ms)
        events = self.machine.fire(self.now_ms)
        if events:
            self.fold(events)
        return True

    def disturb(self) -> None:
        """One random thing happens."""
        what = self.draw(st.sampled_from(DISTURBANCES))
        if what == "time":
            self.pass_time()
        elif what == "start":
            self.take(start("graph"))
        elif what == "snapshot":
            self.snapshot = (list(self.machine.snapshot()), len(self.events))
        elif what == "signal":
            self.take(
                signal(
                    self.draw(st.sampled_from([step.name for step in self.plan.steps])),
                    self.draw(st.sampled_from(("approve", "approve", "reject"))),
                    request_id=self.draw(st.sampled_from(("g1", "g2", "g3"))),
                )
            )
        elif what == "wrong":
            self.take(StepApplied(saga_id=SAGA, step="nobody", direction="do", attempt=1))
        elif what == "answer" and self.to_engine:
            self.take(self.to_engine.pop(self._any_of(self.to_engine)))
        elif self.to_participant:
            at = self._any_of(self.to_participant)
            value = self.to_participant[at]
            if what != "repeat":
                del self.to_participant[at]
            if what in ("command", "repeat"):
                self.deliver(value, healthy=False)

    def _any_of(self, waiting: list[Any]) -> int:
        return self.draw(st.integers(0, len(waiting) - 1))

    def deliver(self, value: bytes, *, healthy: bool) -> None:
        command = msgspec.json.decode(value, type=dict[str, Any])
        self.to_engine.append(self.participant.ask(command, healthy))

    def heal(self) -> None:
        """Everything arrives, nothing is refused, until nothing is left to happen."""
        for _ in range(1_000):
            if self.to_participant:
                self.deliver(self.to_participant.pop(0), healthy=True)
            elif self.to_engine:
                self.take(self.to_engine.pop(0))
            elif not self.pass_time():
                return
        raise AssertionError("the saga never comes to rest")


@settings(deadline=None, max_examples=500, suppress_health_check=list(HealthCheck))
@given(st.data(), definitions())
def test_every_history_ends_well(data: st.DataObject, definition: Definition) -> None:
    world = World(data.draw, definition)
    world.take(start("graph"))
    for _ in range(data.draw(st.integers(0, 40))):
        world.disturb()
    world.heal()
    state = saga_state(world)
    note(f"{state}, {len(definition.plan.steps)} steps")
    note("resumed" if any(isinstance(e, SagaResumed) for e in world.events) else "straight")
    assert state in ("completed", "compensated", "parked")
    check_money(world, definition, state)
    check_one_end(world.events)
    check_requests(world.events)
    check_order_of_undoing(world.events, definition)
    check_replay(world)
    check_snapshot_and_tail(world)


def saga_state(world: World) -> str:
    saga = world.machine.sagas.get(SAGA)
    assert saga is not None
    return saga.state


def check_money(world: World, definition: Definition, state: str) -> None:
    applied = {s.name: world.participant.applied(f"{SAGA}/{s.name}/do") for s in _steps(definition)}
    skipped = {e.step for e in world.events if isinstance(e, StepSkipped)}
    approved = {
        e.step for e in world.events if isinstance(e, SignalAccepted) and e.verdict == "approve"
    }
    for step in _steps(definition):
        if step.name in skipped:
            assert step.when == (planned(SKIPPED),)
        elif state == "completed":
            assert step.name in approved if step.wait else applied[step.name]
        if step.name in skipped or step.wait or state == "compensated":
            assert not applied[step.name]


def planned(one: Any) -> Condition:
    return Condition({"ref": one.left.path}, one.test, one.right)


def check_one_end(events: list[SagaEvent]) -> None:
    ends = [event for event in events if isinstance(event, SagaCompleted | SagaCompensated)]
    assert len(ends) <= 1
    if ends:
        after = events[events.index(ends[0]) + 1 :]
        assert {type(event).__name__ for event in after} <= {
            "AnswerIgnored",
            "StartRepeated",
            "SignalRepeated",
            "SignalRefused",
        }
    parked = 0
    for event in events:
        parked += isinstance(event, SagaParked) - isinstance(event, SagaResumed)
        assert parked in (0, 1)


def check_requests(events: list[SagaEvent]) -> None:
    """One effect id and one issue time per effect; attempts count up; times never go back."""
    seen: dict[str, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, StepRequested):
            command = msgspec.json.decode(event.command, type=dict[str, Any])
            key = f"{event.step}/{event.direction}"
            assert command["effect_id"] == f"{SAGA}/{key}"
            before = seen.get(key)
            assert command["attempt"] == (before["attempt"] + 1 if before else 1)
            forward = seen.get(f"{event.step}/do", command)
            assert command["issued_at_ms"] == forward["issued_at_ms"]
            seen[key] = command


def check_order_of_undoing(events: list[SagaEvent], definition: Definition) -> None:
    after = {s.name: set(s.after) for s in _steps(definition)}
    status: dict[str, str] = {}
    for event in events:
        if isinstance(event, StepRequested) and event.direction == "undo":
            for name in _dependants(event.step, after):
                assert status.get(name, "never") in ("never", "refused", "undone"), name
            if event.attempt == 1:
                assert status[event.step] in ("asked", "applied")
        elif isinstance(event, StepRequested):
            for name in after[event.step]:
                assert status[name] in ("applied", "never")
            status[event.step] = "asked"
        elif isinstance(event, StepSkipped) or (
            isinstance(event, SignalAccepted) and event.verdict == "approve"
        ):
            status[event.step] = "never"
        elif isinstance(event, StepSucceeded):
            status[event.step] = "applied" if event.direction == "do" else "undone"
        elif isinstance(event, StepRefused) and event.direction == "do":
            status[event.step] = "refused"


def check_replay(world: World) -> None:
    again = SagaMachine(world.registry)
    for event in world.events:
        again.evolve(EVENTS.decode(encode(event)))
    _check_equal(again, world.machine)


def check_snapshot_and_tail(world: World) -> None:
    chunks, at = world.snapshot
    again = SagaMachine(world.registry)
    for chunk in reversed(chunks):
        again.restore(chunk)
    for event in world.events[at:]:
        again.evolve(EVENTS.decode(encode(event)))
    _check_equal(again, world.machine)


def _check_equal(one: SagaMachine, other: SagaMachine) -> None:
    assert one.sagas.get(SAGA) == other.sagas.get(SAGA)
    assert one.sagas.live == other.sagas.live
    assert one.sagas.finished == other.sagas.finished
    for _ in range(100):
        one.fire(0)
        other.fire(0)
    if not isinstance(one.sagas.get(SAGA), Finished):
        assert one.next_due_ms() == other.next_due_ms()


def _steps(definition: Definition) -> Any:
    return definition.plan.steps


def _dependants(step: str, after: dict[str, set[str]]) -> set[str]:
    near = {name for name, before in after.items() if step in before}
    return near.union(*(_dependants(name, after) for name in near))
