"""A short attack on three real brokers; `make chaos` is the long one."""

import os
import sys
from pathlib import Path
from random import SystemRandom

import pytest

from chaos.__main__ import attack
from devstack.stack import DATABASE_VARIABLE, KAFKA_VARIABLE


@pytest.mark.timeout(600)
async def test_a_death_and_some_minutes_of_faults_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(KAFKA_VARIABLE, raising=False)
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    seed = SystemRandom().randrange(10**9)
    attacked_s = int(os.environ.get("MAKEGOOD_TEST_CHAOS_S", "75"))
    # Not on stdout, which a process of pytest-xdist has none of.
    with capsys.disabled():
        print(f"\nchaos: seed {seed}", file=sys.stderr)
    found = await attack(attacked_s, seed=seed, clients=8, deaths=1, folder=tmp_path)
    # How long the work stood still is judged by the long run, on a machine of its own.
    assert found["wrong"] == []
    assert found["faults"] >= 5
    assert len(found["deaths"]) == 1
    assert found["requests_disturbed"]
    assert found["transfers_told"] >= 20
    assert found["looks_at_balances"] >= 20
    assert (tmp_path / "report.json").exists()
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
