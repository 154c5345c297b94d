"""Under which conditions a run takes place: drawn from its seed, for every run anew.

Swarm testing (Groce et al., ISSTA 2012): a run with few kinds of faults reaches states that a run
with all of them never does, so every run switches each kind on or off.
"""

import math
from random import Random
from typing import Final

import msgspec

WEATHER: Final = ("ack_lost", "late", "never", "slow", "commit_in_doubt")
"""What happens to single appends, reads and commits."""

HANDLERS: Final = (
    "handler_unsure",
    "handler_late",
    "handler_hung",
    "deed_late",
    "enquiry_unsure",
)
"""What happens to single calls of an outside participant's handlers."""

PAYOUT: Final = "payout"
OUTSIDE: Final = "outside"

LEGS: Final = "legs"
NESTED: Final = "nested"
LOCKS: Final = "locks"
KINDS: Final = (LEGS, NESTED, LOCKS)
"""What drawn definitions have besides simple steps."""

INCIDENTS: Final = (
    "crash",
    "pause",
    "reassign",
    "overlap",
    "api_crash",
    "projector_crash",
    "clock_jump",
    "snapshot_lost",
    "snapshot_torn",
    "snapshot_compacted",
    "place_down",
    "message_copied",
    "garbage_input",
    "foreign_input",
    "journal_noise",
)
"""What happens to processes, clocks and topics from time to time."""

_SKEW: Final = "clock_skew"

FAULTS: Final = (*WEATHER, *INCIDENTS, *HANDLERS, _SKEW)

_DAY_MS: Final = 86_400_000

_HORIZONS_APART_MS: Final = 2_000_000
"""Longer than all clocks of a run are apart: what the settings demand to be a day."""


def stream(seed: int, name: str) -> Random:
    """Random numbers for one purpose. Each purpose has its own, so that a smaller scenario of a
    seed differs from the whole one in as little as can be."""
    return Random(f"{seed}/{name}")


TRANSFERS: Final = 50
"""A day's."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes, bounds and rates of one run. `rates`: probability per append, or per call of a
    handler, of each fate; `incidents`: the numbers of those that happen, None: all.

    `participant`: what it is called, "" without one. `declines`: its share of refusals;
    `enquiries`: it can look effects up. The other bounds of it are those of `participant.Limits`
    and `messages.participants.Participant`. `shapes`: those of `KINDS` that drawn definitions
    may have; `claims_processes` 0: nobody keeps claims, so there are no reversals and no locks.
    """

    partitions: int
    orchestrators: int
    account_processes: int
    apis: int
    projectors: int
    accounts: int
    callers: int
    transfers: int
    account_requests: int
    faults: frozenset[str]
    rates: dict[str, float]
    latency_s: float
    slow_s: float
    late_s: float
    incident_every_s: float
    traffic_s: float
    skew_ms: int
    snapshot_every: int
    max_batch_records: int
    max_unconfirmed: int
    effect_horizon_ms: int
    saga_memory_ms: int
    participant: str
    participant_processes: int
    participant_partitions: int
    max_unanswered: int
    max_under_way: int
    max_handlers: int
    enquiries: bool
    declines: float
    shapes: frozenset[str] = frozenset()
    claims_processes: int = 0
    incidents: frozenset[int] | None = None


def draw(seed: int, transfers: int = TRANSFERS) -> Conditions:
    rng = stream(seed, "conditions")
    faults = _faults(rng)
    rates = {kind: _between(rng, 0.002, 0.06) if kind in faults else 0.0 for kind in WEATHER}
    rates |= {kind: _between(rng, 0.03, 0.3) if kind in faults else 0.0 for kind in HANDLERS}
    more = stream(seed, "shapes")
    claims_processes = more.choice((0, 0, 0, 1, 2))
    kinds = KINDS if claims_processes else tuple(kind for kind in KINDS if kind != LOCKS)
    shapes = frozenset(kind for kind in kinds if more.random() < 0.4)
    short_memory = rng.random() < 0.1
    participant = rng.choice(("", "", PAYOUT, OUTSIDE, OUTSIDE))
    return Conditions(
        partitions=rng.choice((1, 2, 2, 3)),
        orchestrators=rng.choice((1, 2, 2, 3)),
        account_processes=rng.choice((1, 2, 2, 3)),
        apis=rng.choice((1, 2)),
        projectors=rng.choice((1, 1, 2)),
        accounts=rng.randint(3, 8),
        callers=rng.randint(4, 12),
        transfers=transfers,
        account_requests=rng.randint(5, 25),
        faults=faults,
        rates=rates,
        latency_s=_between(rng, 0.0005, 0.02),
        slow_s=_between(rng, 0.1, 12.0),
        late_s=_between(rng, 0.01, 20.0),
        incident_every_s=_between(rng, 2.0, 15.0),
        traffic_s=_between(rng, 5.0, 120.0),
        skew_ms=round(_between(rng, 10, 400_000)) if _SKEW in faults else 0,
        snapshot_every=rng.choice((5, 25, 100, 1_000_000)),
        max_batch_records=rng.choice((1, 4, 200, 200)),
        max_unconfirmed=rng.choice((1, 5, 20_000, 20_000)),
        effect_horizon_ms=rng.choice((20_000, 120_000)) if short_memory else 7 * _DAY_MS,
        saga_memory_ms=_HORIZONS_APART_MS + (120_000 if short_memory else 7 * _DAY_MS),
        participant=participant,
        participant_processes=rng.choice((1, 1, 2)),
        participant_partitions=rng.choice((1, 1, 2)),
        max_unanswered=rng.choice((2, 5, 1_000)),
        max_under_way=rng.choice((1, 3, 1_000)),
        max_handlers=rng.choice((1, 4, 32)),
        # Payouts are enquired after for an hour: without an answer none would end in time.
        enquiries=participant == PAYOUT or rng.random() < 0.8,
        declines=rng.choice((0.0, 0.15, 0.5)),
        shapes=shapes,
        claims_processes=claims_processes,
    )


def _faults(rng: Random) -> frozenset[str]:
    share = rng.choice((0.0, 0.2, 0.4, 0.6, 0.6, 0.8, 1.0))
    return frozenset(kind for kind in FAULTS if rng.random() < share)


def _between(rng: Random, low: float, high: float) -> float:
    """Log-uniform: the small values matter as much as the large ones."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
