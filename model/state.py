"""What the model is made of. All of it is immutable and hashable: a state is one value.

One batch stands for one record, and one link message for one output. An offset is a place in the
journal, an input is a number from 0 on, and a link counts from 1.
"""

from typing import Final, NamedTuple


class Rules(NamedTuple):
    """The rules of the protocol; the model is explored with all of them, and without each one."""

    epoch_rule: bool = True
    """A record counts only if its epoch is the offset of the latest `Opened` before it."""
    offset_check: bool = True
    """A batch acknowledged behind another `Opened` deposes its writer, and releases nothing."""
    release_after_ack: bool = True
    """Outputs go out only when their batch is acknowledged and checked."""
    seq_persisted: bool = True
    """A link's numbers are part of the history: whoever opens goes on counting where it stands."""
    reopen_after_doubt: bool = True
    """Whoever is in doubt about an append gives its epoch up."""
    epoch_used_once: bool = True
    """An epoch that is given up hears nothing any more, and what comes next is another one."""
    dedupe: bool = True
    """The receiver drops a number that it has had."""


class Bounds(NamedTuple):
    """How large the model is. `faults` is the number of crashes, doubts, lost acknowledgements and
    confirmations, failed sends and rival openings in one history, taken together."""

    inputs: int = 2
    faults: int = 3


ALL_RULES: Final = Rules()
BOUNDS: Final = Bounds()


class Output(NamedTuple):
    """What has to be sent because `input` was handled in `epoch`. Another epoch may decide
    otherwise, so it is not the same output."""

    input: int
    epoch: int


class Batch(NamedTuple):
    """A batch of events: which inputs it handles, and how many outputs of the link were known to be
    confirmed when it was decided."""

    epoch: int
    inputs: tuple[int, ...]
    confirmed: int


OPENED: Final = "Opened"
VOID: Final = "void"
Record = str | Batch
"""`OPENED`, a batch, or `VOID`: a batch that does not count, for nobody looks into it any more. An
`Opened` needs no content, for its offset is the epoch."""


class Message(NamedTuple):
    """An output on its way to the receiver, under its number."""

    number: int
    output: Output


class Owner(NamedTuple):
    """One process that may own the partition: nothing of it outlives a crash.

    `phase`: "down" (never started, crashed, deposed or in doubt), "opening" or "working".
    `expected` is the offset that the next batch must get. `waiting` may be sent and is not
    confirmed; its first message may be on the wire already. `appending` is on the wire.
    """

    phase: str = "down"
    epoch: int = -1
    expected: int = 0
    input_next: int = 0
    numbered: int = 0
    confirmed: int = 0
    waiting: tuple[Message, ...] = ()
    appending: Record | None = None


DOWN: Final = Owner()


class Stray(NamedTuple):
    """Something on the wire that its sender does not wait for any more. It lands at any later
    moment, or never.

    `heard_by`: the owner that would take its acknowledgement for one of its own, -1: nobody. An
    owner that keeps to the rules never does.
    """

    content: Record | Message
    heard_by: int = -1


class State(NamedTuple):
    """Everything there is. `last` and `applied` are the receiver's: the last number it has
    accepted, and the inputs whose outputs it has applied, in order. `promised` are the outputs that
    were released without being in the valid history. `faults` are those still to come."""

    journal: tuple[Record, ...]
    owners: tuple[Owner, ...]
    strays: tuple[Stray, ...]
    last: int
    applied: tuple[int, ...]
    promised: frozenset[Output]
    faults: int


def initial(bounds: Bounds) -> State:
    return State((), (DOWN, DOWN), (), 0, (), frozenset(), bounds.faults)
