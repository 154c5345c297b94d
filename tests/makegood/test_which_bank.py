"""A bank that is named is the one that is meant, or there is no bank; and it says when it can't go
on."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from devstack.errors import ChildFailed
from devstack.processes import Child
from makegood.bank import Bank, Corner
from makegood.running import STATE_FILE, Running
from makegood.settings import SettingsError
from makegood.settings_here import settings_here

KAFKA = "MAKEGOOD_KAFKA_BOOTSTRAP"


def test_a_data_directory_in_which_no_bank_runs_leads_to_no_other_bank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KAFKA, raising=False)
    with pytest.raises(SettingsError, match=f"no bank runs in {tmp_path}"):
        settings_here(tmp_path)


def test_a_data_directory_besides_an_address_in_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running("http://b:1", "b:2", "postgresql://b:3/b", "")
    (tmp_path / STATE_FILE).write_bytes(msgspec.json.encode(running))
    monkeypatch.setenv(KAFKA, "elsewhere:9092")
    with pytest.raises(SettingsError, match="say one"):
        settings_here(tmp_path)
    assert settings_here(None).kafka_bootstrap == "elsewhere:9092"
    monkeypatch.delenv(KAFKA)
    assert settings_here(tmp_path).kafka_bootstrap == "b:2"


async def test_a_bank_whose_kafka_has_ended_does_not_pretend_to_be_up(tmp_path: Path) -> None:
    kafka = Child("kafka-1", tmp_path)
    kafka.spawn([sys.executable, "-c", "import time; time.sleep(60)"])
    bank = Bank(Corner("b:2", "postgresql://b:3/b"), tmp_path, rests_on=[kafka])
    watching = asyncio.create_task(bank.watch())
    await asyncio.sleep(0.3)
    assert not watching.done()
    await kafka.kill()
    with pytest.raises(ChildFailed, match="kafka-1 ended with exit code -9"):
        await asyncio.wait_for(watching, 5)
