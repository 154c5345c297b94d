"""Steps that are more than one command, by chance: legs, other sagas, locks. `simulation/drawn.py`
mixes them with what else it draws.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from messages.account import Capture, Credit, CreditOnHold, Debit, Hold, Release
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    Differ,
    Instant,
    Legs,
    Params,
    Retry,
    command,
    condition,
    define,
    leg_effect_of,
    lock,
    nested,
    result_of,
    step,
    unlock,
    wait_for,
    wait_until,
)
from saga_definitions.steps import Step
from simulation.conditions import LEGS, LOCKS, NESTED

MOST_LEGS: Final = 4
CHILD_LASTS_MS: Final = 15_000
"""A saga that is a step, and can be taken back, goes forward for at most so long."""

_AGAIN: Final = ("account_frozen", "account_unknown", "insufficient_funds")
_MOST_DEEP: Final = 2

Reversible = Callable[[tuple[str, ...]], Step]
"""A step that waits for those named."""
Closing = Callable[[tuple[str, ...], bool], Step]
"""The same, and whether it is the pivot."""


class Shapes:
    """What a definition gets besides its simple steps: `begun` before its pivot, in this order;
    `pivot` as its pivot; `past` after that. `legs_give`: what the legs get counts as given (1), or
    as taken (-1); 0: there are none. `drew`: names of what was drawn, to be counted."""

    def __init__(self, rng: Random, name: str, version: int, params: dict[str, Any]) -> None:
        self.begun: dict[str, Reversible] = {}
        self.pivot: dict[str, Closing] = {}
        self.past: dict[str, Closing] = {}
        self.legs_give = 0
        self.drew: list[str] = []
        self._rng = rng
        self._name = name
        self._version = version
        self._params = params

    @property
    def lasts_ms(self) -> int:
        """The least deadline that suffices."""
        return CHILD_LASTS_MS if NESTED in self.begun else 0

    def draw(self, kinds: frozenset[str], *, has_pivot: bool) -> None:
        """`has_pivot`: whether the simple steps have one, so that others can come after it."""
        rng = self._rng
        if LEGS in kinds and rng.random() < 0.7:
            self._draw_legs(has_pivot)
        if NESTED in kinds and rng.random() < 0.7:
            self._draw_child(has_pivot)
        if LOCKS in kinds and rng.random() < 0.8:
            self._draw_locks(has_pivot or bool(self.pivot))

    def _draw_legs(self, has_pivot: bool) -> None:
        rng, params = self._rng, self._params
        modes = ["undone", "held", "pivot", "pivot", "past"] if has_pivot else ["undone", "pivot"]
        mode = rng.choice(modes)
        takes = mode in ("undone", "held") and rng.random() < 0.4
        params[LEGS] = Legs(most=MOST_LEGS)
        params["legs_minor"] = Amount()
        self.legs_give = -1 if takes else 1
        self.drew.append(f"drew legs {mode}")
        give, take = (Hold, Release) if takes else (CreditOnHold, Capture)
        if mode == "undone":
            there, back = (Debit, Credit) if takes else (Credit, Debit)
            self.begun[LEGS] = lambda after: self._legs(there, after, undo=_of_leg(back, params))
        elif mode == "held":
            undo = command(take, **_named(params), hold_id=leg_effect_of(LEGS))
            self.begun[LEGS] = lambda after: self._legs(give, after, undo=undo)
            self.past["legs_done"] = lambda after, _: self._end_legs(
                Capture if takes else Release, after
            )
        elif mode == "pivot":
            self.pivot[LEGS] = lambda after, _: self._legs(Credit, after, pivot=True)
            unpaid = result_of(LEGS, "refused_minor")
            self.past["give_back"] = lambda after, _: step(
                "give_back",
                do=command(
                    Credit,
                    account_id=params["take_0"],
                    amount_minor=unpaid,
                    currency=params["currency"],
                ),
                irreversible=True,
                after=after,
                when=condition(unpaid, ">", 0),
            )
        else:
            self.past[LEGS] = lambda after, _: self._legs(Credit, after, irreversible=True)

    def _legs(self, kind: Any, after: tuple[str, ...], **how: Any) -> Step:
        return step(
            LEGS,
            each=self._params[LEGS],
            width=self._rng.randint(1, MOST_LEGS),
            do=_of_leg(kind, self._params),
            after=after,
            retry=_retry(self._rng),
            timeout_ms=self._rng.choice((1_000, 3_000)),
            **how,
        )

    def _end_legs(self, kind: Any, after: tuple[str, ...]) -> Step:
        return step(
            "legs_done",
            each=self._params[LEGS],
            width=self._rng.randint(1, MOST_LEGS),
            do=command(kind, **_named(self._params), hold_id=leg_effect_of(LEGS)),
            irreversible=True,
            after=after,
        )

    def _draw_child(self, has_pivot: bool) -> None:
        rng = self._rng
        modes = ["undone", "undone", "past"] if has_pivot else ["undone"]
        mode = rng.choice(modes if self.pivot else [*modes, "pivot"])
        child = child_definition(
            rng,
            f"{self._name}_child",
            self._version,
            with_legs=LEGS in self._params,
            once=mode != "undone" and rng.random() < 0.8,
            lasts_ms=CHILD_LASTS_MS,
            waits_for_time=mode == "past",
            may_refuse=mode != "pivot",
        )
        self.drew.append(f"drew child {mode}")
        given = {
            "source": self._params["take_0"],
            "target": self._params["give_0"],
            "amount_minor": self._params["take_0_minor"],
            "currency": self._params["currency"],
            "due_at": self._params["due_at"],
        }
        if LEGS in self._params:
            given |= {LEGS: self._params[LEGS], "legs_minor": self._params["legs_minor"]}
        # What is taken for a time to come is refused by a child when its step may be skipped.
        when = (
            (condition(self._params["take_0_minor"], ">", 150),)
            if child.rules and mode != "pivot"
            else ()
        )
        timeout_ms = rng.choice((1_000, 5_000))

        def built(after: tuple[str, ...], **how: Any) -> Step:
            return nested(
                NESTED, child, given=given, after=after, timeout_ms=timeout_ms, when=when, **how
            )

        if mode == "undone":
            self.begun[NESTED] = lambda after: built(after)
        elif mode == "pivot":
            self.pivot[NESTED] = lambda after, _: built(after, pivot=True)
        else:
            self.past[NESTED] = lambda after, _: built(after, irreversible=True)

    def _draw_locks(self, has_pivot: bool) -> None:
        """One or two; the second is asked for after the first."""
        rng = self._rng
        for number in range(rng.choice((1, 1, 2))):
            name = f"lock_{number}"
            large = condition(self._params["take_0_minor"], ">", 200)
            resource = rng.choice((self._params["take_0"], "till"))
            # Who releases it as the pivot is never skipped.
            pivot = not has_pivot and not self.pivot
            when = (large,) if not pivot and rng.random() < 0.3 else ()
            wait_ms, waiting = rng.choice((1_000, 15_000)), rng.choice((0, 1, 3, 3))
            self.drew.append("drew lock again" if number else "drew lock")

            def held(
                after: tuple[str, ...],
                name: str = name,
                resource: Any = resource,
                wait_ms: int = wait_ms,
                waiting: int = waiting,
                when: Any = when,
            ) -> Step:
                return lock(
                    name,
                    f"sim_{name}",
                    resource,
                    wait_ms=wait_ms,
                    max_waiting=waiting,
                    after=after,
                    when=when,
                )

            def free(
                after: tuple[str, ...], pivot: bool, name: str = name, held: Reversible = held
            ) -> Step:
                return unlock(f"un{name}", held(()), after=after, pivot=pivot)

            self.begun[name] = held
            (self.pivot if pivot else self.past)[f"un{name}"] = free


def _named(params: Mapping[str, Any]) -> dict[str, Any]:
    return {"account_id": params[LEGS].leg.target}


def _of_leg(kind: Any, params: Mapping[str, Any]) -> Any:
    leg = params[LEGS].leg
    return command(
        kind, account_id=leg.target, amount_minor=leg.amount_minor, currency=params["currency"]
    )


def _retry(rng: Random) -> Retry:
    reasons = tuple(reason for reason in _AGAIN if rng.random() < 0.3)
    return Retry(attempts=rng.choice((1, 3)), first_delay_ms=500, retryable=reasons)


def child_definition(
    rng: Random,
    name: str,
    version: int,
    *,
    with_legs: bool,
    once: bool,
    lasts_ms: int,
    waits_for_time: bool,
    may_refuse: bool = True,
    depth: int = 1,
) -> Definition:
    """Takes from `source` and gives to `target`, or to the legs. `once`: it has a pivot and can't
    be taken back; else it goes forward for at most `lasts_ms`. `may_refuse`: it may have
    rules that its parent does not know of."""
    declared: dict[str, Any] = {
        "source": Account(),
        "target": Account(),
        "amount_minor": Amount(),
        "currency": Currency(),
        "due_at": Instant(),
    }
    if with_legs:
        declared |= {LEGS: Legs(most=MOST_LEGS), "legs_minor": Amount()}
    params: Params = type("DrawnChildParams", (Params,), declared)()
    to_legs = with_legs and rng.random() < 0.5
    amount = declared["legs_minor" if to_legs else "amount_minor"]
    moved = {
        "account_id": declared["source"],
        "amount_minor": amount,
        "currency": declared["currency"],
    }
    steps: list[Step] = []
    if waits_for_time and once and rng.random() < 0.5:
        steps.append(wait_until("due", declared["due_at"]))
    waits = 0
    if rng.random() < 0.3:
        large = condition(declared["amount_minor"], ">", 500)
        steps.append(wait_for("word", timeout_ms=2_000, when=large))
        waits = 1
    deadline_ms = (lasts_ms - 2_000 * waits) // (1 + waits)
    if depth < _MOST_DEEP and rng.random() < 0.4:
        grandchild = child_definition(
            rng,
            f"{name}_child",
            version,
            with_legs=with_legs,
            once=False,
            lasts_ms=deadline_ms,
            waits_for_time=False,
            depth=depth + 1,
        )
        # The same is taken for good: what it may refuse is told by itself.
        when = condition(declared["amount_minor"], ">", 1) if grandchild.rules else ()
        steps.append(nested("grandchild", grandchild, given=declared, timeout_ms=1_500, when=when))
    back = {"undo": command(Credit, **moved), "undo_retry": Retry(attempts=3, first_delay_ms=500)}
    steps.append(
        step("take", do=command(Debit, **moved), timeout_ms=2_000, retry=_retry(rng), **back)
    )
    if to_legs:
        steps += _to_legs(rng, declared, once)
    else:
        moved = {**moved, "account_id": declared["target"]}
        how = {"pivot": True} if once else {"undo": command(Debit, **moved)}
        steps.append(step("give", do=command(Credit, **moved), timeout_ms=2_000, **how))
    rules = (
        (Differ(declared["source"], declared["target"]),)
        if may_refuse and rng.random() < 0.3
        else ()
    )
    return define(
        name,
        version=version,
        params=params,
        rules=rules,
        deadline_ms=deadline_ms,
        steps=tuple(steps),
    )


def _to_legs(rng: Random, declared: Mapping[str, Any], once: bool) -> list[Step]:
    how = {"pivot": True} if once else {"undo": _of_leg(Debit, declared)}
    do = _of_leg(Credit, declared)
    width = rng.randint(1, 3)
    steps = [step("give", each=declared[LEGS], width=width, do=do, timeout_ms=2_000, **how)]
    if once:
        unpaid = result_of("give", "refused_minor")
        source, currency = declared["source"], declared["currency"]
        back = command(Credit, account_id=source, amount_minor=unpaid, currency=currency)
        steps.append(step("give_back", do=back, irreversible=True, when=condition(unpaid, ">", 0)))
    return steps
