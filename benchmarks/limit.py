"""The hard limit of the transport: our records, with nothing done to them.

It writes the records that a number of transfers cost us, in count and in size, with bare
aiokafka, and reads each once, at the same time and in the same process. No service that keeps
these records in Kafka through aiokafka can be faster in one process. It promises that a figure
is printed only when every record written was read back; its topics are its own, and are deleted
at the end.

    python -m benchmarks.limit --bootstrap HOST:PORT --transfers 100000 --shape shape.json --json

The shape file is a list of records, told by size:

    [{"topic": "accounts", "key_bytes": 16, "value_bytes": 180,
      "headers": [["trace", 55]], "per_transfer": 2.0}]

Records are given the cheapest way aiokafka has: whole batches, made with `create_batch` and sent
with `send_batch`, uncompressed, `acks=all` by an idempotent producer; and read by a consumer with
assigned partitions, which commits nothing and does not check checksums. With `--by-send` each is
given to `send` alone, as aiokafka's own pages do it, which about halves the figure.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

BATCH_BYTES = 128 * 1024
REQUEST_BYTES = 16 * 1024 * 1024
FETCH_BYTES_A_PARTITION = 256 * 1024
STALL_TIMEOUT_S = 60.0
SENT_AT_ONCE = 2_000
# Before the clock is started, so that the broker's code is compiled and its logs are open.
WARM_UP_TRANSFERS = 20_000


class RecordShape(TypedDict):
    """A kind of record: its sizes in bytes, and how many of it a transfer costs."""

    topic: str
    key_bytes: int
    value_bytes: int
    headers: list[tuple[str, int]]
    per_transfer: float


class Limit(TypedDict):
    """What was measured. `bytes` are those of keys, values and headers."""

    limit_transfers_per_s: float
    records: int
    bytes: int


class LimitError(Exception):
    """The records were not all written and read, so there is no figure."""


@dataclass(frozen=True)
class Kind:
    """A kind of record as it is written: the same bytes each time."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    per_transfer: float

    @property
    def size(self) -> int:
        headers = sum(len(name.encode()) + len(value) for name, value in self.headers)
        return len(self.key or b"") + len(self.value) + headers


def kind_of(shape: RecordShape, run: str) -> Kind:
    return Kind(
        topic=f"limit-{run}-{shape['topic']}",
        key=os.urandom(shape["key_bytes"]) if shape["key_bytes"] else None,
        value=os.urandom(shape["value_bytes"]),
        headers=[(name, os.urandom(length)) for name, length in shape["headers"]],
        per_transfer=shape["per_transfer"],
    )


def counts_of(kinds: list[Kind], transfers: int) -> list[tuple[Kind, int]]:
    return [(kind, round(kind.per_transfer * transfers)) for kind in kinds]


def split(count: int, partitions: int) -> list[int]:
    return [count // partitions + (part < count % partitions) for part in range(partitions)]


async def write_partition(
    producer: AIOKafkaProducer, partition: TopicPartition, load: list[tuple[Kind, int]]
) -> None:
    """Write one partition's records. The next batch is made while the last is on its way."""
    sent: asyncio.Future[object] | None = None
    batch = producer.create_batch()
    now_ms = time.time_ns() // 1_000_000

    async def send() -> None:
        nonlocal sent, batch, now_ms
        if batch.record_count() == 0:
            raise LimitError(f"a record of {partition.topic} is larger than {BATCH_BYTES} bytes")
        before, sent = (
            sent,
            await producer.send_batch(batch, partition.topic, partition=partition.partition),
        )
        if before is not None:
            await before
        batch, now_ms = producer.create_batch(), time.time_ns() // 1_000_000

    for kind, count in load:
        left = count
        while left:
            if (
                batch.append(timestamp=now_ms, key=kind.key, value=kind.value, headers=kind.headers)
                is None
            ):
                await send()
            else:
                left -= 1
    if batch.record_count():
        await send()
    if sent is not None:
        await sent


async def send_partition(
    producer: AIOKafkaProducer, partition: TopicPartition, load: list[tuple[Kind, int]]
) -> None:
    """Write one partition's records one by one; the client makes the batches."""
    sent: list[Awaitable[object]] = []
    for kind, count in load:
        for _ in range(count):
            sent.append(
                await producer.send(
                    partition.topic,
                    kind.value,
                    kind.key,
                    partition.partition,
                    headers=kind.headers,
                )
            )
            if len(sent) == SENT_AT_ONCE:
                await asyncio.gather(*sent)
                sent.clear()
    await asyncio.gather(*sent)


async def write(
    producer: AIOKafkaProducer, load: list[tuple[Kind, int]], partitions: int, *, by_send: bool
) -> None:
    write_one = send_partition if by_send else write_partition
    async with asyncio.TaskGroup() as group:
        for topic in dict.fromkeys(kind.topic for kind, _ in load):
            for number in range(partitions):
                part = [
                    (kind, split(count, partitions)[number])
                    for kind, count in load
                    if kind.topic == topic
                ]
                group.create_task(write_one(producer, TopicPartition(topic, number), part))


async def read(consumer: AIOKafkaConsumer, count: int) -> None:
    left = count
    while left > 0:
        records = await consumer.getmany(timeout_ms=int(1_000 * STALL_TIMEOUT_S))
        if not records:
            raise LimitError(f"nothing came for {STALL_TIMEOUT_S:g} s, with {left} to read")
        left -= sum(map(len, records.values()))
    if left < 0:
        raise LimitError(f"{-left} records were read that were not written")


async def pass_through(
    producer: AIOKafkaProducer,
    consumer: AIOKafkaConsumer,
    load: list[tuple[Kind, int]],
    partitions: int,
    *,
    by_send: bool,
) -> float:
    """Write the load and read it at once; return the seconds it took."""
    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(write(producer, load, partitions, by_send=by_send))
        group.create_task(read(consumer, sum(count for _, count in load)))
    return time.perf_counter() - started_s


@asynccontextmanager
async def own_topics(
    bootstrap: str, topics: list[str], partitions: int, replication_factor: int
) -> AsyncIterator[None]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        reply = await admin.create_topics(
            [
                NewTopic(
                    name=topic,
                    num_partitions=partitions,
                    replication_factor=replication_factor,
                )
                for topic in topics
            ]
        )
        for topic, code, *_ in reply.topic_errors:
            if code:
                raise LimitError(f"topic {topic} was not made: {for_code(code).__name__}")
        try:
            yield
        finally:
            await admin.delete_topics(topics)
    finally:
        await admin.close()


async def measure(
    bootstrap: str,
    transfers: int,
    shape: list[RecordShape],
    *,
    partitions: int = 8,
    replication_factor: int = 1,
    rounds: int = 3,
    by_send: bool = False,
) -> Limit:
    """Measure how many transfers' records a second go through Kafka.

    `bootstrap` is "host:port", or several with commas between. Give `partitions` and
    `replication_factor` as the service has them. It is a limit, so of `rounds` alike the fastest
    counts; `records` and `bytes` are those of one round. Raises LimitError if a record is lost or
    the topics can't be made.
    """
    run = uuid.uuid4().hex[:12]
    kinds = [kind_of(record, run) for record in shape]
    load = counts_of(kinds, transfers)
    records = sum(count for _, count in load)
    if not records:
        raise LimitError("the shape and the number of transfers make no record")
    topics = list(dict.fromkeys(kind.topic for kind in kinds))
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        max_request_size=REQUEST_BYTES,
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES_A_PARTITION,
        fetch_max_bytes=REQUEST_BYTES,
        check_crcs=False,
    )
    async with (
        own_topics(bootstrap, topics, partitions, replication_factor),
        started(producer),
        started(consumer),
    ):
        consumer.assign([TopicPartition(t, p) for t in topics for p in range(partitions)])
        warm_up = counts_of(kinds, min(transfers, WARM_UP_TRANSFERS))
        await pass_through(producer, consumer, warm_up, partitions, by_send=by_send)
        elapsed_s = min(
            [
                await pass_through(producer, consumer, load, partitions, by_send=by_send)
                for _ in range(rounds)
            ]
        )
    return {
        "limit_transfers_per_s": round(transfers / elapsed_s, 1),
        "records": records,
        "bytes": sum(kind.size * count for kind, count in load),
    }


@asynccontextmanager
async def started(client: AIOKafkaProducer | AIOKafkaConsumer) -> AsyncIterator[None]:
    await client.start()
    try:
        yield
    finally:
        await client.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit")
    parser.add_argument("--bootstrap", required=True, help="host:port of Kafka")
    parser.add_argument("--transfers", type=int, default=100_000)
    parser.add_argument("--shape", type=Path, required=True, help="JSON file; see the module")
    parser.add_argument("--partitions", type=int, default=8, help="of each topic")
    parser.add_argument("--replication-factor", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts")
    parser.add_argument("--by-send", action="store_true", help="each record alone")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    asked = parser.parse_args()
    # A topic just made has no leader for a moment, and aiokafka logs each try of the warm-up. What
    # does not mend ends in an error of its own.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    shape = msgspec.json.decode(asked.shape.read_bytes(), type=list[RecordShape])
    # As our roles do: it doubles the limit. `makegood.roles.collect_rarely` itself would bring what
    # `journal.kafka_client` does to the client.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    limit = uvloop.run(
        measure(
            asked.bootstrap,
            asked.transfers,
            shape,
            partitions=asked.partitions,
            replication_factor=asked.replication_factor,
            rounds=asked.rounds,
            by_send=asked.by_send,
        )
    )
    if asked.json:
        print(json.dumps(limit))
        return
    for name, value in limit.items():
        print(f"{name:24}{value}")


if __name__ == "__main__":
    main()
