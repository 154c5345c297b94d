"""The example participant in Go, which knows nothing but the AsyncAPI document."""

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from makegood.bank import Bank
from makegood.client import Client
from tests.participant.payments import balances, payout

# The first build on a machine compiles the Kafka client.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

SOURCE = Path(__file__).parents[2] / "examples" / "payout-provider"


@pytest.fixture(scope="module")
async def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs Go (https://go.dev) to build examples/payout-provider")
    target = tmp_path_factory.mktemp("go") / "payout-provider"
    build = await asyncio.create_subprocess_exec(
        *(go, "build", "-o", str(target), "."),
        cwd=SOURCE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await build.communicate()
    text = said.decode()
    if build.returncode and ("go.mod requires go" in text or "dial tcp" in text):
        pytest.skip(f"this Go can't build it here: {text[:200]}")
    assert build.returncode == 0, text
    return target


@contextlib.asynccontextmanager
async def running(program: Path, bank: Bank, effects: Path) -> AsyncIterator[Process]:
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP": bank.corner.bootstrap,
        "TOPIC_PREFIX": bank.corner.prefix,
        "EFFECTS_FILE": str(effects),
    }
    child = await asyncio.create_subprocess_exec(
        program, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await child.wait()


async def test_payouts_are_paid_once_also_when_it_is_killed_in_the_middle(
    bank: Bank, program: Path, tmp_path: Path
):
    effects = tmp_path / "effects.ndjson"
    async with Client(bank.url, connections=40, patience_s=120) as client:
        before = await balances(client, bank)
        paying = [asyncio.create_task(client.transfer(f"go-{n}", payout(n + 1))) for n in range(40)]
        async with running(program, bank, effects) as first:
            async with asyncio.timeout(60):
                while not effects.exists() or effects.read_bytes().count(b"effect_id") < 5:
                    await asyncio.sleep(0.02)
            first.kill()
            await first.wait()
        async with running(program, bank, effects):
            ends = await asyncio.gather(*paying)
            declined = await client.transfer("go-abroad", payout(creditor_account="FR7630006"))
        after = await balances(client, bank)
    assert {end.state for end in ends} == {"completed"}
    assert (declined.state, declined.reason) == ("compensated", "country_not_served")
    total = sum(range(1, 41))
    assert after == (before[0] - total, 0, before[2] + total)
    paid = [line for line in effects.read_text().splitlines() if "reference" in line]
    assert len(paid) == 40
