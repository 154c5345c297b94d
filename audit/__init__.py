"""Proves from the journals alone that the bank's books are right.

The audit shares no rule with the services: it reads both journals from offset 0, folds them in its
own way and says what does not fit, where, and what was expected there. It writes nothing.
"""
