"""Claims: what sagas take of a limited quantity, such as what may still be reversed of a transfer.

`quotas.py` is one quota, `machine.py` a partition of them with the participants' effect memory
(`participant.effects`), `service.py` brings both to the journal's kernel.
"""
