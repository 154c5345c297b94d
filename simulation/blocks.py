"""Parts that a drawn definition may have besides its own accounts: a payroll, and a saga that is a
step. Each brings its parameters, and is drawn from a stream of its own."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple

from messages.account import Capture, Credit, CreditOnHold, Debit, Release
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    Legs,
    Params,
    Retry,
    command,
    condition,
    define,
    leg_effect_of,
    nested,
    result_of,
    step,
)
from saga_definitions.params import Ref
from saga_definitions.steps import Step

CHILD: Final = "child"
SHARE: Final = "share"
_MOST_LEGS: Final = 5
# A child that can be taken back has to be through before its parent turns back (5 s at least).
_CHILD_MS: Final = (2_000, 5_000)


class Block(NamedTuple):
    """`begun`: its steps that can be taken back; `final`: those from the pivot on. `pivots`: the
    first of these is the pivot. `make` gives the step of a name that comes `after` others."""

    declared: dict[str, Any]
    begun: tuple[str, ...]
    final: tuple[str, ...]
    pivots: bool
    make: Callable[[str, tuple[str, ...], bool], Step]
    params: Callable[[Random, Sequence[str]], dict[str, object]]


def blocks(rng: Random, name: str, version: int, declared: Mapping[str, Any]) -> list[Block]:
    """Those of the definition `name`, mostly none."""
    found: list[Block] = []
    if rng.random() < 0.25:
        found.append(_payroll(rng, declared["currency"]))
    if rng.random() < 0.25:
        found.append(_child(rng, name, version, declared["currency"]))
    return found


def _payroll(rng: Random, currency: Any) -> Block:
    """All or none before the pivot, on hold or not; or as the pivot, as far as possible."""
    payer, sum_minor, legs = Account(), Amount(), Legs(most=_MOST_LEGS)
    way = rng.choice(("on hold", "plain", "pivot", "pivot"))
    leg: dict[str, Any] = {"account_id": legs.leg.target}
    whole: dict[str, Any] = {"account_id": payer, "amount_minor": sum_minor, "currency": currency}
    width = rng.choice((1, 2, 3))

    def make(name: str, after: tuple[str, ...], pivot: bool) -> Step:
        paid = {**leg, "amount_minor": legs.leg.amount_minor, "currency": currency}
        held = {**leg, "hold_id": leg_effect_of(SHARE)}
        every: dict[str, Any] = {"each": legs, "width": width, "after": after, **_policy(rng)}
        undone: dict[str, Any] = {"undo_retry": _few(rng)}
        match name:
            case "payer":
                do, undo = command(Debit, **whole), command(Credit, **whole)
                return step(name, do=do, undo=undo, after=after, **_policy(rng), **undone)
            case "share" if way == "on hold":
                do, undo = command(CreditOnHold, **paid), command(Capture, **held)
                return step(name, do=do, undo=undo, **every, **undone)
            case "share" if way == "plain":
                do, undo = command(Credit, **paid), command(Debit, **paid)
                return step(name, do=do, undo=undo, **every, **undone)
            case "share":
                return step(name, do=command(Credit, **paid), pivot=pivot, **every)
            case "released":
                do = command(Release, **held)
                return step(name, do=do, pivot=pivot, irreversible=not pivot, **every)
            case _:
                unpaid = result_of(SHARE, "refused_minor")
                do = command(Credit, **{**whole, "amount_minor": unpaid})
                when = condition(unpaid, ">", 0)
                return step(name, do=do, irreversible=True, after=after, when=when, **_policy(rng))

    def params(rng: Random, accounts: Sequence[str]) -> dict[str, object]:
        parts = [rng.randint(1, 200) for _ in range(rng.randint(1, _MOST_LEGS))]
        given = [{"target": rng.choice(accounts), "amount_minor": part} for part in parts]
        return {"payer": rng.choice(accounts), "sum_minor": sum(parts), "legs": given}

    return Block(
        declared={"payer": payer, "sum_minor": sum_minor, "legs": legs},
        begun=("payer",) if way == "pivot" else ("payer", SHARE),
        final={"on hold": ("released",), "plain": (), "pivot": (SHARE, "give_back")}[way],
        pivots=way == "pivot",
        make=make,
        params=params,
    )


def _child(rng: Random, parent: str, version: int, currency: Any) -> Block:
    """A saga of its own money: one that can be taken back after its end, which may have one more
    within; or one that can't, from the pivot on."""
    given: dict[str, Any] = {"from": Account(), "to": Account(), "child_minor": Amount()}
    reversible = rng.random() < 0.7
    deadline_ms = rng.choice(_CHILD_MS)
    child = _moves(rng, f"{parent}_child", version, deadline_ms, reversible, depth=1)
    passed = dict(zip(("source", "target", "amount_minor"), given.values(), strict=True))
    when = (condition(given["child_minor"], ">", 30),) if rng.random() < 0.3 else ()

    def make(name: str, after: tuple[str, ...], pivot: bool) -> Step:
        return nested(
            name,
            child,
            given={**passed, "currency": currency},
            after=after,
            pivot=pivot,
            irreversible=not reversible and not pivot,
            timeout_ms=rng.choice((1_000, 3_000)),
            when=() if pivot else when,
        )

    def params(rng: Random, accounts: Sequence[str]) -> dict[str, object]:
        source, target = rng.choices(accounts, k=2)
        return {"from": source, "to": target, "child_minor": rng.choice((1, rng.randint(1, 900)))}

    return Block(
        declared=given,
        begun=(CHILD,) if reversible else (),
        final=() if reversible else (CHILD,),
        pivots=False,
        make=make,
        params=params,
    )


def _moves(
    rng: Random, name: str, version: int, deadline_ms: int, reversible: bool, depth: int
) -> Definition:
    """Moves an amount from one account to another, in any order where it can be taken back."""
    source, target, amount_minor, currency = Account(), Account(), Amount(), Currency()
    declared = {
        "source": source,
        "target": target,
        "amount_minor": amount_minor,
        "currency": currency,
    }
    params: Params = type("ChildParams", (Params,), declared)()
    money: dict[str, Any] = {"amount_minor": amount_minor, "currency": currency}

    def move(kind: type[Debit | Credit], account: Ref[str], after: tuple[str, ...]) -> Step:
        back = Credit if kind is Debit else Debit
        return step(
            kind.__name__.lower(),
            do=command(kind, account_id=account, **money),
            undo=command(back, account_id=account, **money),
            after=after,
            undo_retry=_few(rng),
            **_policy(rng),
        )

    if not reversible:
        steps = [
            move(Debit, source, ()),
            step(
                "credit",
                do=command(Credit, account_id=target, **money),
                pivot=True,
                after=("debit",),
                **_policy(rng),
            ),
        ]
    else:
        sides: list[tuple[type[Debit | Credit], Ref[str]]] = [(Debit, source), (Credit, target)]
        rng.shuffle(sides)
        steps = []
        for kind, account in sides:
            after = tuple(one.name for one in steps if rng.random() < 0.6)
            steps.append(move(kind, account, after))
        if depth < 2 and deadline_ms > _CHILD_MS[0] and rng.random() < 0.5:
            inner = _moves(rng, f"{name}_child", version, _CHILD_MS[0], True, depth + 1)
            after = tuple(one.name for one in steps if rng.random() < 0.4)
            within = nested(CHILD, inner, given=declared, after=after, timeout_ms=1_000)
            steps.insert(0 if not after else len(steps), within)
    return define(name, version=version, params=params, steps=tuple(steps), deadline_ms=deadline_ms)


def _policy(rng: Random) -> dict[str, Any]:
    retry = Retry(attempts=rng.choice((1, 2, 12)), first_delay_ms=rng.choice((100, 2_000)))
    return {"retry": retry, "timeout_ms": rng.choice((1_000, 3_000, 10_000))}


def _few(rng: Random) -> Retry:
    return Retry(attempts=rng.choice((2, 8)), first_delay_ms=rng.choice((100, 2_000)))
