"""No sequence of commands that can be decoded, however senseless, breaks a partition of claims."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from claims.service import INPUTS
from messages.claims import AcquireLock, Claim, GiveBack, ReleaseLock
from messages.participant import Enquire
from messages.wire import encode
from tests.claims.desk import DAY_MS, NOW_MS, Desk

EFFECTS = ("a/x/do", "a/x/undo", "b/x/do", "b/y/do")
effects = st.sampled_from(EFFECTS)
common: dict[str, Any] = {
    "effect_id": effects,
    "issued_at_ms": st.sampled_from((0, NOW_MS, NOW_MS + 1, NOW_MS + 9 * DAY_MS, 2**62)),
    "attempt": st.integers(-1, 4),
    "undoes": st.just("") | effects,
    "saga_id": st.sampled_from(("", "a", "b")),
    "step": st.just("x"),
    "direction": st.sampled_from(("do", "undo")),
    "reply_to": st.sampled_from(("", "orchestrator.input")),
}
of: dict[str, Any] = {"purpose": st.just("p"), "resource": st.sampled_from(("r", "s"))}
amounts = st.sampled_from((1, 60, 100, 2**63 - 1))
commands = st.one_of(
    st.builds(Claim, **common, **of, amount_minor=amounts, limit_minor=amounts),
    st.builds(GiveBack, **common, **of, amount_minor=amounts),
    st.builds(
        AcquireLock,
        **common,
        **of,
        timeout_ms=st.sampled_from((1, 1_000)),
        max_waiting=st.integers(0, 2),
    ),
    st.builds(ReleaseLock, **common, **of, lock_id=effects),
    st.builds(Enquire, **common, key=st.just("r"), command=st.just("claims.Claim.v1")),
)
moves = st.one_of(commands, st.sampled_from((1, 500, 9 * DAY_MS)), st.just("restart"))


@settings(max_examples=150, deadline=None)
@given(st.lists(moves, max_size=25))
def test_whatever_is_asked_a_partition_bears_it_and_its_state_stays_sound(history: Any) -> None:
    desk = Desk()
    for move in history:
        if isinstance(move, int):
            desk.wait(move)
        elif isinstance(move, str):
            desk.restart()
        else:
            desk.put(INPUTS.decode(encode(move)))
        machine = desk.machine
        assert all(0 <= quota.claimed <= quota.limit for quota in machine.quotas.values())
        waiting = [party for lock in machine.locks.values() for party in lock.queue]
        assert sorted(party.effect_id for party in waiting) == sorted(machine.effects.under_way)
        assert all(lock.holder is not None for lock in machine.locks.values())
