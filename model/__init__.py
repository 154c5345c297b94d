"""A model of the journal protocol, small enough that every history within its bounds is tried.

It says once more, in plain values and without the code of `journal`, what one source partition,
its two would-be owners, their appends and sends, and one receiving partition do
(docs/correctness.md). `python -m model` explores it, and shows for every rule of the protocol the
shortest history that goes wrong without it. It promises nothing about the code: that the code
follows these rules is for the tests and the simulator to show.
"""
