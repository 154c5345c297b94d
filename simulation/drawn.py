"""Two sagas of each simulated bank that nobody wrote: their graphs, policies, instants and
time-outs are drawn, and what they ask of a participant outside; some steps are sagas or payrolls.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, NamedTuple

from messages.account import Capture, Credit, CreditOnHold, Debit, Hold, Release
from messages.participants import ANYBODYS, Participant
from saga_definitions.dsl import (
    Account,
    Amount,
    Currency,
    Definition,
    Instant,
    Params,
    Retry,
    ask,
    command,
    condition,
    define,
    effect_of,
    step,
    wait_for,
    wait_until,
)
from saga_definitions.steps import Step
from simulation.blocks import Block, blocks
from simulation.carrier import Cancel, Deliver, Reserve
from simulation.conditions import stream

WORD: Final = "word"
"""What a drawn definition may wait for."""

DUE: Final = "due"
"""The time that it may wait for: `due_at`. After `ends_at` some steps are too late."""

DELIVER: Final = "deliver"
_PATIENCE_MS: Final = (1_000, 3_000, 10_000)
_WORTH_ANOTHER_TRY: Final = (
    "insufficient_funds",
    "account_frozen",
    "account_unknown",
    "currency_mismatch",
    "daily_limit_exceeded",
    "clock_ahead",
)


class Drawn(NamedTuple):
    """A definition by chance: it takes from `takes` accounts and gives to `gives` accounts, and
    has `blocks` whose money is their own."""

    definition: Definition
    takes: int
    gives: int
    blocks: Sequence[Block]

    @property
    def waits(self) -> bool:
        return any(step.name == WORD for step in self.definition.plan.steps)

    def params(
        self, rng: Random, accounts: Sequence[str], currency: str, now_ms: int
    ) -> dict[str, object]:
        """Amounts by chance, the same sum on both sides; instants soon, or past."""
        taken = [rng.randint(3, 800) for _ in range(self.takes)]
        cuts = sorted(rng.sample(range(1, sum(taken)), self.gives - 1))
        given = [b - a for a, b in zip((0, *cuts), (*cuts, sum(taken)), strict=True)]
        params: dict[str, object] = {
            "currency": currency,
            "due_at": instant(now_ms + rng.randint(-5_000, 30_000)),
            "ends_at": instant(now_ms + rng.choice((rng.randint(0, 5_000), 60_000))),
        }
        for name, amounts in (("take", taken), ("give", given)):
            for i, amount in enumerate(amounts):
                params[f"{name}_{i}"] = rng.choice(accounts)
                params[f"{name}_{i}_minor"] = amount
        for block in self.blocks:
            params |= block.params(rng, accounts)
        return params


def instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def drawn(seed: int, outside: Participant | None = None) -> tuple[Drawn, ...]:
    """`outside`: whom they may ask beside the accounts; one that takes `Reserve` and so on."""
    rng = stream(seed, "definitions")
    if outside is not None and Reserve not in outside.commands:
        outside = None
    more = stream(seed, "blocks")
    return tuple(_draw(rng, more, f"drawn_{i}", 1 + seed, outside) for i in range(2))


def _draw(rng: Random, more: Random, name: str, version: int, outside: Participant | None) -> Drawn:
    takes, gives = rng.randint(1, 3), rng.randint(1, 3)
    declared: dict[str, Any] = {"currency": Currency(), "due_at": Instant(), "ends_at": Instant()}
    for i in range(takes):
        declared |= {f"take_{i}": Account(), f"take_{i}_minor": Amount()}
    for i in range(gives):
        declared |= {f"give_{i}": Account(), f"give_{i}_minor": Amount()}
    sides = [one for one in declared if one.partition("_")[2].isdecimal()]
    parts = blocks(more, name, version, declared)
    made_by = {one: part for part in parts for one in (*part.begun, *part.final)}
    for part in parts:
        declared |= part.declared
    params: Params = type("DrawnParams", (Params,), declared)()
    held = [one for one in sides if rng.random() < 0.4]
    final = [one for one in sides if one.startswith("give") and one not in held]
    pivots = [*held, *(one for one in final if rng.random() < 0.5)]
    rng.shuffle(pivots)
    begun = [one for one in sides if one in held or one not in pivots]
    if rng.random() < 0.5:
        begun.insert(rng.randint(0, len(begun)), WORD)
    asked = [f"reserve_{i}" for i in range(rng.randint(1, 2))] if outside is not None else []
    for one in asked:
        begun.insert(rng.randint(0, len(begun)), one)
    if outside is not None and rng.random() < 0.6:
        pivots.insert(rng.randint(0, len(pivots)), DELIVER)
    for part in sorted(parts, key=lambda part: part.pivots):
        _insert(more, begun, part.begun)
        if part.pivots:
            pivots[:0] = part.final
        else:
            _insert(more, pivots, part.final)
    steps: list[Step] = []
    if rng.random() < 0.3:
        steps.append(wait_until(DUE, declared["due_at"], after=()))
    for one in begun:
        # What is done before a time to come can't be taken back after it, unless it is a hold.
        before = tuple(
            earlier.name
            for earlier in steps
            if (earlier.name == DUE and one not in held) or rng.random() < 0.4
        )
        if one == WORD:
            steps.append(_wait(rng, declared, before))
        elif one in made_by:
            steps.append(made_by[one].make(one, before, False))
        elif outside is not None and one in asked:
            steps.append(_reserve(rng, outside, declared, one, before))
        else:
            steps.append(_reversible(rng, declared, one, one in held, before))
    reversible = tuple(one.name for one in steps)
    past: list[str] = []
    for one in pivots:
        waits = (past[0], *(p for p in past[1:] if rng.random() < 0.4)) if past else reversible
        if one in made_by:
            steps.append(made_by[one].make(one, waits, not past))
        elif outside is not None and one == DELIVER:
            steps.append(_deliver(rng, outside, declared, waits, pivot=not past))
        else:
            steps.append(_final(rng, declared, one, one in held, waits, pivot=not past))
        past.append(steps[-1].name)
    definition = define(
        name,
        version=version,
        params=params,
        steps=tuple(steps),
        deadline_ms=rng.choice((5_000, 20_000, 60_000)),
    )
    return Drawn(definition, takes, gives, parts)


def _insert(rng: Random, among: list[str], names: Sequence[str]) -> None:
    """Anywhere, in their own order."""
    at = 0
    for name in names:
        at = rng.randint(at, len(among))
        among.insert(at, name)
        at += 1


def _reserve(
    rng: Random,
    outside: Participant,
    params: Mapping[str, Any],
    name: str,
    after: tuple[str, ...],
) -> Step:
    customer = params["take_0"]
    return step(
        name,
        do=ask(outside, Reserve, customer=customer, amount_minor=params["take_0_minor"]),
        undo=ask(outside, Cancel, customer=customer),
        after=after,
        retry=_retry(rng, tuple(sorted(ANYBODYS))),
        undo_retry=_undo_retry(rng),
        timeout_ms=rng.choice(_PATIENCE_MS),
        on_timeout=rng.choice(("enquire", "enquire", "retry", "compensate")),
        by=_by(rng, params),
    )


def _deliver(
    rng: Random,
    outside: Participant,
    params: Mapping[str, Any],
    after: tuple[str, ...],
    *,
    pivot: bool,
) -> Step:
    return step(
        DELIVER,
        do=ask(outside, Deliver, customer=params["take_0"], note="by chance"),
        pivot=pivot,
        irreversible=not pivot,
        after=after,
        retry=_retry(rng, tuple(sorted(ANYBODYS))),
        timeout_ms=rng.choice(_PATIENCE_MS),
        on_timeout=rng.choice(("enquire", "enquire", "retry")),
        by=_by(rng, params) if pivot else None,
    )


def _by(rng: Random, params: Mapping[str, Any]) -> Instant | None:
    """The last moment in which some steps are asked for."""
    return params["ends_at"] if rng.random() < 0.2 else None


def _wait(rng: Random, params: Mapping[str, Any], after: tuple[str, ...]) -> Step:
    """For somebody's word, in some definitions only about large amounts."""
    large = condition(params["take_0_minor"], ">", 400)
    when = (large,) if rng.random() < 0.5 else ()
    return wait_for(WORD, timeout_ms=rng.choice((2_000, 15_000)), after=after, when=when)


def _reversible(
    rng: Random, params: Mapping[str, Any], name: str, held: bool, after: tuple[str, ...]
) -> Step:
    """A hold, a debit, or a credit, which may be on hold, that is debited again."""
    account = params[name]
    moved = {
        "account_id": account,
        "amount_minor": params[f"{name}_minor"],
        "currency": params["currency"],
    }
    if held:
        back = {"account_id": account, "hold_id": effect_of(name)}
        takes = name.startswith("take")
        do = command(Hold if takes else CreditOnHold, **moved)
        undo = command(Release if takes else Capture, **back)
    elif name.startswith("take"):
        do, undo = command(Debit, **moved), command(Credit, **moved)
    else:
        do, undo = command(Credit, **moved), command(Debit, **moved)
    return step(
        name,
        do=do,
        undo=undo,
        after=after,
        retry=_retry(rng),
        undo_retry=_undo_retry(rng),
        timeout_ms=rng.choice(_PATIENCE_MS),
        on_timeout=rng.choice(("retry", "compensate")),
        by=_by(rng, params),
    )


def _final(
    rng: Random,
    params: Mapping[str, Any],
    name: str,
    held: bool,
    after: tuple[str, ...],
    *,
    pivot: bool,
) -> Step:
    """The end of a hold, or a credit that stands once it is done."""
    account = params[name]
    if held:
        kind = Capture if name.startswith("take") else Release
        do = command(kind, account_id=account, hold_id=effect_of(name))
    else:
        amount = params[f"{name}_minor"]
        do = command(Credit, account_id=account, amount_minor=amount, currency=params["currency"])
    return step(
        f"{name}_done",
        do=do,
        pivot=pivot,
        irreversible=not pivot,
        after=after,
        retry=_retry(rng),
        timeout_ms=rng.choice(_PATIENCE_MS),
        by=_by(rng, params) if pivot else None,
    )


def _retry(rng: Random, reasons: Sequence[str] = _WORTH_ANOTHER_TRY) -> Retry:
    return Retry(
        attempts=rng.choice((1, 3, 12)),
        first_delay_ms=rng.choice((100, 2_000)),
        retryable=tuple(reason for reason in reasons if rng.random() < 0.4),
    )


def _undo_retry(rng: Random) -> Retry:
    return Retry(attempts=rng.choice((2, 8)), first_delay_ms=rng.choice((100, 2_000)))
