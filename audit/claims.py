"""The claims, folded again from their journal: no quota is claimed above its limit, what is taken
back is what was claimed, once, and a lock has one holder at a time. What a saga asked for goes on
to its case (`cases.py`).

It decodes the commands that `EffectBegun` records, and shares no rule with `claims/`.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from audit.cases import Cases
from audit.effects import claimed
from audit.report import Findings
from journal.log import Place
from messages.claims import AcquireLock, Claim, ClaimCommand, GiveBack, ReleaseLock
from messages.saga import FINISHED
from messages.wire import Codec, Undecodable
from participant.effects import EffectBegun, EffectSettled, EffectTold

_COMMANDS: Final[Codec[ClaimCommand]] = Codec(ClaimCommand)

_Name = tuple[str, str]
"""Purpose and resource."""


class _Standing(NamedTuple):
    """A claim that is applied and not taken back."""

    name: _Name
    amount: int


class Holder(NamedTuple):
    """Who has a lock, and where that is said."""

    effect_id: str
    saga_id: str
    place: Place
    offset: int


class Claims:
    """`claimed`: what stands of each quota; `limits`: what its first claim said; `holders`: of the
    locks that are held."""

    def __init__(self, cases: Cases, findings: Findings) -> None:
        self.claimed: dict[_Name, int] = {}
        self.limits: dict[_Name, int] = {}
        self.holders: dict[_Name, Holder] = {}
        self._cases = cases
        self._findings = findings
        self._begun: dict[str, ClaimCommand] = {}
        self._standing: dict[str, _Standing] = {}
        self._folds: dict[type[Any], Callable[[Any, Place, int], None]] = {
            EffectBegun: self._begins,
            EffectSettled: self._settles,
            EffectTold: self._tells,
        }

    def fold(self, event: Any, place: Place, offset: int) -> None:
        fold = self._folds.get(type(event))
        if fold is not None:
            fold(event, place, offset)

    def _begins(self, event: EffectBegun, place: Place, offset: int) -> None:
        try:
            command = _COMMANDS.decode(bytes(event.command))
        except Undecodable as error:
            self._say("claim_decided", event, place, offset, "a claim's command", error.reason)
            return
        if command.effect_id != event.effect_id or command.resource != event.key:
            found = f"{command.effect_id} of {command.resource}"
            self._say("claim_decided", event, place, offset, f"a command of {event.key}", found)
        self._begun[event.effect_id] = command

    def _settles(self, event: EffectSettled, place: Place, offset: int) -> None:
        command = self._begun.pop(event.effect_id, None)
        if command is None:
            self._say("claim_decided", event, place, offset, "EffectBegun first", "EffectSettled")
            return
        if event.outcome != "applied":
            return
        name = (command.purpose, command.resource)
        match command:
            case Claim():
                self._claims(event, command, name, place, offset)
            case GiveBack():
                self._gives_back(event, command.amount_minor, name, place, offset)
            case AcquireLock():
                self._locks(event, name, place, offset)
            case ReleaseLock():
                self._unlocks(event, command.lock_id, name, place, offset)
        self._cases.applied(event, place, offset, claimed(command))

    def _locks(self, event: EffectSettled, name: _Name, place: Place, offset: int) -> None:
        holder = self.holders.get(name)
        if holder is not None:
            expected = f"the lock {name} to be released first: {holder.effect_id} holds it"
            self._say("lock_held", event, place, offset, expected, f"given to {event.effect_id}")
        self.holders[name] = Holder(event.effect_id, event.saga_id, place, offset)

    def _unlocks(
        self, event: EffectSettled, lock_id: str, name: _Name, place: Place, offset: int
    ) -> None:
        holder = self.holders.get(name)
        if holder is None or holder.effect_id != lock_id:
            return
        if holder.saga_id != event.saga_id:
            expected = f"the lock {name} to be released by {holder.saga_id}"
            self._say("lock_held", event, place, offset, expected, f"released by {event.saga_id}")
        del self.holders[name]

    def judge(self, may_be_early: Callable[[Place, int], bool]) -> None:
        """When everything is read: nobody who has ended holds a lock. `may_be_early`: whether what
        the saga did before this event may not be read."""
        for name, holder in self.holders.items():
            saga = self._cases.sagas.get(holder.saga_id)
            if saga is None or may_be_early(holder.place, holder.offset):
                continue
            if saga.outcome.state in FINISHED:
                expected = f"the lock {name} to be released, for the saga is {saga.outcome.state}"
                subject = f"saga {holder.saga_id}"
                self._findings.add(
                    "lock_released", holder.place, holder.offset, subject, expected, "held"
                )

    def _claims(
        self, event: EffectSettled, command: Claim, name: _Name, place: Place, offset: int
    ) -> None:
        limit = self.limits.setdefault(name, command.limit_minor)
        self.claimed[name] = self.claimed.get(name, 0) + command.amount_minor
        if command.limit_minor != limit or self.claimed[name] > limit:
            found = f"{self.claimed[name]} of {command.limit_minor}"
            self._say("claim_limit", event, place, offset, f"at most {limit} claimed", found)
        self._standing[event.effect_id] = _Standing(name, command.amount_minor)

    def _gives_back(
        self, event: EffectSettled, amount: int, name: _Name, place: Place, offset: int
    ) -> None:
        standing = self._standing.pop(event.undoes, None)
        if standing != (name, amount):
            expected = f"{event.undoes} to be taken back: {standing or 'no claim stands'}"
            self._say("claim_undone", event, place, offset, expected, f"{amount} of {name}")
        self.claimed[name] = self.claimed.get(name, 0) - amount

    def _tells(self, event: EffectTold, place: Place, offset: int) -> None:
        if event.voids:
            self._cases.voided(event, event.voids, place, offset)
            if event.voids in self._standing:
                expected = f"{event.voids} to be taken back: it was applied"
                self._say("claim_undone", event, place, offset, expected, "voided")
        elif event.saga_id and event.reason == "":
            self._cases.repeated(event, True, place, offset)

    def _say(
        self, check: str, event: Any, place: Place, offset: int, expected: str, found: str
    ) -> None:
        self._findings.add(check, place, offset, f"claims of {event.key}", expected, found)
