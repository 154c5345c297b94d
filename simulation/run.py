"""One run of the simulated bank, decided by its seed, or the part of it that a scenario names.

From the command line: `makegood simulate --runs 1000 --first 1` hunts, and
`makegood simulate --seed 42 --trace` tells the whole story of one run.
"""

import asyncio
import hashlib
from collections import Counter

import msgspec

from simulation.bank import Bank
from simulation.conditions import TRANSFERS, Conditions, draw
from simulation.incidents import Incidents
from simulation.invariants import violations
from simulation.loop import Deadlock, OutOfSteps, OutOfTime, SimulatedLoop, run
from simulation.rare import warnings_counted
from simulation.scenario import WHOLE, Scenario
from simulation.timeline import timeline

MAX_STEPS = 400_000
MAX_S = 7_200.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` names the whole history; `happened` counts faults and what they led to."""

    seed: int
    scenario: Scenario
    conditions: Conditions
    digest: str
    violations: list[str]
    happened: Counter[str]
    steps: int
    simulated_s: float
    records: int
    incidents: list[int]
    """The numbers of those that happened."""
    story: list[str]
    """Only of a run that was asked to tell."""


def simulate(
    seed: int, scenario: Scenario = WHOLE, *, transfers: int = TRANSFERS, tell: bool = False
) -> Outcome:
    """Run the bank through bad weather, heal it, check it. The same seed and scenario, the same
    outcome."""
    conditions = scenario.of(draw(seed, transfers))
    loop = SimulatedLoop(MAX_STEPS, MAX_S)
    made: list[Bank] = []
    warnings: Counter[str] = Counter()
    try:
        with warnings_counted(warnings):
            wrong = run(loop, _live(seed, conditions, made))
    except (Deadlock, OutOfSteps, OutOfTime) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    except Exception as error:
        if not made:
            raise
        # Not even the checks could read what was written.
        wrong = [f"broke: {error!r}"]
    wrong += [f"uncaught: {error}" for error in loop.errors]
    bank = made[0]
    return Outcome(
        seed=seed,
        scenario=scenario,
        conditions=conditions,
        digest=_digest(bank),
        violations=wrong,
        happened=bank.happened + warnings,
        steps=loop.steps,
        simulated_s=loop.time(),
        records=sum(map(len, bank.log.records.values())),
        incidents=bank.incidents,
        story=timeline(bank, wrong) if tell else [],
    )


async def _live(seed: int, conditions: Conditions, made: list[Bank]) -> list[str]:
    bank = Bank(seed, conditions)
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
