"""Reads the dead-letter topic a few records at a time; writes to the inputs what is requeued."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from journal.kafka_log import KafkaLog
from journal.log import LogError, Place
from journal.records import RecordRejected
from journal.topics import DEAD_LETTERS
from makegood.deadletters import INPUTS, Facts, Position, Requeue, position_in
from makegood.settings import Settings
from messages.wire import Codec, Undecodable

_READ_RECORDS: Final = 100
_STALLED_S: Final = 30.0
_DAY_MS: Final = 24 * 3600 * 1000
_PLACE: Final = Place(DEAD_LETTERS, 0)
_LETTERS: Final[Codec[RecordRejected]] = Codec(RecordRejected)

Letters = AsyncGenerator[tuple[RecordRejected, int], None]
"""Dead letters in order, each with the time of its copy (ms since 1970)."""


class DeadLettersAway(LogError):
    """The dead letters are not to be had; the text says why."""


class RequeueInDoubt(LogError):
    """Kafka did not say whether it took the record of `position`."""

    def __init__(self, position: Position, cause: str) -> None:
        super().__init__(
            f"{position} may or may not have been requeued, and those after it were not: {cause}. "
            "Requeue them again: that is safe."
        )
        self.position = position


@asynccontextmanager
async def dead_letters(
    settings: Settings, warn: Callable[[str], None]
) -> AsyncGenerator[Letters, None]:
    """All that are there now; `warn` is told of records that are none.

    Raises DeadLettersAway, LogError.
    """
    async with _connected(settings) as log:
        if not await log.partitions(DEAD_LETTERS):
            raise DeadLettersAway(
                f"there is no topic {log.physical(DEAD_LETTERS)}: start the bank once (makegood "
                "up), or check MAKEGOOD_KAFKA_BOOTSTRAP and MAKEGOOD_TOPIC_PREFIX"
            )
        async with aclosing(_read(log, warn)) as letters:
            yield letters


async def _read(log: KafkaLog, warn: Callable[[str], None]) -> Letters:
    position, end = await log.bounds(_PLACE)
    reader = log.reader({_PLACE: position})
    last_news = time.monotonic()
    try:
        while position < end:
            records = (await reader.read(_READ_RECORDS, 1_000)).get(_PLACE, ())
            for record in records:
                position = record.offset + 1
                try:
                    letter = _LETTERS.decode(record.value)
                except Undecodable as error:
                    warn(f"{_PLACE}@{record.offset} is no dead letter: {error.reason[:200]!r}")
                    continue
                yield letter, record.timestamp
            if records:
                last_news = time.monotonic()
            elif time.monotonic() - last_news > _STALLED_S:
                raise DeadLettersAway(
                    f"no record came for {_STALLED_S:.0f} s, though {_PLACE} goes on to offset "
                    f"{end - 1}; check that Kafka runs, then try again"
                )
    finally:
        await reader.close()


async def find(
    settings: Settings, wanted: Iterable[Position], warn: Callable[[str], None]
) -> dict[Position, list[RecordRejected]]:
    """What was rejected at each position: two different records if the input was made anew.

    Raises DeadLettersAway, LogError.
    """
    found: dict[Position, list[RecordRejected]] = {position: [] for position in wanted}
    async with dead_letters(settings, warn) as letters:
        async for letter, _ in letters:
            there = found.get(position_in(letter))
            if there is not None and letter not in there and len(there) < 2:
                there.append(letter)
    return found


async def facts(settings: Settings) -> Facts:
    """Raises LogError."""
    async with _connected(settings) as log:
        return Facts(
            partitions={topic: await log.partitions(topic) for topic in INPUTS},
            now_ms=time.time_ns() // 1_000_000,
            effect_horizon_ms=round(settings.effect_horizon_days * _DAY_MS),
            saga_memory_ms=round(settings.saga_memory_days * _DAY_MS),
        )


async def write(
    settings: Settings, writes: Iterable[Requeue], written: Callable[[Requeue, int], None]
) -> None:
    """Write them one by one; `written` is told of each and its offset.

    Raises RequeueInDoubt: those after it were not written. LogError: none was.
    """
    async with _connected(settings) as log:
        writer = log.writer()
        try:
            for step in writes:
                try:
                    offset = await writer.append(step.place, [step.entry])
                except LogError as error:
                    raise RequeueInDoubt(step.position, str(error)) from error
                written(step, offset)
        finally:
            await writer.close()


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncGenerator[KafkaLog, None]:
    log = KafkaLog(settings.kafka("deadletter"))
    await log.connect(settings.start_timeout_s)
    try:
        yield log
    finally:
        await log.close()
