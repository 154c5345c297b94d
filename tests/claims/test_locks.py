"""Locks: one saga at a time holds one, in the order of asking, and nobody waits for ever."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claims.locks import LockBroken
from messages.claims import AcquireLock, ReleaseLock
from messages.identity import effect_id
from tests.claims.desk import DAY_MS, NOW_MS, Desk, asked

WAIT_MS = 30_000


def acquire(saga: str, attempt: int = 1, *, of: str = "alice", most: int = 2, **more: Any) -> Any:
    fields = {**asked(saga, "lock", "do", attempt), "purpose": "payroll", **more}
    return AcquireLock(**fields, resource=of, timeout_ms=WAIT_MS, max_waiting=most)


def release(saga: str, attempt: int = 1, *, of: str = "alice", lock_of: str = "") -> ReleaseLock:
    """The last step on the way forward."""
    fields = asked(saga, "unlock", "do", attempt)
    lock_id = effect_id(lock_of or saga, "lock", "do")
    return ReleaseLock(**fields, purpose="payroll", resource=of, lock_id=lock_id)


def undo(saga: str, attempt: int = 1, *, of: str = "alice", **more: Any) -> ReleaseLock:
    fields = {**asked(saga, "lock", "undo", attempt), **more}
    lock_id = effect_id(saga, "lock", "do")
    return ReleaseLock(**fields, purpose="payroll", resource=of, lock_id=lock_id)


def test_a_free_lock_is_given_at_once_and_the_next_one_waits_for_its_release() -> None:
    desk = Desk()
    assert desk.ask(acquire("a")) == "applied"
    assert desk.ask(acquire("b")) == ""
    assert desk.put(release("a")) == [("a", "applied"), ("b", "applied")]
    assert desk.put(release("b")) == [("b", "applied")]
    assert desk.machine.locks == {}


def test_it_is_given_in_the_order_of_asking_whatever_repetitions_come() -> None:
    desk = Desk()
    for saga in ("a", "b", "c"):
        desk.put(acquire(saga))
    assert desk.ask(acquire("c", 2)) == desk.ask(acquire("b", 2)) == ""
    assert desk.put(release("a"))[1:] == [("b", "applied")]
    assert desk.ask(acquire("a", 2)) == "applied", "the first outcome, which is of the past"
    assert desk.put(release("b"))[1:] == [("c", "applied")]


def test_locks_of_different_resources_and_purposes_have_nothing_to_do_with_each_other() -> None:
    desk = Desk()
    assert desk.ask(acquire("a")) == "applied"
    assert desk.ask(acquire("b", of="bob")) == "applied"
    assert desk.ask(acquire("c", purpose="audit")) == "applied"


def test_a_queue_that_is_full_refuses_and_a_later_attempt_may_find_room() -> None:
    desk = Desk()
    for saga in ("a", "b", "c"):
        desk.put(acquire(saga))
    assert desk.ask(acquire("d")) == "queue_full"
    desk.put(release("a"))
    assert desk.ask(acquire("d")) == "queue_full", "a copy of what was refused stays refused"
    assert desk.ask(acquire("d", 2)) == ""


def test_who_has_waited_long_enough_is_told_so_also_after_a_restart() -> None:
    desk = Desk()
    desk.put(acquire("a"))
    desk.put(acquire("b"))
    desk.wait(10_000)
    desk.put(acquire("c"))
    desk.restart()
    assert desk.wait(WAIT_MS - 10_001) == []
    assert desk.wait(1) == [("b", "lock_timeout")]
    assert desk.put(release("a"))[1:] == [("c", "applied")]
    assert desk.wait(DAY_MS) == []


def test_who_holds_a_lock_keeps_it_however_long() -> None:
    desk = Desk()
    desk.put(acquire("a"))
    assert desk.wait(30 * DAY_MS) == []
    assert desk.ask(acquire("b", issued_at_ms=desk.now_ms)) == ""


def test_an_undo_releases_also_when_the_effect_is_long_forgotten() -> None:
    desk = Desk()
    desk.put(acquire("a"))
    desk.wait(30 * DAY_MS)
    for saga in ("x", "y", "z"):
        desk.put(acquire(saga, of="other", issued_at_ms=desk.now_ms))
    assert "a/lock/do" not in desk.machine.effects.known
    desk.restart()
    desk.put(acquire("b", issued_at_ms=desk.now_ms))
    assert desk.put(undo("a")) == [("a", "applied"), ("b", "applied")]
    assert desk.ask(undo("a", 2)) == "applied"


@pytest.mark.parametrize("holds", [True, False])
def test_a_late_undo_takes_nothing_from_a_later_saga_of_the_same_name(holds: bool) -> None:
    desk = Desk()
    desk.put(acquire("a"))
    desk.put(undo("a"))
    desk.wait(9 * DAY_MS)
    if not holds:
        desk.put(acquire("other", issued_at_ms=desk.now_ms))
    anew = acquire("a", issued_at_ms=desk.now_ms)
    assert desk.ask(anew) == ("applied" if holds else "")
    assert desk.ask(undo("a")) != "applied"
    parties = desk.machine.locks["payroll", "alice"]
    assert "a" in [party.saga_id for party in (parties.holder, *parties.queue) if party]
    assert desk.ask(undo("a", issued_at_ms=desk.now_ms)) == "applied"


def test_who_turns_back_while_it_waits_is_out_of_the_queue_and_never_gets_the_lock() -> None:
    desk = Desk()
    for saga in ("a", "b", "c"):
        desk.put(acquire(saga))
    assert desk.ask(undo("b")) == "applied"
    assert desk.ask(acquire("b", 2)) == "effect_voided"
    assert desk.put(release("a"))[1:] == [("c", "applied")]
    assert desk.wait(DAY_MS) == []


def test_a_request_that_its_undo_has_overtaken_is_not_done_any_more() -> None:
    desk = Desk()
    assert desk.ask(undo("a")) == "applied"
    assert desk.ask(acquire("a")) == "effect_voided"
    assert desk.machine.locks == {}


def test_nobody_releases_the_lock_of_another_saga() -> None:
    desk = Desk()
    desk.put(acquire("a"))
    desk.put(acquire("b"))
    assert desk.ask(release("c", lock_of="a")) == "lock_unknown"
    assert desk.ask(release("b")) == "lock_unknown"
    assert desk.put(release("a"))[1:] == [("b", "applied")]


def test_a_saga_does_not_wait_for_itself() -> None:
    desk = Desk()
    desk.put(acquire("a"))
    again = AcquireLock(
        **asked("a", "second", "do", 1),
        purpose="payroll",
        resource="alice",
        timeout_ms=WAIT_MS,
        max_waiting=2,
    )
    assert desk.ask(again) == "lock_held"


def test_a_release_is_done_once_and_its_repetition_takes_nothing_from_the_next_holder() -> None:
    desk = Desk()
    desk.put(acquire("a"))
    desk.put(acquire("b"))
    desk.put(acquire("c"))
    desk.put(release("a"))
    assert desk.put(release("a", 2)) == [("a", "applied")]
    assert desk.put(undo("a")) == [("a", "applied")]
    assert desk.put(release("b"))[1:] == [("c", "applied")]


def test_a_journal_that_gives_a_lock_twice_is_not_believed() -> None:
    desk, other = Desk(), Desk()
    events = [*desk.machine.decide(acquire("a"), NOW_MS)]
    events += other.machine.decide(acquire("b"), NOW_MS)
    with pytest.raises(LockBroken):
        for event in events:
            desk.machine.evolve(event)


SAGAS = ("a", "b", "c", "d", "e")
moves = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(SAGAS), st.sampled_from(("acquire", "release", "undo"))),
        st.tuples(st.just(""), st.sampled_from(("restart", "wait"))),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(moves)
def test_whatever_comes_in_whatever_order_a_lock_has_one_holder_and_is_given_in_turn(
    history: list[tuple[str, str]],
) -> None:
    desk, attempts = Desk(), dict.fromkeys(SAGAS, 0)
    holder, turned_back = "", set[str]()
    queue: list[tuple[str, int]] = []
    for saga, move in history:
        told: list[tuple[str, str]] = []
        left = ""
        if move == "restart":
            desk.restart()
        elif move == "wait":
            told = desk.wait(WAIT_MS // 2)
            due = [name for name, until_ms in queue if until_ms <= desk.now_ms]
            assert sorted(told) == sorted((name, "lock_timeout") for name in due)
            queue = [(name, until_ms) for name, until_ms in queue if name not in due]
        elif move == "acquire":
            attempts[saga] += 1
            before = [name for name, _ in queue]
            told = desk.put(acquire(saga, attempts[saga]))
            if told == [(saga, "applied")] and saga != holder and saga not in turned_back:
                assert not holder and not before
                holder = saga
            elif told == [(saga, "queue_full")]:
                assert len(before) == 2
            elif not told and saga not in before:
                queue.append((saga, desk.now_ms + WAIT_MS))
            continue
        elif move == "undo" or saga == holder or saga in turned_back:
            # A saga asks for its release once it has the lock, and may ask again.
            told = desk.put(release(saga) if move == "release" else undo(saga))
            if move == "undo" or (saga, "applied") in told:
                left = saga
        if left:
            # A step of a saga is not asked for again once it was taken back or released.
            turned_back.add(left)
            attempts[left] += 1_000
            queue = [one for one in queue if one[0] != left]
            following = [name for name, what in told if name != left]
            if holder == left:
                assert following == [name for name, _ in queue[:1]]
                holder = following[0] if following else ""
                queue = queue[1:]
            else:
                assert following == []
        lock = desk.machine.locks.get(("payroll", "alice"))
        held = lock.holder.saga_id if lock is not None and lock.holder is not None else ""
        waiting = [] if lock is None else [party.saga_id for party in lock.queue]
        assert (held, waiting) == (holder, [name for name, _ in queue])
