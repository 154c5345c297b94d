"""Clocks of other processes, moved by libfaketime where it is installed, or by themselves."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.clocks import Clocks, installed

_TELL = """
import sys, time
from chaos.clocks import follow
from journal.clock import SystemClock
follow()
for _ in sys.stdin:
    print(SystemClock().now_ms() / 1000, time.monotonic(), flush=True)
"""


@pytest.fixture(params=["libfaketime", "by itself"])
def clocks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clocks]:
    library = installed()
    if request.param == "libfaketime" and library is None:
        pytest.skip("libfaketime is not installed")
    found = Clocks(tmp_path, library if request.param == "libfaketime" else None)
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


def test_nothing_of_a_killed_process_stays_in_shared_memory(tmp_path: Path) -> None:
    library = installed()
    if library is None:
        pytest.skip("libfaketime is not installed")
    clocks = Clocks(tmp_path, library)
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
