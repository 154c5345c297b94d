"""The reader rule: which records of a journal count.

A record counts if its epoch is the offset of the latest `Opened` before it. Every reader
(processor, projector, audit) applies this one rule, so a deposed writer's late records are
void for everyone and nobody has to agree on anything else.
"""

from journal.log import Record
from journal.records import EPOCH, header, is_opened


class EpochRule:
    """Fed every record of one journal partition, in order.

    `epoch` is the offset of the latest `Opened`; -1 before the first one. A reader that starts in
    the middle must know the epoch in force there. `void` counts what did not count.
    """

    __slots__ = ("_expected", "epoch", "void")

    def __init__(self, epoch: int = -1) -> None:
        self.epoch = epoch
        self.void = 0
        # Before the first `Opened` nothing counts, whatever epoch a record claims.
        self._expected = b"%d" % epoch if epoch >= 0 else None

    def admits(self, record: Record) -> bool:
        """Whether the record counts. An `Opened` always counts and begins its epoch."""
        headers = record.headers
        # The writer puts the epoch first; the slow path serves foreign writers.
        if headers and headers[0][0] == EPOCH:
            if self._expected is not None and headers[0][1] == self._expected:
                return True
        elif is_opened(headers):
            self.epoch = record.offset
            self._expected = b"%d" % record.offset
            return True
        elif self._expected is not None and header(headers, EPOCH) == self._expected:
            return True
        self.void += 1
        return False
