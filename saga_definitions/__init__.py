"""Sagas written as data: the DSL, its checks, and the definitions that ship.

A definition is checked when it is loaded and compiled to a `messages.plan.Plan`, which is all that
the engine sees of it. To add one, copy `transfer.py` and list it in `registry.py`.
"""
