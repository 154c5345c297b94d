"""The whole bank in one thread, decided by one integer.

`simulation.run.simulate(seed)` runs services, callers and faults on the deterministic log, clock
and random source, heals everything, and checks the invariants of money, sagas and links on the
logs alone. The same seed gives the same history byte for byte, in any process.
"""
