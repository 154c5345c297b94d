"""One lock: who holds it, who waits for it, who is next. Pure.

It promises that one saga at a time holds it, and that it is given in the order in which it was
asked for. Who waits is a `Party`, named by the effect that asked; when its time is up the machine
says.
"""

import msgspec

from messages.claims import AcquireLock, ReleaseLock
from participant.outcomes import Applied, Declined


class Party(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who has asked for the lock. `issued_at_ms`: when it did so first, which tells it from a later
    saga of the same name; `until_ms`: how long it waits."""

    effect_id: str
    saga_id: str
    issued_at_ms: int
    until_ms: int


class Lock(msgspec.Struct, frozen=True, array_like=True):
    """`queue`: who waits, the next one first."""

    holder: Party | None = None
    queue: tuple[Party, ...] = ()

    @property
    def is_idle(self) -> bool:
        return self.holder is None and not self.queue


FREE = Lock()


class LockBroken(Exception):
    """A lock is said to be given to somebody who can't have it: the journal is not what was
    written."""

    def __init__(self, lock: Lock, effect_id: str) -> None:
        super().__init__(
            f"{effect_id} can't have the lock: it is held by {lock.holder} and next is "
            f"{lock.queue[:1]}; check the journal (makegood audit) before this partition goes on"
        )
        self.lock = lock
        self.effect_id = effect_id


def acquire(lock: Lock, command: AcquireLock) -> Applied | Declined | None:
    """What becomes of the request; None: it waits."""
    if lock.is_idle:
        return Applied()
    parties = (lock.holder, *lock.queue)
    if any(party is not None and party.saga_id == command.saga_id for party in parties):
        return Declined("lock_held", "the saga holds it, or waits for it, already")
    if len(lock.queue) >= command.max_waiting:
        return Declined("queue_full", f"{len(lock.queue)} wait already")
    return None


def release(lock: Lock, command: ReleaseLock) -> Applied | Declined:
    """What becomes of the request. A lock that is not held is as free as it is asked to be."""
    for party in (lock.holder, *lock.queue):
        if party is None or party.effect_id != command.lock_id:
            continue
        earlier = command.undoes != "" and party.issued_at_ms != command.issued_at_ms
        if party is not lock.holder or party.saga_id != command.saga_id or earlier:
            return Declined("lock_unknown", "the saga does not hold it")
    return Applied()


def undone_by(lock: Lock, command: ReleaseLock) -> Party | None:
    """Who holds the lock or waits for it, and by `command` no longer does."""
    asked = (command.undoes, command.issued_at_ms)
    for party in (lock.holder, *lock.queue):
        if party is not None and (party.effect_id, party.issued_at_ms) == asked:
            return party
    return None


def joined(lock: Lock, party: Party) -> Lock:
    """The lock when `party` has asked for it."""
    return Lock(lock.holder, (*lock.queue, party))


def given(lock: Lock, effect_id: str) -> Lock:
    """The lock when the next in the queue has got it. Raises `LockBroken` when that is another."""
    if lock.holder is not None or not lock.queue or lock.queue[0].effect_id != effect_id:
        raise LockBroken(lock, effect_id)
    return Lock(lock.queue[0], lock.queue[1:])


def left(lock: Lock, effect_id: str) -> Lock:
    """The lock when `effect_id` neither holds it nor waits for it any more."""
    holder = lock.holder
    if holder is not None and holder.effect_id == effect_id:
        holder = None
    return Lock(holder, tuple(party for party in lock.queue if party.effect_id != effect_id))
