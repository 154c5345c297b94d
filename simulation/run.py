"""One run of the simulated bank, decided by its seed: `simulate(seed)`.

From the command line: `makegood simulate --runs 1000 --first 1` hunts, and
`makegood simulate --seed 42 --trace` tells the whole story of one run.
"""

import asyncio
import hashlib
from collections import Counter
from random import Random

import msgspec

from simulation.bank import Bank
from simulation.conditions import Conditions, draw
from simulation.incidents import Incidents
from simulation.invariants import violations
from simulation.loop import Deadlock, OutOfSteps, OutOfTime, SimulatedLoop, run
from simulation.timeline import timeline

MAX_STEPS = 400_000
MAX_S = 7_200.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` names the whole history; `happened` counts faults and what they led to."""

    seed: int
    conditions: Conditions
    digest: str
    violations: list[str]
    happened: Counter[str]
    steps: int
    simulated_s: float
    records: int
    story: list[str]
    """Only of a run that failed or was asked to tell."""


def simulate(seed: int, *, transfers: int = 50, tell: bool = False) -> Outcome:
    """Run the bank through bad weather, heal it, check it. The same seed, the same outcome."""
    rng = Random(seed)
    conditions = draw(rng, transfers)
    loop = SimulatedLoop(MAX_STEPS, MAX_S)
    made: list[Bank] = []
    try:
        wrong = run(loop, _live(rng, conditions, made))
    except (Deadlock, OutOfSteps, OutOfTime) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    wrong += [f"uncaught: {error}" for error in loop.errors]
    bank = made[0]
    return Outcome(
        seed=seed,
        conditions=conditions,
        digest=_digest(bank),
        violations=wrong,
        happened=bank.happened,
        steps=loop.steps,
        simulated_s=loop.time(),
        records=sum(map(len, bank.log.records.values())),
        story=timeline(bank) if wrong or tell else [],
    )


async def _live(rng: Random, conditions: Conditions, made: list[Bank]) -> list[str]:
    bank = Bank(rng, conditions)
    made.append(bank)
    callers = await bank.start()
    incidents = Incidents(bank)
    trouble = asyncio.create_task(incidents.run())
    await callers.run()
    trouble.cancel()
    incidents.end()
    wrong = await bank.heal(callers)
    wrong += [f"broke: {one}" for one in bank.troubles()]
    wrong += await violations(bank, callers.exchanges)
    for process in bank.all_processes:
        process.crash()
    return wrong


def _digest(bank: Bank) -> str:
    history = hashlib.blake2b(digest_size=16)
    for place in sorted(bank.log.records):
        history.update(str(place).encode())
        history.update(msgspec.msgpack.encode(bank.log.records[place]))
    history.update(msgspec.msgpack.encode(bank.notes))
    return history.hexdigest()
