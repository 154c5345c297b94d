"""That a role's longer turns are what the kernel notes, and that asking for them never fails."""

import os
import platform
import subprocess
import sys

import pytest

from makegood.turns import TURN_MS

_ASK_AND_TELL = """
import ctypes, platform
from makegood.turns import SchedAttr, take_long_turns
take_long_turns()
attr = SchedAttr()
getattr_number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
ctypes.CDLL(None).syscall(getattr_number, 0, ctypes.byref(attr), ctypes.sizeof(attr), 0)
print(attr.sched_runtime, attr.sched_nice, attr.sched_policy)
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the structure is known for Linux on these alone",
)


def told(*before: str) -> list[int]:
    done = subprocess.run(
        [*before, sys.executable, "-c", _ASK_AND_TELL], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.splitlines()[-1].split()]


@pytest.mark.skipif(
    tuple(int(part) for part in platform.release().split(".")[:2]) < (6, 12),
    reason="turns of one's own came with Linux 6.12",
)
def test_a_role_gets_long_turns_and_keeps_its_priority() -> None:
    assert told("nice", "-n", "5") == [TURN_MS * 1_000_000, 5, os.SCHED_OTHER]


def test_a_policy_that_knows_no_turns_is_left_as_it_is() -> None:
    try:
        subprocess.run(["chrt", "--fifo", "1", "true"], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no right to a real-time policy here")
    runtime, _, policy = told("chrt", "--fifo", "1")
    assert (runtime, policy) == (0, os.SCHED_FIFO)
