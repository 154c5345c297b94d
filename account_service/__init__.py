"""Accounts: what they are, what they decide, and the memory that lets an effect happen only once.

`account.py` is one account, `ledger.py` a partition of them with its effect memory (`effects.py`),
`machine.py` brings both to the journal's kernel.
"""
