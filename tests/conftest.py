"""One real Kafka and one real PostgreSQL for each process that runs tests; every test gets a corner
of its own.

Addresses given by the environment are used as they are; where Docker answers, containers are
started; everywhere else, child processes. The tests cannot tell the difference.
"""

import gc
import os
import uuid
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
import structlog

from devstack.stack import Stack
from journal.kafka_log import KafkaAddress, KafkaLog


class Addresses(NamedTuple):
    bootstrap: str
    database_url: str


def _docker_answers() -> bool:
    import docker
    from docker.errors import DockerException

    answers = True
    with warnings.catch_warnings():
        # The client leaves its socket to the collector when nobody answers.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=3)
            client.ping()
            client.close()
        except DockerException:
            answers = False
        gc.collect()
    return answers


@pytest.fixture(scope="session", autouse=True)
def quiet_logs() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(
            int(os.environ.get("MAKEGOOD_TEST_LOG_LEVEL", "50"))
        )
    )


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Addresses]:
    given = "MAKEGOOD_KAFKA_BOOTSTRAP" in os.environ and "MAKEGOOD_DATABASE_URL" in os.environ
    if not given and _docker_answers():
        from testcontainers.kafka import KafkaContainer
        from testcontainers.postgres import PostgresContainer

        with (
            KafkaContainer("confluentinc/cp-kafka:8.0.0").with_kraft() as kafka,
            PostgresContainer("postgres:18", driver="asyncpg") as postgres,
        ):
            yield Addresses(kafka.get_bootstrap_server(), postgres.get_connection_url())
        return
    # One for each of the processes that share the tests.
    name = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    data = Path(__file__).parent.parent / ".makegood" / "test-stack" / name
    async with Stack(data, fresh=True) as running:
        yield Addresses(running.bootstrap, running.database_url)


@pytest.fixture
def kafka_address(stack: Addresses) -> KafkaAddress:
    """A corner of the broker: topics with a prefix of their own."""
    return KafkaAddress(bootstrap=stack.bootstrap, prefix=f"t{uuid.uuid4().hex[:8]}-")


@pytest.fixture
async def kafka_log(kafka_address: KafkaAddress) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(kafka_address)
    await log.connect(30)
    yield log
    await log.close()


@pytest.fixture
async def database_url(stack: Addresses) -> AsyncIterator[str]:
    """An empty database of the test's own; a SQLAlchemy URL for asyncpg."""
    server = stack.database_url.replace("+asyncpg", "")
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        yield stack.database_url.rpartition("/")[0] + f"/{name}"
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()
