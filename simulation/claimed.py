"""Locks and shares, folded a second time from the claims' journals: a lock is held by one, and by
nobody who has finished; who waits is told; a transfer is given back at most once in all.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from saga_definitions.reversal import REVERSAL, REVERSIBLE
from simulation.courses import FINISHED, Courses
from simulation.history import Fact, Histories

_LOCK: Final = "claims.AcquireLock.v1"

_Name = tuple[str, str]
"""Purpose and resource."""

_Held = tuple[str, str]
"""The effect that took the lock, and its saga."""


class Claims:
    """`held`: who holds each lock; `taken`: what is claimed of each quota, in minor units;
    `waiting`: effect -> the command that has no answer yet. `wrong`: the rules that were broken."""

    def __init__(self, histories: Histories) -> None:
        self.held: dict[_Name, _Held] = {}
        self.taken: Counter[_Name] = Counter()
        self.waiting: dict[str, dict[str, Any]] = {}
        self.waited = 0
        """How often somebody got a lock that was not free when it was asked for."""
        self.wrong: list[str] = []
        for journal in histories.claims:
            for fact in journal.facts:
                if fact.type == "participant.EffectBegun":
                    self._begins(fact)
                elif fact.type == "participant.EffectSettled":
                    self._settles(fact)

    def _begins(self, fact: Fact) -> None:
        command: Any = fact.fields["command"]
        self.waiting[fact.fields["effect_id"]] = command
        name = command["purpose"], command["resource"]
        if command["type"] == _LOCK and name in self.held:
            command["asked_while_held"] = True

    def _settles(self, fact: Fact) -> None:
        command = self.waiting.pop(fact.fields["effect_id"], None)
        if command is None:
            self._say(fact, "settles what nobody asked for")
            return
        name = command["purpose"], command["resource"]
        if fact.fields["outcome"] != "applied":
            left = command.get("limit_minor", 0) - self.taken[name]
            if fact.fields["reason"] == "limit_exceeded" and command["amount_minor"] <= left:
                self._say(fact, f"refuses {command['amount_minor']} although {left} are left")
            return
        match command["type"]:
            case "claims.Claim.v1":
                self.taken[name] += command["amount_minor"]
                if self.taken[name] > command["limit_minor"]:
                    self._say(fact, f"claims {self.taken[name]} of {command['limit_minor']}")
            case "claims.GiveBack.v1":
                self.taken[name] -= command["amount_minor"]
                if self.taken[name] < 0:
                    self._say(fact, "gives back more than was claimed")
            case "claims.AcquireLock.v1":
                if name in self.held:
                    self._say(fact, f"gives {'/'.join(name)} away, held by {self.held[name][1]}")
                self.held[name] = command["effect_id"], command["saga_id"]
                self.waited += command.get("asked_while_held", False)
            case _:
                if name in self.held and self.held[name][0] == command["lock_id"]:
                    del self.held[name]

    def _say(self, fact: Fact, what: str) -> None:
        saga = fact.fields.get("saga_id", "")
        self.wrong.append(f"claimed: {fact.place} offset {fact.offset}: {what} ({saga})")


def claimed(claims: Claims, courses: Courses) -> Iterator[str]:
    """After healing."""
    yield from claims.wrong
    for effect, command in claims.waiting.items():
        yield f"claimed: {effect} of saga {command['saga_id']} still waits"
    for name, (_, saga) in claims.held.items():
        state = courses.by_id[saga].state if saga in courses.by_id else "unknown"
        if state in FINISHED or state == "unknown":
            yield f"claimed: {state} saga {saga} still holds {'/'.join(name)}"
    yield from _given_back(claims, courses)


def _given_back(claims: Claims, courses: Courses) -> Iterator[str]:
    """Each transfer at most once in all, to who paid it; and what is claimed is what was given back
    or may yet be."""
    back: Counter[str] = Counter()
    open_: Counter[str] = Counter()
    for saga, course in courses.by_id.items():
        if course.definition != REVERSAL.name:
            continue
        of = course.params["original"]
        original = courses.by_id.get(of)
        if original is None or original.definition not in REVERSIBLE:
            yield f"claimed: saga {saga} reverses {of}, which is no transfer"
            continue
        if course.state == "completed":
            back[of] += course.params["amount_minor"]
        elif course.state != "compensated":
            open_[of] += course.params["amount_minor"]
    for of, amount in back.items():
        if amount > courses.by_id[of].params["amount_minor"]:
            yield f"claimed: {amount} of saga {of} is given back, which is more than it was"
    for of in {*back, *open_, *(resource for _, resource in claims.taken)}:
        taken = claims.taken[REVERSAL.name, of]
        if not back[of] <= taken <= back[of] + open_[of]:
            yield f"claimed: {taken} of saga {of} is claimed, {back[of]} given back"
