"""The development stack: real processes, started and ended for real."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devstack import download, ports
from devstack.errors import (
    ChildFailed,
    DataDirectoryInUse,
    DataDirectoryMismatch,
    NotOurs,
    NotStarted,
    StartTimeout,
)
from devstack.postgres import remove_stale_lock
from devstack.processes import Child, end_left_over
from devstack.stack import DATABASE_VARIABLE, KAFKA_VARIABLE, Stack, with_asyncpg

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def no_addresses_given() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(KAFKA_VARIABLE, raising=False)
        patch.delenv(DATABASE_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack") / "data") as running:
        yield running


async def make_topic(bootstrap: str, name: str, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, replicas)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def first_record(bootstrap: str, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), timeout=10)
    finally:
        await consumer.stop()
    return record.value


async def query(database_url: str, sql: str) -> object:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- both services ------------------------------------------------------------------------------


@pytest.mark.stack
async def test_kafka_keeps_a_record_and_postgresql_answers(stack: Stack) -> None:
    await make_topic(stack.bootstrap, "serves")
    await produce(stack.bootstrap, "serves", b"a record")
    assert await first_record(stack.bootstrap, "serves") == b"a record"
    assert await query(stack.database_url, "SELECT 1") == 1


@pytest.mark.stack
async def test_a_second_stack_on_the_same_data_is_refused(stack: Stack) -> None:
    with pytest.raises(DataDirectoryInUse) as refused:
        await Stack(stack.data_dir).start()
    assert refused.value.holder_pid == os.getpid()
    assert str(stack.data_dir) in str(refused.value)
    assert stack.kafka.brokers[0].running and stack.postgres.running


@pytest.mark.stack
async def test_a_killed_broker_and_a_killed_database_come_back_with_their_data(
    stack: Stack,
) -> None:
    await make_topic(stack.bootstrap, "crash")
    await produce(stack.bootstrap, "crash", b"acknowledged")
    await query(stack.database_url, "CREATE TABLE crash AS SELECT 7 AS n")
    await query(stack.database_url, "CHECKPOINT")
    broker, bootstrap, url = stack.kafka.brokers[0], stack.bootstrap, stack.database_url

    await asyncio.gather(broker.kill(), stack.postgres.kill())
    assert not broker.running and not stack.postgres.running
    await asyncio.gather(broker.start(), stack.postgres.start())

    assert (stack.bootstrap, stack.database_url) == (bootstrap, url)
    assert await first_record(stack.bootstrap, "crash") == b"acknowledged"
    assert await query(stack.database_url, "SELECT n FROM crash") == 7


@pytest.mark.stack
async def test_a_suspended_broker_answers_nothing_until_it_is_resumed(stack: Stack) -> None:
    await make_topic(stack.bootstrap, "frozen")
    stack.kafka.brokers[0].suspend()
    try:
        waiting = asyncio.ensure_future(produce(stack.bootstrap, "frozen", b"late"))
        finished, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not finished
    finally:
        stack.kafka.brokers[0].resume()
    await asyncio.wait_for(waiting, timeout=20)
    assert await first_record(stack.bootstrap, "frozen") == b"late"


@pytest.mark.stack
async def test_a_restart_keeps_the_data_also_when_the_ports_were_taken(tmp_path: Path) -> None:
    async with Stack(tmp_path) as before:
        await make_topic(before.bootstrap, "kept")
        await produce(before.bootstrap, "kept", b"kept record")
        await query(before.database_url, "CREATE TABLE kept AS SELECT 42 AS n")
        old_ports = [before.kafka.brokers[0].port, before.postgres.port]

    squatters = [await asyncio.start_server(lambda *_: None, "127.0.0.1", p) for p in old_ports]
    try:
        async with Stack(tmp_path) as after:
            assert not {after.kafka.brokers[0].port, after.postgres.port} & set(old_ports)
            assert await first_record(after.bootstrap, "kept") == b"kept record"
            assert await query(after.database_url, "SELECT n FROM kept") == 42
    finally:
        for squatter in squatters:
            squatter.close()


@pytest.mark.stack
async def test_three_brokers_go_on_when_one_is_killed(tmp_path: Path) -> None:
    stack = Stack(tmp_path, brokers=3, kafka_heap="256m")
    async with stack:
        await make_topic(stack.bootstrap, "replicated", replicas=3)
        await stack.kafka.brokers[2].kill()
        await asyncio.wait_for(produce(stack.bootstrap, "replicated", b"two are enough"), 30)
        assert await first_record(stack.bootstrap, "replicated") == b"two are enough"
        await stack.kafka.brokers[2].start()
    with pytest.raises(DataDirectoryMismatch, match="3 broker"):
        await Stack(tmp_path, brokers=1).start()


# --- nothing is left behind ---------------------------------------------------------------------


async def start_devstack(data_dir: Path) -> tuple[asyncio.subprocess.Process, list[int]]:
    """`python -m devstack` as a process of its own, and the pids of all that it started."""
    command = [sys.executable, "-m", "devstack", "--data-dir", str(data_dir)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=PROJECT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    lines = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(2)]
    assert lines[0].startswith(f"{KAFKA_VARIABLE}=127.0.0.1:".encode())
    assert lines[1].startswith(f"{DATABASE_VARIABLE}=postgresql+asyncpg://".encode())
    return process, [c.pid for c in psutil.Process(process.pid).children(recursive=True)]


@pytest.mark.stack
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        signal.SIGTERM,
        pytest.param(
            signal.SIGKILL,
            marks=pytest.mark.skipif(
                not sys.platform.startswith("linux"), reason="the kernel's help is Linux's only"
            ),
        ),
    ],
)
async def test_the_end_of_the_parent_ends_every_child(tmp_path: Path, how: signal.Signals) -> None:
    process, children = await start_devstack(tmp_path)
    assert len(children) > 2  # Kafka, PostgreSQL and its workers
    process.send_signal(how)
    code = await asyncio.wait_for(process.wait(), 20)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 0)
    await until(lambda: not any(alive(pid) for pid in children))


async def test_a_child_left_over_by_an_earlier_start_is_ended(tmp_path: Path) -> None:
    child = Child("sleeper", tmp_path)
    child.spawn(["/bin/sleep", "600"])
    await end_left_over(tmp_path / "sleeper.pid")
    assert not alive(child.pid)
    await child.kill()


async def test_a_process_that_only_has_the_same_number_is_left_alone(tmp_path: Path) -> None:
    child = Child("sleeper", tmp_path)
    child.spawn(["/bin/sleep", "600"])
    (tmp_path / "other.pid").write_text(f'{{"pid": {child.pid}, "created": 1.0}}')
    await end_left_over(tmp_path / "other.pid")
    assert child.running
    await child.kill()


async def test_a_child_that_ends_too_soon_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = Child("talker", tmp_path)
    child.spawn(["/bin/sh", "-c", "echo no such luck; exit 3"])

    async def never() -> bool:
        return False

    with pytest.raises(ChildFailed, match="no such luck") as failed:
        await child.until(never, timeout_s=10)
    assert failed.value.exit_code == 3


async def test_a_child_that_is_never_ready_is_reported_in_time(tmp_path: Path) -> None:
    child = Child("sleeper", tmp_path)
    child.spawn(["/bin/sleep", "600"])

    async def never() -> bool:
        return False

    with pytest.raises(StartTimeout, match="not ready"):
        await child.until(never, timeout_s=0.1)
    await child.kill()
    assert not child.running


# --- addresses ----------------------------------------------------------------------------------


async def test_given_addresses_are_used_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KAFKA_VARIABLE, "kafka.test:9092")
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://bank@db.test/bank?ssl=require")
    async with Stack(tmp_path / "unused") as stack:
        assert stack.bootstrap == "kafka.test:9092"
        assert stack.database_url == "postgresql+asyncpg://bank@db.test/bank?ssl=require"
        with pytest.raises(NotOurs, match=KAFKA_VARIABLE):
            _ = stack.kafka
        with pytest.raises(NotOurs, match=DATABASE_VARIABLE):
            _ = stack.postgres
    assert not (tmp_path / "unused").exists()


async def test_an_address_is_not_given_out_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="start"):
        _ = Stack(tmp_path).bootstrap


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_a_database_url_is_made_one_for_asyncpg(scheme: str) -> None:
    assert with_asyncpg(f"{scheme}://u@h/d") == "postgresql+asyncpg://u@h/d"


async def test_a_taken_port_is_replaced_and_a_free_one_kept() -> None:
    free, taken = ports.choose(2)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", taken)
    async with server:
        chosen = ports.choose(2, [free, taken])
    assert chosen[0] == free
    assert chosen[1] not in (free, taken)


async def test_the_lock_of_a_dead_postgresql_goes_when_its_number_is_reused(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{tmp_path}\n")
    remove_stale_lock(lock)
    assert not lock.exists()


def test_a_jar_with_another_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_: str, cache_dir: Path) -> None:
        cache_dir.mkdir()
        for name in download.expected_checksums():
            (cache_dir / name).write_bytes(b"not what was published")

    monkeypatch.setitem(sys.modules, "jgo", SimpleNamespace(build=build))
    with pytest.raises(ValueError, match="SHA-256"):
        download.download("any:thing:1", tmp_path)
    assert not (tmp_path / "libs").exists()
