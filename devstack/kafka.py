"""A Kafka cluster (KRaft, no ZooKeeper) of one or three brokers, each a child process that is
broker and controller at once. Ports are chosen at the first start and kept while they are free."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import signal
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from devstack import ports
from devstack.distribution import QUICKLY_COMPILED, Distribution, prepare
from devstack.errors import ChildFailed, DataDirectoryMismatch, NotStarted
from devstack.processes import Child, end_left_over

_START_TIMEOUT_S = 60.0
_STOP_GRACE_S = 10.0
_PORT_ATTEMPTS = 3
_PORT_TAKEN = "Address already in use"


class _State(TypedDict):
    """What cluster.json keeps between two starts."""

    cluster_id: str
    brokers: int
    ports: list[int]
    """Of each broker: its own, its controller's, the one behind its gate."""


class Broker:
    """One broker. Its ports stay the same for as long as the cluster object lives."""

    def __init__(
        self, node_id: int, directory: Path, child: Child, gate: int = 0, disk: Path | None = None
    ) -> None:
        self.node_id = node_id
        self.directory = directory
        self.data = disk or directory / "data"
        self.child = child
        self.gate = gate
        self.port = 0
        self.controller_port = 0
        self.gated_port = 0
        self._command: list[str] = []

    @property
    def address(self) -> str:
        """What the other brokers are told."""
        return f"127.0.0.1:{self.port}"

    @property
    def client_address(self) -> str:
        """What clients are told."""
        return f"127.0.0.1:{self.gate or self.port}"

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def running(self) -> bool:
        return self.child.running

    def spawn(self, command: list[str]) -> None:
        self._command = command
        self._respawn()

    def _respawn(self) -> None:
        # Kafka unpacks its compression libraries here; a killed one leaves them behind.
        temporary = self.directory / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self.child.spawn(self._command)

    async def start(self) -> None:
        """Start again after `kill` or `stop`, and wait until the cluster counts it in.

        Raises ChildFailed, StartTimeout, NotStarted (when the cluster was never started).
        """
        if not self._command:
            raise NotStarted("the Kafka cluster")
        if not self.running:
            self._respawn()
        await self.until_in_cluster({self.node_id})

    async def until_in_cluster(self, nodes: set[int]) -> None:
        async def ready() -> bool:
            return nodes <= await live_nodes(self.address)

        await self.child.until(ready, _START_TIMEOUT_S)

    async def stop(self) -> None:
        """An orderly stop (SIGTERM): it hands over its partitions first."""
        await self.child.stop(signal.SIGTERM, _STOP_GRACE_S)

    async def kill(self) -> None:
        """A crash (SIGKILL)."""
        await self.child.kill()

    def suspend(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and get no answer."""
        self.child.suspend()

    def resume(self) -> None:
        self.child.resume()


class Kafka:
    """The cluster. `brokers` can be killed, suspended and started one by one.

    gates: for each broker the port that clients are told instead of its own; somebody has to
    listen there and forward to its `gated_port`. The brokers reach each other without gates.
    disks: node id -> the directory, made by the caller, of its data.
    lasting: whether it works for longer than some minutes. Then its JVM compiles for speed, which
    takes a good part of a core until that is done; else it compiles at once and runs a third
    slower.
    """

    def __init__(
        self,
        directory: Path,
        *,
        brokers: int = 1,
        gates: Sequence[int] = (),
        disks: Mapping[int, Path] | None = None,
        heap: str = "512m",
        lasting: bool = False,
        log_dir: Path | None = None,
        extra_jvm: tuple[str, ...] = (),
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.directory = directory
        self._jvm = (f"-Xmx{heap}", *(() if lasting else (QUICKLY_COMPILED,)), *extra_jvm)
        self._announce = announce
        self._log_dir = log_dir or directory
        self.brokers = [
            Broker(
                node,
                directory / f"broker-{node}",
                Child(f"kafka-{node}", self._log_dir),
                gates[node - 1] if gates else 0,
                (disks or {}).get(node),
            )
            for node in range(1, brokers + 1)
        ]

    @property
    def bootstrap(self) -> str:
        """Addresses for a client, as `host:port,host:port`."""
        return ",".join(broker.client_address for broker in self.brokers)

    async def start(self) -> None:
        """Raises the errors of `distribution.prepare`, ChildFailed, StartTimeout,
        DataDirectoryMismatch."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        await self.start_with(await prepare(self._log_dir, self._announce))

    async def start_with(self, kafka: Distribution) -> None:
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._configure(kafka)
            for broker in self.brokers:
                jvm = (f"-Djava.io.tmpdir={broker.directory / 'tmp'}", *self._jvm)
                broker.spawn(kafka.broker_command(broker.directory / "broker.properties", jvm))
            try:
                await self._until_ready()
            except ChildFailed as failed:
                # Somebody took a port after it was found free: choose anew.
                if attempt == _PORT_ATTEMPTS or _PORT_TAKEN not in failed.tail:
                    raise
                await asyncio.gather(*(broker.kill() for broker in self.brokers))
            else:
                return

    async def stop(self) -> None:
        """Stop all brokers at once. Records acknowledged before are on disk or in its cache."""
        await asyncio.gather(*(broker.stop() for broker in self.brokers))

    async def end_left_over(self) -> None:
        for pid_file in sorted(self._log_dir.glob("kafka-*.pid")):
            await end_left_over(pid_file)

    async def _until_ready(self) -> None:
        # Each is asked, and each must know all: then no client is sent to a broker it can't find.
        everyone = {broker.node_id for broker in self.brokers}
        waits = [asyncio.ensure_future(b.until_in_cluster(everyone)) for b in self.brokers]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _configure(self, kafka: Distribution) -> None:
        state = self._load_state()
        chosen = ports.choose(3 * len(self.brokers), state["ports"])
        for i, broker in enumerate(self.brokers):
            broker.port, broker.controller_port, broker.gated_port = chosen[3 * i : 3 * i + 3]
        state["ports"] = chosen
        (self.directory / "cluster.json").write_text(json.dumps(state))
        for broker in self.brokers:
            _format(broker, kafka, state["cluster_id"])
            (broker.directory / "broker.properties").write_text(self._properties(broker))

    def _load_state(self) -> _State:
        try:
            state = json.loads((self.directory / "cluster.json").read_text())
        except FileNotFoundError:
            self.directory.mkdir(parents=True, exist_ok=True)
            return {"cluster_id": _new_id(), "brokers": len(self.brokers), "ports": []}
        if state["brokers"] != len(self.brokers):
            raise DataDirectoryMismatch(self.directory, state["brokers"], len(self.brokers))
        return state

    def _properties(self, broker: Broker) -> str:
        several = len(self.brokers) > 1
        replicas, min_in_sync = (3, 2) if several else (1, 1)
        advertised = listeners = f"PLAINTEXT://{broker.address}"
        if broker.gate:
            listeners += f",GATED://127.0.0.1:{broker.gated_port}"
            advertised += f",GATED://{broker.client_address}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": broker.node_id,
            # Static voters, not `--standalone`: those would be written into the log with their
            # ports, which may have to change between two starts.
            "controller.quorum.voters": ",".join(
                f"{b.node_id}@127.0.0.1:{b.controller_port}" for b in self.brokers
            ),
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{broker.controller_port}",
            "advertised.listeners": advertised,
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,GATED:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "log.dirs": broker.data,
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": min_in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 5,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min_in_sync,
            "transaction.state.log.num.partitions": 5,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": min_in_sync,
            "share.coordinator.state.topic.num.partitions": 5,
            "group.initial.rebalance.delay.ms": 0,
            # A killed broker is let in again, and its partitions get another leader, only when
            # this has passed since its last heartbeat (Kafka's default: 9 s).
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            # Small data, few clients: the defaults cost memory for nothing here.
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
            # All brokers share a few cores: more threads only wake each other up.
            "num.io.threads": 2,
            "num.network.threads": 1,
            # As the system tunes them: Kafka's own 100 KiB cut a batch into many pieces.
            "socket.send.buffer.bytes": -1,
            "socket.receive.buffer.bytes": -1,
        }
        return "".join(f"{key}={_escape(str(value))}\n" for key, value in settings.items())


def _format(broker: Broker, kafka: Distribution, cluster_id: str) -> None:
    """Give a new node the data directory that Kafka's StorageTool would: one JVM start saved."""
    data = broker.data
    meta = data / "meta.properties"
    if meta.is_file():
        return
    data.mkdir(parents=True, exist_ok=True)
    broker.directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kafka.bootstrap_checkpoint, data / "bootstrap.checkpoint")
    # Last, since it marks the directory as formatted.
    meta.write_text(
        f"version=1\ncluster.id={cluster_id}\nnode.id={broker.node_id}\ndirectory.id={_new_id()}\n"
    )


async def live_nodes(address: str) -> set[int]:
    """The ids of the brokers that the one at `address` knows to be alive; none while it is not
    reachable or the cluster has no controller."""
    host, port = address.split(":")
    # A plain connection first: aiokafka would log an error for every attempt before Kafka listens.
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return set()
    writer.close()
    client = AIOKafkaClient(
        bootstrap_servers=address, client_id="devstack", request_timeout_ms=2_000
    )
    try:
        await client.bootstrap()
        return {node.nodeId for node in client.cluster.brokers()}
    except (KafkaError, OSError, TimeoutError):
        return set()
    finally:
        await client.close()


def _new_id() -> str:
    """A Kafka uuid: 22 characters of URL-safe base64; a leading dash would read as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _escape(value: str) -> str:
    """A Java properties value: Latin-1 file, so anything else is written as \\uXXXX."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)
