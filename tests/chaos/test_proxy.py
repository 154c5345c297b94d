"""The proxy in front of a real broker: what its disturbances do to a real client."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from chaos.proxy import Api, Disturbance, Harm, Proxy
from devstack.kafka import Kafka
from journal.kafka_log import REQUEST_MS, KafkaAddress, KafkaLog
from journal.log import Entry, LogError, Place, Record, TopicSpec

PLACE = Place("t", 0)


class Gated(NamedTuple):
    """A broker that clients reach through the proxy only, and a log on it."""

    proxy: Proxy
    kafka: Kafka
    log: KafkaLog


@pytest.fixture(scope="module")
async def gated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gated]:
    async with Proxy() as proxy:
        kafka = Kafka(tmp_path_factory.mktemp("gated"), gates=[proxy.port])
        await kafka.start()
        proxy.broker_port = kafka.brokers[0].gated_port
        log = KafkaLog(KafkaAddress(bootstrap=kafka.bootstrap))
        try:
            await log.connect(30)
            await log.create([TopicSpec("t", 1)])
            yield Gated(proxy, kafka, log)
        finally:
            await log.close()
            await kafka.stop()


async def append(log: KafkaLog, value: bytes) -> int:
    writer = log.writer()
    try:
        return await writer.append(PLACE, [Entry(b"k", value)])
    finally:
        await writer.close()


async def values(log: KafkaLog) -> list[bytes | None]:
    _, end = await log.bounds(PLACE)
    reader, found = log.reader({PLACE: 0}), list[Record]()
    try:
        while len(found) < end:
            found += (await reader.read(1000, 1000)).get(PLACE, ())
    finally:
        await reader.close()
    return [record.value for record in found]


async def until_struck(disturbance: Disturbance) -> None:
    async with asyncio.timeout(10):
        while not disturbance.hits:
            await asyncio.sleep(0.01)


@pytest.mark.stack
async def test_clients_are_told_the_proxy_and_reach_the_broker_through_it(gated: Gated) -> None:
    assert gated.kafka.bootstrap == f"127.0.0.1:{gated.proxy.port}"
    watched = Disturbance(Harm.DELAY, [Api.PRODUCE], delay_s=0)
    with gated.proxy.disturbed(watched):
        await append(gated.log, b"through")
    assert watched.hits == {Api.PRODUCE: 1}
    assert b"through" in await values(gated.log)


@pytest.mark.stack
async def test_only_the_chosen_requests_are_delayed(gated: Gated) -> None:
    with gated.proxy.disturbed(Disturbance(Harm.DELAY, [Api.PRODUCE], delay_s=0.7)):
        began = time.monotonic()
        await gated.log.bounds(PLACE)
        untouched_s = time.monotonic() - began
        await append(gated.log, b"late")
    assert time.monotonic() - began - untouched_s > 0.7
    assert untouched_s < 0.7


@pytest.mark.stack
async def test_a_request_that_is_cut_never_reaches_the_broker(gated: Gated) -> None:
    cut = Disturbance(Harm.CUT, [Api.PRODUCE])
    with gated.proxy.disturbed(cut):
        waiting = asyncio.create_task(append(gated.log, b"cut"))
        await until_struck(cut)
        assert b"cut" not in await values(gated.log)
    # The client tries again, and then it gets there.
    await waiting
    assert (await values(gated.log)).count(b"cut") == 1


@pytest.mark.stack
@pytest.mark.parametrize("harm", [Harm.LOSE_ANSWER, Harm.MUTE])
async def test_a_request_whose_answer_is_lost_was_carried_out_once(
    gated: Gated, harm: Harm
) -> None:
    value = harm.encode()
    lost = Disturbance(harm, [Api.PRODUCE])
    with gated.proxy.disturbed(lost):
        waiting = asyncio.create_task(append(gated.log, value))
        await until_struck(lost)
        written = await values(gated.log)
        assert value in written
        assert not waiting.done()
    # The broker knows the repetition by its number and tells the first one's offset.
    assert await waiting == written.index(value)
    assert (await values(gated.log)).count(value) == 1


@pytest.mark.stack
async def test_a_broker_that_has_gone_silent_is_given_up_within_seconds(gated: Gated) -> None:
    await gated.log.bounds(PLACE)
    began = time.monotonic()
    mute = Disturbance(Harm.MUTE, [Api.LIST_OFFSETS])
    with gated.proxy.disturbed(mute), pytest.raises(LogError):
        await gated.log.bounds(PLACE)
    assert time.monotonic() - began < 3 * REQUEST_MS / 1000
    assert (await gated.log.bounds(PLACE))[0] == 0


@pytest.mark.stack
async def test_a_question_is_asked_again_when_its_connection_is_cut(gated: Gated) -> None:
    cut = Disturbance(Harm.CUT, [Api.METADATA])
    with gated.proxy.disturbed(cut):
        waiting = asyncio.create_task(gated.log.partitions("t"))
        await until_struck(cut)
    assert await waiting == 1


@pytest.mark.stack
async def test_who_does_not_speak_kafka_is_cut_off_and_harms_nobody(gated: Gated) -> None:
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff" * 4, b"\0\0\0\1\0"):
        reader, writer = await asyncio.open_connection("127.0.0.1", gated.proxy.port)
        writer.write(nonsense)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()
    await append(gated.log, b"unharmed")


async def test_a_broker_that_is_away_refuses_through_the_proxy_too() -> None:
    async with Proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()
