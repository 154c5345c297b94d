"""`python -m model`: explore the protocol, then show what every rule of it is good for.

Exit status: 0 the protocol holds within the bounds, and without any one of its rules it does not;
1 otherwise.
"""

import argparse
import sys
import time

from model.exploration import counterexample, explore
from model.state import ALL_RULES, BOUNDS, Bounds, Rules

RULES = Rules._fields


def without(rule: str) -> Rules:
    return ALL_RULES._replace(**{rule: False})


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    options.add_argument("--inputs", type=int, default=BOUNDS.inputs)
    options.add_argument("--faults", type=int, default=BOUNDS.faults)
    options.add_argument("--without", choices=RULES, help="only show what this rule is good for")
    given = options.parse_args()
    bounds = Bounds(given.inputs, given.faults)
    if given.without:
        return 0 if _missed(given.without, bounds) else 1
    holds = _holds(bounds)
    missed = [_missed(rule, bounds) for rule in RULES]
    return 0 if holds and all(missed) else 1


def _holds(bounds: Bounds) -> bool:
    began = time.perf_counter()
    found = explore(ALL_RULES, bounds)
    print(
        f"All rules, {bounds.inputs} inputs, up to {bounds.faults} faults: {found.states} states, "
        f"{found.transitions} transitions, {found.deepest} steps deep, {found.done} states done, "
        f"{time.perf_counter() - began:.1f} s"
    )
    if found.counterexample is not None:
        print(f"  {found.counterexample.problem}:")
        _tell(found.counterexample.history)
        return False
    print("  no invariant breaks; the end is in reach from every state")
    if found.is_finite:
        print("  once faults cease, every history ends with every input applied exactly once")
    return found.is_finite


def _missed(rule: str, bounds: Bounds) -> bool:
    """Whether something goes wrong without `rule`, as it should."""
    found = counterexample(without(rule), bounds)
    if found is None:
        print(f"\nWithout {rule}: nothing goes wrong within the bounds, so it is not needed there")
        return False
    print(f"\nWithout {rule}: {found.problem}:")
    _tell(found.history)
    return True


def _tell(history: list[str]) -> None:
    for number, what in enumerate(history, 1):
        print(f"{number:5}. {what}")


if __name__ == "__main__":
    sys.exit(main())
