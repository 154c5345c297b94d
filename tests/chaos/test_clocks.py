"""Clocks of other processes, moved by libfaketime where it is installed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.clocks import Clocks

_TELL = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


@pytest.fixture
def clocks(tmp_path: Path) -> Iterator[Clocks]:
    found = Clocks(tmp_path)
    if found.missing:
        pytest.skip(found.missing)
    yield found
    found.close()


def test_the_wall_clock_moves_and_the_steady_one_does_not(clocks: Clocks) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _TELL],
        env={**os.environ, **clocks.environment("one")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def off() -> tuple[float, float]:
            process.stdin.write("\n")  # pyright: ignore[reportOptionalMemberAccess]
            process.stdin.flush()  # pyright: ignore[reportOptionalMemberAccess]
            wall, steady = process.stdout.readline().split()  # pyright: ignore[reportOptionalMemberAccess]
            return float(wall) - time.time(), float(steady) - time.monotonic()

        for ahead_s in (0, 3_600, -172_800):
            clocks.move("one", ahead_s)
            deadline = time.monotonic() + 10
            while abs(off()[0] - ahead_s) > 1:
                assert time.monotonic() < deadline
            assert abs(off()[1]) < 1
        process.stdin.close()


def test_nothing_of_a_killed_process_stays_in_shared_memory(clocks: Clocks) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env={**os.environ, **clocks.environment("one")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    left = list(Path("/dev/shm").glob(f"*faketime_*_{process.pid}"))
    assert left
    clocks.close()
    assert not any(file.exists() for file in left)
