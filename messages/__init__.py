"""The contract between the services: commands, events, replies, and how they look on the wire.

Everything here is plain frozen data plus the pure functions that name, encode and route it. Fields
only get added, with defaults; a type whose meaning changes gets a new name (`.v2`) and an upcaster
in `messages.wire`. This package imports nothing else of Makegood.
"""
