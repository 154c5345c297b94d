"""A model checker for saga definitions: every order of outcomes, on the engine's own functions.

It drives `orchestrator.saga` (`decide`, `on_time`, `evolve`), which is pure, with an abstract
participant that may apply, refuse, keep silent or answer late as it likes. It knows nothing of
Kafka, of balances or of time: any funds may be missing, any timer may be the first one. What it
proves, and within which bounds, is in docs/definitions.md.
"""
