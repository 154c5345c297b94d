"""What must hold in every state, and what is wanted in the end."""

from model.history import epoch_in_force, outputs_of, valid
from model.state import Batch, Bounds, Message, Output, Rules, State


def broken(state: State, rules: Rules) -> str:
    """Which invariant does not hold in `state`; empty if all do."""
    for each in state.applied:
        if state.applied.count(each) > 1:
            return f"input {each + 1} is applied twice by the receiver"
    handled = [each for batch in valid(state.journal, rules) for each in batch.inputs]
    for each in handled:
        if handled.count(each) > 1:
            return f"input {each + 1} is handled twice in the valid history"
    for output in state.promised:
        if not _counts_or_may(state, output, rules):
            return (
                f"the output for input {output.input + 1}, decided in epoch {output.epoch}, is "
                "released, and its batch will never be in the valid history"
            )
    for message in _under_way(state):
        if message.number > state.last + 1:
            return f"number {message.number} is on its way, and {state.last + 1} has not arrived"
    return ""


def _under_way(state: State) -> list[Message]:
    """What may be the next message to land."""
    first = [owner.waiting[0] for owner in state.owners if owner.waiting]
    return first + [each.content for each in state.strays if isinstance(each.content, Message)]


def _counts_or_may(state: State, output: Output, rules: Rules) -> bool:
    """Whether the batch of a released output is in the valid history, or may still get there."""
    if any(output in outputs_of(batch) for batch in valid(state.journal, rules)):
        return True
    if rules.epoch_rule and epoch_in_force(state.journal) != output.epoch:
        return False
    on_the_wire = [owner.appending for owner in state.owners]
    on_the_wire += [stray.content for stray in state.strays if isinstance(stray.content, Batch)]
    return any(isinstance(one, Batch) and output in outputs_of(one) for one in on_the_wire)


def done(state: State, bounds: Bounds) -> bool:
    """Every input is applied exactly once."""
    return len(state.applied) == bounds.inputs == len(set(state.applied))
