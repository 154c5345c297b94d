"""Claims: what sagas take of a limited quantity, such as what may still be reversed of a transfer,
and the locks that one saga at a time holds.

`quotas.py` is one quota, `locks.py` one lock, `machine.py` a partition of them with the effect
memory of `participant.effects`, `service.py` brings them to the journal's kernel.
"""
