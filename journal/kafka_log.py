# aiokafka has no types: what comes out of it is pinned down by casts and annotations here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateUsage=false
"""The log port on Kafka, by aiokafka. It holds the work-rounds for the client's faults.

Writers are idempotent producers with acks=all that live as long as nothing is in doubt; readers
are consumers without a group, manually assigned: group offsets never decide what is processed.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, cast

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    IllegalStateError,
    InvalidTimestampError,
    KafkaError,
    OffsetOutOfRangeError,
    for_code,
)
from aiokafka.structs import TopicPartition

from journal.kafka_client import METADATA_MS, as_read, stay_current
from journal.log import (
    AppendInDoubt,
    BatchTooLarge,
    Entry,
    LogError,
    LogUnreachable,
    Place,
    PositionLost,
    Reader,
    Record,
    RecordUnreadable,
    TopicSpec,
    Writer,
)
from journal.topics import MAX_BATCH_BYTES

T = TypeVar("T")

log_event = structlog.get_logger("journal.kafka")

REQUEST_MS: Final = 3_000
"""A broker that is silent for so long is taken for hung: the connection is given up and the leader
looked up anew. Clients ask one broker after the other, so a hung one costs this several times."""
_START_S: Final = 15.0
_APPEND_S: Final = 15.0
_STOP_S: Final = 5.0
_STALE_S: Final = 5.0
"""After this a broker that was frozen knows that it is no leader any more, and so do clients."""
_TOPIC_EXISTS: Final = 36
_RETRY_PAUSE_S: Final = 0.5


class KafkaAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where Kafka is and how to get in. `prefix` goes before every topic name.

    `replication` applies to topics that are created; 0: 3, or the number of brokers if smaller.
    Topics with 3 replicas or more demand 2 in sync, so that no acknowledged record is on one disk.
    """

    bootstrap: str
    prefix: str = ""
    client_id: str = "makegood"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str | None = None
    password: str | None = None
    replication: int = 0

    def client_options(self, request_ms: int = REQUEST_MS) -> dict[str, Any]:
        tls = self.security_protocol in ("SSL", "SASL_SSL")
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "request_timeout_ms": request_ms,
            "metadata_max_age_ms": METADATA_MS,
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "ssl_context": ssl.create_default_context() if tls else None,
        }


class KafkaLog:
    """`connect` first; `close` at the end."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._admin: AIOKafkaAdminClient | None = None
        self._offsets: AIOKafkaConsumer | None = None
        self._offsets_starting = asyncio.Lock()

    async def connect(self, timeout_s: float = 60.0) -> None:
        """Wait until a broker answers, at most `timeout_s`. Raises LogUnreachable."""
        deadline = time.monotonic() + timeout_s
        said = False
        while True:
            admin = AIOKafkaAdminClient(**self._address.client_options())
            stay_current(admin._client)
            try:
                await _within(admin.start(), _START_S)
            except asyncio.CancelledError:
                await stop_client(admin)
                raise
            except (KafkaError, OSError, TimeoutError) as error:
                await stop_client(admin)
                if time.monotonic() >= deadline:
                    raise LogUnreachable(self._address.bootstrap, timeout_s, str(error)) from error
                if not said:
                    said = True
                    log_event.warning(
                        "waiting_for_kafka",
                        bootstrap=self._address.bootstrap,
                        at_most_s=timeout_s,
                    )
                await asyncio.sleep(_RETRY_PAUSE_S)
                continue
            self._admin = admin
            return

    async def close(self) -> None:
        if self._offsets is not None:
            await stop_client(self._offsets)
        if self._admin is not None:
            await stop_client(self._admin)

    def physical(self, topic: str) -> str:
        return self._address.prefix + topic

    async def partitions(self, topic: str) -> int:
        found = await self._ask("describe_topics", [self.physical(topic)])
        return len(found[0]["partitions"]) if found and found[0]["error_code"] == 0 else 0

    async def create(self, topics: Sequence[TopicSpec]) -> None:
        replication = self._address.replication
        if replication == 0:
            cluster = await self._ask("describe_cluster")
            replication = min(3, len(cluster["brokers"]))
        insync = {"min.insync.replicas": "2"} if replication >= 3 else {}
        wanted = [
            NewTopic(
                self.physical(spec.name),
                spec.partitions,
                replication,
                topic_configs={**spec.config, **insync},
            )
            for spec in topics
        ]
        answer = await self._ask("create_topics", wanted)
        for topic, code, message in answer.topic_errors:
            if code not in (0, _TOPIC_EXISTS):
                raise LogError(f"topic {topic} was not created: {message or for_code(code)}")
        for spec in topics:
            await self._await_topic(spec.name)

    async def _await_topic(self, topic: str) -> None:
        # Metadata spreads after the creation is confirmed.
        deadline = time.monotonic() + _START_S
        while await self.partitions(topic) == 0:
            if time.monotonic() > deadline:
                raise LogError(f"topic {topic} was created but is not in the metadata")
            await asyncio.sleep(0.05)

    async def _ask(self, method: str, *arguments: Any) -> Any:
        if self._admin is None:
            raise LogError("not connected: call connect() first")
        failure: Exception = TimeoutError()
        try:
            async with asyncio.timeout(_START_S):
                # What is asked here may be asked twice; a broker that has just died is met once.
                while True:
                    try:
                        return await getattr(self._admin, method)(*arguments)
                    except KafkaError as error:
                        failure = error
                        if not error.retriable:
                            break
                    await asyncio.sleep(_RETRY_PAUSE_S)
        except (OSError, TimeoutError) as error:
            failure = failure if isinstance(failure, KafkaError) else error
        raise LogError(f"Kafka refused {method}: {failure!r}") from failure

    async def bounds(self, place: Place) -> tuple[int, int]:
        consumer: AIOKafkaConsumer | None = None
        try:
            async with self._offsets_starting:
                if self._offsets is None:
                    self._offsets = await self._start_offsets()
                consumer = self._offsets
            at = TopicPartition(self.physical(place.topic), place.partition)
            first = await _within(consumer.beginning_offsets([at]), _START_S)
            end = await _within(consumer.end_offsets([at]), _START_S)
        except (KafkaError, OSError, TimeoutError) as error:
            if consumer is not None and self._offsets is consumer:
                # It may ask the same silent broker again and again.
                self._offsets = None
                await stop_client(consumer)
            raise LogError(f"the bounds of {place} are not to be had: {error!r}") from error
        return first[at], end[at]

    async def is_alone(self, place: Place) -> bool:
        found = await self._ask("describe_topics", [self.physical(place.topic)])
        for partition in found[0]["partitions"] if found else ():
            if partition["partition"] == place.partition:
                return len(partition["isr"]) <= 1 < len(partition["replicas"])
        return False

    async def _start_offsets(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(**self._address.client_options(), group_id=None)
        stay_current(consumer._client)
        try:
            await _within(consumer.start(), _START_S)
        except BaseException:
            await stop_client(consumer)
            raise
        return consumer

    def writer(self) -> Writer:
        return KafkaWriter(self._address)

    def reader(self, starts: Mapping[Place, int]) -> Reader:
        return KafkaReader(self._address, starts)


class KafkaWriter:
    """One idempotent producer; started at the first append."""

    max_batch_bytes = MAX_BATCH_BYTES

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._producer: AIOKafkaProducer | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self._spent = False

    async def append(self, place: Place, entries: Sequence[Entry]) -> int:
        if self._spent:
            raise AppendInDoubt(place, "this writer was given up")
        try:
            producer = self._producer or await self._start()
            batch = producer.create_batch()
            fits = _fill(batch, entries)
            # The client takes a first record of any size; the broker would refuse it.
            if not fits or batch.size() > self.max_batch_bytes:
                raise BatchTooLarge(place, len(entries), self.max_batch_bytes)
            batch.close()
            topic = self._address.prefix + place.topic
            async with asyncio.timeout(_APPEND_S):
                future = await producer.send_batch(batch, topic, partition=place.partition)
                acknowledged = await future
        except InvalidTimestampError as error:
            self._spent = True
            raise AppendInDoubt(
                place,
                "the brokers refuse its time, which is ahead of their clocks: set this machine's "
                "clock right and start the process again; see 'Clocks apart' in docs/operations.md",
            ) from error
        except (KafkaError, OSError, TimeoutError, AssertionError, IllegalStateError) as error:
            # AssertionError: a connection lost inside the client's coordinator lookup.
            self._spent = True
            raise AppendInDoubt(place, repr(error)) from error
        offset = cast("int", acknowledged.offset)
        if offset < 0:
            self._spent = True
            raise AppendInDoubt(place, "the broker dropped it as a repetition, offset unknown")
        return offset

    async def _start(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._address.client_options(),
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_batch_size=self.max_batch_bytes,
                    max_request_size=self.max_batch_bytes + 64 * 1024,
                    retry_backoff_ms=20,
                )
                stay_current(producer.client)
                try:
                    await _within(producer.start(), _START_S)
                except BaseException:
                    await stop_client(producer)
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        self._spent = True
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await stop_client(producer)


def _fill(batch: Any, entries: Sequence[Entry]) -> bool:
    """Whether all entries fit into the client's batch. They go past its own `append`, which only
    passes them on and counts them, and takes a third of the time for that."""
    append = batch._builder.append
    for number, entry in enumerate(entries):
        if (
            append(
                number,
                entry.timestamp_ms,
                key=entry.key,
                value=entry.value,
                headers=[*entry.headers],
            )
            is None
        ):
            return False
    batch._relative_offset = len(entries)
    return True


class KafkaReader:
    """One consumer, manually assigned; (re)started as needed."""

    def __init__(self, address: KafkaAddress, starts: Mapping[Place, int]) -> None:
        self._address = address
        self._positions = dict(starts)
        self._places = {
            TopicPartition(address.prefix + place.topic, place.partition): place for place in starts
        }
        self._consumer: AIOKafkaConsumer | None = None

    async def read(self, max_records: int, wait_ms: int) -> Mapping[Place, Sequence[Record]]:
        try:
            consumer = self._consumer or await self._start()
            try:
                found = await consumer.getmany(timeout_ms=wait_ms, max_records=max_records)
            except OffsetOutOfRangeError as error:
                for at, position in cast("dict[TopicPartition, int]", error.args[0]).items():
                    await self._doubt(consumer, at, position)
                return {}
        except UnicodeDecodeError as error:
            # What came before it in the batch is lost to this consumer; nobody has seen it yet.
            await self._drop()
            where = ", ".join(str(place) for place in self._positions)
            raise RecordUnreadable(where, min(self._positions.values()), str(error)) from error
        except (KafkaError, OSError, TimeoutError) as error:
            log_event.warning("read_failed", cause=repr(error))
            await self._drop()
            await asyncio.sleep(_RETRY_PAUSE_S)
            return {}
        places = self._places
        answer: dict[Place, Sequence[Record]] = {}
        for at, records in found.items():
            place = places[at]
            self._positions[place] = records[-1].offset + 1
            answer[place] = records
        return answer

    async def _doubt(self, consumer: AIOKafkaConsumer, at: TopicPartition, position: int) -> None:
        """A broker says that `position` is out of range. Raises PositionLost if that lasts: one
        that was frozen takes itself for the leader still, and lacks what its successor has."""
        deadline = time.monotonic() + _STALE_S
        while True:
            first = cast("int", (await _within(consumer.beginning_offsets([at]), _START_S))[at])
            end = cast("int", (await _within(consumer.end_offsets([at]), _START_S))[at])
            if position < first or (position > end and time.monotonic() > deadline):
                raise PositionLost(self._places[at], position, first, end)
            await asyncio.sleep(_RETRY_PAUSE_S)
            if position <= end:
                return

    async def _start(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._address.client_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            check_crcs=False,
            key_deserializer=as_read,
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=4 * 1024 * 1024,
            retry_backoff_ms=50,
        )
        stay_current(consumer._client)
        try:
            await _within(consumer.start(), _START_S)
        except BaseException:
            await stop_client(consumer)
            raise
        consumer.assign(list(self._places))
        for at, place in self._places.items():
            consumer.seek(at, self._positions[place])
        self._consumer = consumer
        return consumer

    async def _drop(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await stop_client(consumer)

    async def close(self) -> None:
        await self._drop()


async def _within(awaited: Awaitable[T], timeout_s: float) -> T:
    """Not `asyncio.wait_for`: before Python 3.12 it can swallow a cancellation that comes
    together with the result, and a processor that was told to stop would go on."""
    async with asyncio.timeout(timeout_s):
        return await awaited


async def stop_client(
    client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient, timeout_s: float = _STOP_S
) -> None:
    """Stop a client that might hang or fail. The client's own stop ends at the first of its parts
    that does not; what is left would go on without an owner, over connections that stay open."""
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    if not await _ends(stop(), timeout_s):
        await _cut_off(client)


async def _cut_off(client: Any) -> None:
    coordinator = getattr(client, "_coordinator", None)
    if coordinator is not None:
        await _ends(coordinator._stop_heartbeat_task())
        await _ends(coordinator._stop_commit_offsets_refresh_task())
    for name in ("_fetcher", "_sender", "_client", "client"):
        part = getattr(client, name, None)
        if part is not None:
            await _ends(part.close())


async def _ends(stopping: Awaitable[None], timeout_s: float = _STOP_S) -> bool:
    """Whether it ended well, and in time."""
    try:
        await _within(stopping, timeout_s)
    except (KafkaError, OSError, TimeoutError) as error:
        log_event.info("client_stop_failed", cause=repr(error))
        return False
    return True
