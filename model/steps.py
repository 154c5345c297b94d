"""What can happen next. Every function takes a state and gives the one after it.

Some things are told in one step that take several in the world; that leaves no history out:
- An append lands and is acknowledged. What an owner does with the acknowledgement depends only on
  the journal up to its batch, which never changes, so one that comes late is an owner that is slow.
- A message is sent and lands. Being on the wire matters only when the sender is gone before it
  lands, so whether it was is decided then.
- The receiver handles a message when it lands: it sees the order of its input and nothing else.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from model.history import appended, fold, outputs_of, valid
from model.state import (
    DOWN,
    OPENED,
    Batch,
    Bounds,
    Message,
    Output,
    Owner,
    Record,
    Rules,
    State,
    Stray,
)

NAMES = ("A", "B")

Kind = Literal["progress", "late", "fault"]
"""`progress` is what a living owner does, `late` the landing of a stray; a `fault` is taken from
the bound."""


class Step(NamedTuple):
    """One thing that happens, in words."""

    what: str
    kind: Kind
    after: State


def steps(state: State, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    """Everything that can happen next."""
    for who, owner in enumerate(state.owners):
        if owner.phase == "down":
            yield from _open(state, who)
            continue
        if owner.appending is not None:
            yield from _append(state, who, owner.appending, rules)
        elif owner.phase == "working":
            yield from _decide(state, who, rules, bounds)
        if owner.waiting:
            yield from _send(state, who, owner.waiting[0], rules)
        if state.faults:
            for how, down in _go_down(_forgotten(state, who), who, rules):
                yield Step(f"{NAMES[who]} crashes{how}", "fault", _fault(down))
    for at, stray in enumerate(state.strays):
        yield from _stray(state, at, stray, rules)


def _open(state: State, who: int) -> Iterator[Step]:
    """Whoever is down may open; while the other one is up, that is a fault of the membership."""
    after = _with(state, who, Owner(phase="opening", appending=OPENED))
    if all(owner.phase == "down" for owner in state.owners):
        yield Step(f"{NAMES[who]} begins to open", "progress", after)
    elif state.faults:
        yield Step(f"{NAMES[who]} begins to open, too", "fault", _fault(after))


def _decide(state: State, who: int, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    """Take one input, or as many as there are, and put the batch on the wire."""
    owner = state.owners[who]
    for end in range(owner.input_next + 1, bounds.inputs + 1):
        inputs = tuple(range(owner.input_next, end))
        batch = Batch(owner.epoch, inputs, owner.confirmed)
        after = _with(state, who, owner._replace(appending=batch))
        what = f"{NAMES[who]} appends {_say(batch)}, expects {owner.expected}"
        if not rules.release_after_ack:
            after, what = _release(after, who, batch, rules), f"{what}, releases its outputs"
        yield Step(what, "progress", after)


def _append(state: State, who: int, record: Record, rules: Rules) -> Iterator[Step]:
    name, offset = NAMES[who], len(state.journal)
    heard = _with(state, who, state.owners[who]._replace(appending=None))
    landed = heard._replace(journal=appended(state.journal, record, rules))
    at = f"{_say(record)} of {name} lands at {offset}"
    if isinstance(record, Batch):
        for verdict, after in _acknowledged(landed, who, record, offset, rules):
            yield Step(f"{at}: {verdict}", "progress", after)
    else:
        yield Step(f"{at}: {name} works", "progress", _opened(landed, who, offset, rules))
    if state.faults:
        for verdict, after in _in_doubt(landed, who, record, rules):
            yield Step(f"{at}, unheard: {verdict}", "fault", _fault(after))
        stray = Stray(record, -1 if rules.epoch_used_once else who)
        for verdict, after in _in_doubt(heard, who, record, rules):
            what = f"{_say(record)} of {name} is held up: {verdict}"
            yield Step(what, "fault", _fault(_add(after, stray, rules)))


def _in_doubt(state: State, who: int, record: Record, rules: Rules) -> Iterator[tuple[str, State]]:
    """An owner that does not hear what has become of its append."""
    if isinstance(record, Batch) and not rules.reopen_after_doubt:
        yield f"{NAMES[who]} takes it for lost and goes on", state
        return
    for how, after in _go_down(state, who, rules):
        yield f"{NAMES[who]} gives up{how}", after


def _opened(state: State, who: int, offset: int, rules: Rules) -> State:
    """Read the journal up to the own `Opened`, and work from there."""
    history = fold(state.journal[:offset], rules)
    unconfirmed = history.outputs[history.confirmed :]
    before = history.confirmed if rules.seq_persisted else 0
    owner = Owner(
        phase="working",
        epoch=offset,
        expected=offset + 1,
        input_next=history.input_next,
        numbered=before + len(unconfirmed),
        confirmed=history.confirmed,
        waiting=tuple(Message(before + 1 + i, each) for i, each in enumerate(unconfirmed)),
    )
    return _with(state, who, owner)


def _acknowledged(
    state: State, who: int, batch: Batch, offset: int, rules: Rules
) -> Iterator[tuple[str, State]]:
    """The offset check, and after it the release."""
    owner = state.owners[who]
    if rules.offset_check and OPENED in state.journal[owner.expected : offset]:
        for how, after in _go_down(state, who, rules):
            yield f"{NAMES[who]} is deposed, releases nothing{how}", after
        return
    input_next = max(owner.input_next, batch.inputs[-1] + 1)
    after = _with(state, who, owner._replace(expected=offset + 1, input_next=input_next))
    if rules.release_after_ack:
        yield f"{NAMES[who]} releases its outputs", _release(after, who, batch, rules)
    else:
        yield "acknowledged", after


def _release(state: State, who: int, batch: Batch, rules: Rules) -> State:
    owner = state.owners[who]
    outputs = outputs_of(batch)
    messages = tuple(Message(owner.numbered + 1 + i, each) for i, each in enumerate(outputs))
    owner = owner._replace(
        numbered=owner.numbered + len(messages), waiting=owner.waiting + messages
    )
    promised = state.promised
    if batch not in valid(state.journal, rules):
        promised = promised.union(outputs)
    return _with(state, who, owner)._replace(promised=promised)


def _send(state: State, who: int, message: Message, rules: Rules) -> Iterator[Step]:
    name, owner = NAMES[who], state.owners[who]
    arrived, verdict = _arrive(state, message, rules)
    at = f"{_say(message)} of {name} lands, {verdict}"
    confirmed = owner._replace(confirmed=owner.confirmed + 1, waiting=owner.waiting[1:])
    yield Step(f"{at}, is confirmed", "progress", _with(arrived, who, confirmed))
    if state.faults:
        lost = f"{at}, the confirmation is lost: {name} will repeat it"
        yield Step(lost, "fault", _fault(arrived))
        doubt = f"{name} is in doubt about {_say(message)}: will repeat it"
        yield Step(doubt, "fault", _fault(_add(state, Stray(message), rules)))


def _arrive(state: State, message: Message, rules: Rules) -> tuple[State, str]:
    """What the receiver makes of a message: the next one, a duplicate, or a gap."""
    number = message.number
    if number > state.last + 1:
        return state, "is a gap"
    if number <= state.last and rules.dedupe:
        return state, "is dropped as a duplicate"
    arrived = state._replace(
        last=max(number, state.last),
        applied=(*state.applied, message.output.input),
        strays=_kept(state.strays, max(number, state.last), rules),
    )
    return arrived, "is applied"


def _stray(state: State, at: int, stray: Stray, rules: Rules) -> Iterator[Step]:
    gone = state._replace(strays=state.strays[:at] + state.strays[at + 1 :])
    content, who = stray.content, stray.heard_by
    if isinstance(content, Message):
        after, verdict = _arrive(gone, content, rules)
        yield Step(f"{_say(content)} lands late, {verdict}", "late", after)
        return
    offset = len(state.journal)
    landed = gone._replace(journal=appended(gone.journal, content, rules))
    what = f"{_say(content)} lands late, at {offset}"
    if isinstance(content, Batch) and who >= 0 and state.owners[who].phase == "working":
        for verdict, after in _acknowledged(landed, who, content, offset, rules):
            yield Step(f"{what}, {NAMES[who]} takes it for its own: {verdict}", "late", after)
    else:
        yield Step(what, "late", landed)


def _go_down(state: State, who: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """The owner's memory is gone; its append, and the message that it was sending if it was just
    then, may land all the same."""
    owner = state.owners[who]
    down = _with(state, who, DOWN)
    if owner.appending is not None:
        down = _add(down, Stray(owner.appending), rules)
    yield "", down
    if owner.waiting:
        message = owner.waiting[0]
        sending = _add(down, Stray(message), rules)
        if sending != down:
            yield f", with {_say(message)} on the wire", sending


def _forgotten(state: State, who: int) -> State:
    """Nobody is left who could hear what the owner has once waited for."""
    strays = [s._replace(heard_by=-1) if s.heard_by == who else s for s in state.strays]
    return state._replace(strays=_sorted(strays))


def _with(state: State, who: int, owner: Owner) -> State:
    owners = (owner, state.owners[1]) if who == 0 else (state.owners[0], owner)
    return state._replace(owners=owners)


def _add(state: State, stray: Stray, rules: Rules) -> State:
    strays = _kept((*state.strays, stray), state.last, rules)
    return state._replace(strays=_sorted(strays))


def _kept(strays: tuple[Stray, ...], last: int, rules: Rules) -> tuple[Stray, ...]:
    """Without messages that would only be dropped: for all that follows they never land."""
    if not rules.dedupe:
        return strays
    return tuple(
        stray
        for stray in strays
        if not isinstance(stray.content, Message) or stray.content.number > last
    )


def _sorted(strays: tuple[Stray, ...] | list[Stray]) -> tuple[Stray, ...]:
    """Strays have no order among themselves: one state, one value."""
    return tuple(sorted(strays, key=repr))


def _fault(state: State) -> State:
    return state._replace(faults=state.faults - 1)


def _say(what: Record | Message | Output) -> str:
    if isinstance(what, Batch):
        which = " and ".join(str(each + 1) for each in what.inputs)
        return f"the batch of epoch {what.epoch} for input {which}"
    if isinstance(what, Message):
        return f"number {what.number} ({_say(what.output)})"
    if isinstance(what, Output):
        return f"input {what.input + 1}, epoch {what.epoch}"
    return f"the {what}"
