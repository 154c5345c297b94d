"""The wall clocks of the bank's processes, moved while they run, by libfaketime (a library that is
loaded before libc and reads how far the clock is off from a file). Steady clocks stay right. Where
it is not installed the process itself moves what its clock port reads (`follow`).

libfaketime breaks `time.sleep`; in the bank's processes nothing calls it, the loop waits otherwise.
"""

import os
import time
from pathlib import Path
from typing import Final

_LIBRARIES: Final = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib*/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
_SETTLED_S: Final = 30.0
_LOOK_S: Final = 1.0
_VARIABLE: Final = "CHAOS_CLOCK"
_SHARED_MEMORY: Final = Path("/dev/shm")


def installed() -> Path | None:
    """libfaketime on this machine."""
    found = (path for pattern in _LIBRARIES for path in Path("/").glob(pattern.lstrip("/")))
    return next(found, None)


def follow() -> None:
    """Move this process's `time.time_ns`, all that the clock port knows of the wall clock, as the
    file says that `Clocks.environment` names; nothing where that leaves it to `libfaketime`."""
    name = os.environ.get(_VARIABLE)
    if name is None:
        return
    file, real_ns = Path(name), time.time_ns
    looked_s, ahead_ns = time.monotonic() - _LOOK_S, 0

    def moved_ns() -> int:
        nonlocal looked_s, ahead_ns
        now_s = time.monotonic()
        if now_s - looked_s >= _LOOK_S:
            looked_s, ahead_ns = now_s, round(float(file.read_text()) * 1e9)
        return real_ns() + ahead_ns

    time.time_ns = moved_ns


class Clocks:
    """`library`: libfaketime; None: the processes have to `follow`."""

    def __init__(self, folder: Path, library: Path | None) -> None:
        self._folder = folder
        self._started_at: dict[str, float] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._library = library

    def environment(self, name: str) -> dict[str, str]:
        """For the process `name` at its start; its clock is right then."""
        self._started_at[name] = time.monotonic()
        self.move(name, 0)
        if self._library is None:
            return {_VARIABLE: str(self._file(name))}
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file(name)),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def settled(self, name: str) -> bool:
        """Whether the process has come to know the time: one that starts with a clock that is hours
        off has nothing to tell it by (see "Clocks apart" in docs/operations.md)."""
        return time.monotonic() - self._started_at[name] > _SETTLED_S

    def move(self, name: str, ahead_s: float) -> None:
        """Within a second the clock of `name` is this far ahead of the machine's (< 0: behind)."""
        file = self._file(name)
        # Never half written where the process can see it.
        new = file.with_suffix(".new")
        new.write_text(f"{ahead_s:+f}\n")
        new.replace(file)

    def _file(self, name: str) -> Path:
        return self._folder / name

    def close(self) -> None:
        """Remove what libfaketime leaves behind in shared memory when a process is killed."""
        for left in _SHARED_MEMORY.glob("*faketime_s*_*"):
            pid = left.name.rpartition("_")[2]
            if pid.isdigit() and not _runs(int(pid)):
                left.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
