"""The claims of a partition as the journal's kernel wants them. No rules here: `quotas.py` and
`locks.py` decide what may be had, `participant.effects` what is done once.

A command is decided when it comes, and settled in the same batch; only who waits for a lock is
under way, until the lock is given to it or its time is up. What was asked for is in the command
that `EffectBegun` records; it counts once `EffectSettled` says that it is applied.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain
from typing import Any, Final, assert_never

import msgspec

from claims import locks, quotas
from claims.locks import FREE, Lock, Party
from claims.quotas import Quota
from journal.machine import Output
from journal.packing import groups
from messages.claims import AcquireLock, Claim, ClaimCommand, GiveBack, ReleaseLock
from messages.participant import Enquire
from messages.wire import Codec, encode
from participant.effects import (
    EffectBegun,
    EffectEvent,
    Effects,
    EffectSettled,
    EffectTold,
    begun,
    settled,
    voiding,
)
from participant.machine import outputs
from participant.outcomes import Applied, Declined

COMMANDS: Final[Codec[ClaimCommand]] = Codec(ClaimCommand)

MAX_WAITING: Final = 10_000
"""How many may wait for locks of one partition; beyond it who asks is told `participant_busy`."""

_Name = tuple[str, str]
"""Purpose and resource."""

_EFFECTS: Final = b"e"
_QUOTAS: Final = b"q"
_LOCKS: Final = b"l"
_quota_chunks: Final = msgspec.json.Decoder(list[tuple[_Name, Quota]])
_lock_chunks: Final = msgspec.json.Decoder(list[tuple[_Name, Lock]])


class ClaimsMachine:
    """Implements `journal.machine.Machine[ClaimCommand | Enquire, EffectEvent]`.

    Quotas are kept for ever: about 300 bytes for each transfer that was ever reversed. Locks are
    kept while somebody holds them.
    """

    def __init__(self, effect_horizon_ms: int) -> None:
        self.effects = Effects(effect_horizon_ms, MAX_WAITING, lambda _: False)
        self.quotas: dict[_Name, Quota] = {}
        self.locks: dict[_Name, Lock] = {}
        self._until: dict[str, int] = {}
        self._timers: list[tuple[int, str]] = []

    def decide(self, message: ClaimCommand | Enquire, now_ms: int) -> Sequence[EffectEvent]:
        if isinstance(message, Enquire):
            return (self.effects.decide(message, message.key, now_ms),)
        now_ms = max(now_ms, self.effects.clock_ms)
        # A release is never under way: what has its name is another request.
        if isinstance(message, ReleaseLock) and message.effect_id not in self.effects.under_way:
            return (
                self._undo_lock(message, now_ms)
                if message.undoes
                else self._unlock(message, now_ms)
            )
        return self._asked(message, now_ms)

    def _asked(self, message: ClaimCommand, now_ms: int) -> Sequence[EffectEvent]:
        # Only who waits for a lock takes up room: a full house must not keep anybody from leaving.
        lasting = isinstance(message, AcquireLock)
        event = self.effects.decide(message, message.resource, now_ms, lasting=lasting)
        return self._done(message, event) if isinstance(event, EffectBegun) else (event,)

    def _unlock(self, message: ReleaseLock, now_ms: int) -> Sequence[EffectEvent]:
        """A saga past its pivot can only ask again, however late: that it still holds the lock is
        proof that the release was never done."""
        events = self._asked(message, now_ms)
        told = events[0]
        expired = isinstance(told, EffectTold) and told.reason == "effect_expired"
        if expired and locks.is_held_for(self._lock(message), message):
            return self._done(message, begun(message, message.resource, now_ms))
        return events

    def _undo_lock(self, message: ReleaseLock, now_ms: int) -> Sequence[EffectEvent]:
        """Whoever still waits is given up first. Who holds the lock is its own proof, however long
        ago it was asked for."""
        lock = self._lock(message)
        party = locks.undone_by(lock, message)
        if party is not None and party is lock.holder:
            return self._done(message, begun(message, message.resource, now_ms))
        if party is not None:
            waiting = self.effects.under_way[party.effect_id]
            given_up = Declined("lock_given_up", "it is not waited for any more")
            return (
                settled(waiting.begun, waiting.attempt, given_up, now_ms),
                voiding(message, message.resource, now_ms),
            )
        return self._asked(message, now_ms)

    def _done(self, message: ClaimCommand, event: EffectBegun) -> Sequence[EffectEvent]:
        """The event, what becomes of it, and who gets the lock because of it."""
        outcome = self._outcome(message)
        if outcome is None:
            return (event,)
        done = (event, settled(event, event.attempt, outcome, event.at_ms))
        if isinstance(message, ReleaseLock) and isinstance(outcome, Applied):
            lock = self._lock(message)
            if lock.holder is not None and lock.holder.effect_id == message.lock_id and lock.queue:
                following = self.effects.under_way[lock.queue[0].effect_id]
                given = settled(following.begun, following.attempt, Applied(), event.at_ms)
                return (*done, given)
        return done

    def _outcome(self, message: ClaimCommand) -> Applied | Declined | None:
        match message:
            case Claim() | GiveBack():
                return quotas.decide(self.quotas.get(_name(message)), message)
            case AcquireLock():
                return locks.acquire(self._lock(message), message)
            case ReleaseLock():
                return locks.release(self._lock(message), message)
            case _:
                assert_never(message)

    def _lock(self, command: ClaimCommand) -> Lock:
        return self.locks.get(_name(command), FREE)

    def evolve(self, event: EffectEvent) -> None:
        if isinstance(event, EffectBegun):
            self._begins(event)
        elif isinstance(event, EffectSettled):
            self._settles(event)
        self.effects.evolve(event)

    def _begins(self, event: EffectBegun) -> None:
        command = COMMANDS.decode(bytes(event.command))
        if isinstance(command, AcquireLock):
            until_ms = event.at_ms + command.timeout_ms
            party = Party(event.effect_id, event.saga_id, command.issued_at_ms, until_ms)
            self._keep(command, locks.joined(self._lock(command), party))
            self._wait(party)

    def _settles(self, event: EffectSettled) -> None:
        command = COMMANDS.decode(bytes(self.effects.under_way[event.effect_id].begun.command))
        applied = event.outcome == "applied"
        match command:
            case Claim() | GiveBack():
                if applied:
                    name = _name(command)
                    self.quotas[name] = quotas.evolve(self.quotas.get(name), command)
            case AcquireLock():
                self._until.pop(event.effect_id, None)
                change = locks.given if applied else locks.given_up
                self._keep(command, change(self._lock(command), event.effect_id))
            case ReleaseLock():
                if applied:
                    self._keep(command, locks.released(self._lock(command), command.lock_id))
            case _:
                assert_never(command)

    def _keep(self, command: ClaimCommand, lock: Lock) -> None:
        if lock.is_idle:
            self.locks.pop(_name(command), None)
        else:
            self.locks[_name(command)] = lock

    def _wait(self, party: Party) -> None:
        self._until[party.effect_id] = party.until_ms
        heappush(self._timers, (party.until_ms, party.effect_id))

    def outputs(self, event: EffectEvent) -> Sequence[Output]:
        return outputs(event)

    def key_of(self, event: EffectEvent) -> str:
        return event.key

    def next_due_ms(self) -> int | None:
        """When the first of those who wait for a lock has waited long enough."""
        timers = self._timers
        while timers and self._until.get(timers[0][1]) != timers[0][0]:
            heappop(timers)
        return timers[0][0] if timers else None

    def fire(self, now_ms: int) -> Sequence[EffectEvent]:
        due_ms = self.next_due_ms()
        if due_ms is None or due_ms > now_ms:
            return ()
        waiting = self.effects.under_way[self._timers[0][1]]
        outcome = Declined("lock_timeout", "it did not become free in time")
        at_ms = max(now_ms, self.effects.clock_ms)
        return (settled(waiting.begun, waiting.attempt, outcome, at_ms),)

    def snapshot(self) -> Iterable[bytes]:
        """Effects, quotas and locks, each chunk with a first byte that says which."""
        effects = (_EFFECTS + chunk for chunk in self.effects.snapshot())
        return chain(
            effects,
            _parts(_QUOTAS, list(self.quotas.items())),
            _parts(_LOCKS, list(self.locks.items())),
        )

    def restore(self, chunk: bytes) -> None:
        kind, part = chunk[:1], chunk[1:]
        if kind == _QUOTAS:
            self.quotas.update(_quota_chunks.decode(part))
        elif kind == _LOCKS:
            for name, lock in _lock_chunks.decode(part):
                self.locks[name] = lock
                for party in lock.queue:
                    self._wait(party)
        elif kind == _EFFECTS:
            self.effects.restore(part)
        else:
            raise msgspec.ValidationError(f"a chunk of another format: {kind!r}")


def _name(command: ClaimCommand) -> _Name:
    return command.purpose, command.resource


def _parts(kind: bytes, entries: list[tuple[_Name, Any]]) -> Iterator[bytes]:
    for _, group in groups(entries):
        yield kind + encode(group)
