"""How long the kernel lets a role compute before it is another process's turn.

Linux gives each process 1 to 3 ms, then the next one that waits. A role handles a batch in 10 to
20 ms, over tens of MB of state; where there are more busy roles than cores, each turn begins with
cold caches. Six processes of nothing but decisions on two cores take 11 to 18 % less CPU time with
longer turns, the whole bank 3 to 9 %. They are a request of the process's own (Linux 6.12 or
later) and need no rights; whoever has shorter ones, such as the API, the brokers and the database,
still comes first when it wakes.
"""

import ctypes
import os
import platform
import sys
from typing import Final

import structlog

log_event = structlog.get_logger("makegood.turns")

TURN_MS: Final = 20

# As in the kernel's unistd.h; the C library has no names for them before glibc 2.41.
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
_KEEP_POLICY: Final = 0x08


class SchedAttr(ctypes.Structure):
    """`struct sched_attr` of sched_setattr(2), as of Linux 5.3; times in ns."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("sched_policy", ctypes.c_uint32),
        ("sched_flags", ctypes.c_uint64),
        ("sched_nice", ctypes.c_int32),
        ("sched_priority", ctypes.c_uint32),
        ("sched_runtime", ctypes.c_uint64),
        ("sched_deadline", ctypes.c_uint64),
        ("sched_period", ctypes.c_uint64),
        ("sched_util_min", ctypes.c_uint32),
        ("sched_util_max", ctypes.c_uint32),
    )


def take_long_turns() -> None:
    """Ask for turns of `TURN_MS`, for this thread and those it starts. Where that is not to be
    had (another system, an older kernel, a sandbox, a real-time policy) all stays as it is."""
    number = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return
    attr = SchedAttr(
        size=ctypes.sizeof(SchedAttr),
        sched_flags=_KEEP_POLICY,
        sched_nice=os.getpriority(os.PRIO_PROCESS, 0),
        sched_runtime=TURN_MS * 1_000_000,
    )
    if ctypes.CDLL(None, use_errno=True).syscall(number, 0, ctypes.byref(attr), 0) != 0:
        log_event.info("short_turns", why=os.strerror(ctypes.get_errno()))
