"""The saga engine: drives the steps of a saga, takes back what was done when one fails.

`saga.py` decides, `progress.py` folds, `machine.py` brings both to the journal's kernel.
"""
