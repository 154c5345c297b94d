"""The reader rule, and what a reader folds from a journal."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from model.state import OPENED, VOID, Batch, Output, Record, Rules


class Folded(NamedTuple):
    """What a journal says. `confirmed` is how many of the outputs are known to have landed."""

    input_next: int
    outputs: tuple[Output, ...]
    confirmed: int


def epoch_in_force(journal: Sequence[Record]) -> int:
    """The offset of the latest `Opened`; -1 if there is none."""
    for offset in range(len(journal) - 1, -1, -1):
        if journal[offset] == OPENED:
            return offset
    return -1


def valid(journal: Sequence[Record], rules: Rules) -> Iterator[Batch]:
    """The batches that count, in order."""
    epoch = -1
    for offset, record in enumerate(journal):
        if record == OPENED:
            epoch = offset
        elif isinstance(record, Batch) and (record.epoch == epoch or not rules.epoch_rule):
            yield record


def appended(journal: tuple[Record, ...], record: Record, rules: Rules) -> tuple[Record, ...]:
    """The journal with one more record. What does not count is kept as `VOID`."""
    if isinstance(record, Batch) and rules.epoch_rule and record.epoch != epoch_in_force(journal):
        return (*journal, VOID)
    return (*journal, record)


def fold(journal: Sequence[Record], rules: Rules) -> Folded:
    input_next, confirmed = 0, 0
    outputs: list[Output] = []
    for batch in valid(journal, rules):
        input_next = batch.inputs[-1] + 1
        confirmed = max(confirmed, batch.confirmed)
        outputs += outputs_of(batch)
    return Folded(input_next, tuple(outputs), confirmed)


def outputs_of(batch: Batch) -> list[Output]:
    return [Output(each, batch.epoch) for each in batch.inputs]
