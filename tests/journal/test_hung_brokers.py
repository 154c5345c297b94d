"""A broker that hangs keeps its connections and says nothing; one that was frozen and goes on takes
itself for the leader still."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import aiokafka.client
import pytest
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.structs import TopicPartition

from journal import kafka_client, kafka_log
from journal.kafka_client import stay_current
from journal.kafka_log import KafkaAddress, KafkaLog, KafkaReader
from journal.log import Place, PositionLost

HERE = Place("things", 0)
AT = TopicPartition("things", 0)


def cluster_of(*nodes: int) -> Any:
    brokers = [(node, "127.0.0.1", 9000 + node, None) for node in nodes]
    return MetadataResponse_v1(brokers, nodes[0], [])


class Connection:
    """To a broker that says which brokers there are, or hangs when there are none."""

    def __init__(self, *nodes: int) -> None:
        self._nodes = nodes
        self.closed = False

    def connected(self) -> bool:
        return not self.closed

    def close(self, reason: Any = None) -> None:
        self.closed = True

    async def send(self, _: Any) -> Any:
        if not self._nodes:
            await asyncio.Event().wait()
        return cluster_of(*self._nodes)


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AIOKafkaClient:
    """Of a cluster that had the brokers 1 and 2."""
    monkeypatch.setattr(kafka_client, "_ASKED_S", (0.01, 10.0))
    monkeypatch.setattr(kafka_client, "_CONNECT_S", 0.01)
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:9001")
    stay_current(client)
    client.cluster.update_metadata(cluster_of(1, 2))
    return client


@pytest.mark.timeout(10)
async def test_who_leads_is_asked_of_another_broker_when_one_hangs(
    client: AIOKafkaClient, monkeypatch: pytest.MonkeyPatch
):
    client._conns = {
        (1, ConnectionGroup.DEFAULT): Connection(),
        (2, ConnectionGroup.DEFAULT): Connection(2),
    }
    orders: Iterator[list[int]] = iter(([1, 2], [2, 1]))

    def shuffle(nodes: list[int]) -> None:
        nodes[:] = next(orders)

    monkeypatch.setattr(random, "shuffle", shuffle)
    assert await client._metadata_update(client.cluster, set())
    assert {broker.nodeId for broker in client.cluster.brokers()} == {2}


async def test_a_connection_to_a_broker_that_the_cluster_has_given_up_is_given_up(
    client: AIOKafkaClient,
):
    hung, other = Connection(), Connection(2)
    client._conns = {
        (1, ConnectionGroup.COORDINATION): hung,
        (2, ConnectionGroup.DEFAULT): other,
        ("bootstrap", ConnectionGroup.DEFAULT): (bootstrap := Connection(2)),
    }
    client.cluster.update_metadata(cluster_of(1, 2))
    assert not hung.closed
    client.cluster.update_metadata(cluster_of(2))
    assert (hung.closed, other.closed, bootstrap.closed) == (True, False, False)


@pytest.mark.timeout(10)
async def test_a_broker_that_hangs_does_not_hold_up_connections_to_others(
    client: AIOKafkaClient, monkeypatch: pytest.MonkeyPatch
):
    async def connect(_: str, port: int, **__: Any) -> Connection:
        if port == 9001:
            await asyncio.Event().wait()
        return Connection(2)

    monkeypatch.setattr(aiokafka.client, "create_conn", connect)
    assert await asyncio.gather(client.ready(1), client.ready(2)) == [False, True]


@pytest.mark.parametrize(("in_sync", "alone"), [([2], True), ([2, 3], False)])
async def test_a_leader_is_alone_when_no_other_replica_is_in_sync(
    in_sync: list[int], alone: bool, monkeypatch: pytest.MonkeyPatch
):
    log = KafkaLog(KafkaAddress(bootstrap="nowhere:1"))
    others = {"partition": 1, "replicas": [1, 2, 3], "isr": [1]}
    asked = {"partition": 0, "replicas": [1, 2, 3], "isr": in_sync}

    async def ask(method: str, topics: list[str]) -> Any:
        assert (method, topics) == ("describe_topics", ["things"])
        return [{"partitions": [others, asked]}]

    monkeypatch.setattr(log, "_ask", ask)
    assert await log.is_alone(HERE) == alone


class Consumer:
    """Of a partition whose broker says once that position 6 is out of range. `ends`: what it says
    is the end, each time it is asked; the last one for good."""

    def __init__(self, first: int, *ends: int) -> None:
        self._first = first
        self._ends = list(ends)
        self._refused = False

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        if self._refused:
            return {}
        self._refused = True
        raise OffsetOutOfRangeError({AT: 6})

    async def beginning_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {AT: self._first}

    async def end_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {AT: self._ends.pop(0) if len(self._ends) > 1 else self._ends[0]}


def reader_of(consumer: Consumer, stale_s: float, monkeypatch: pytest.MonkeyPatch) -> KafkaReader:
    monkeypatch.setattr(kafka_log, "_RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(kafka_log, "_STALE_S", stale_s)
    reader = KafkaReader(KafkaAddress(bootstrap="nowhere:1"), {HERE: 6})
    reader._consumer = consumer
    return reader


async def test_a_position_is_not_lost_because_a_former_leader_does_not_know_it(
    monkeypatch: pytest.MonkeyPatch,
):
    reader = reader_of(Consumer(0, 5, 5, 7), 60.0, monkeypatch)
    assert await reader.read(10, 100) == {}
    assert await reader.read(10, 100) == {}


@pytest.mark.parametrize(("first", "stale_s"), [(7, 60.0), (0, 0.0)], ids=["deleted", "cut off"])
async def test_a_position_is_lost_when_its_records_are_deleted_or_stay_away(
    first: int, stale_s: float, monkeypatch: pytest.MonkeyPatch
):
    reader = reader_of(Consumer(first, 5), stale_s, monkeypatch)
    with pytest.raises(PositionLost, match="offset 6 is needed next"):
        await reader.read(10, 100)
