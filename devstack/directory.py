"""Directories with one owner: the data directory of a stack, and the locks that guard it and the
per-user cache. A lock belongs to a process and ends with it, however that dies."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from devstack.errors import DataDirectoryInUse, UnsupportedPlatform

if sys.platform != "win32":
    import fcntl

_POLL_S = 0.1


def default_data_dir() -> Path:
    """`.makegood/devstack` in the project's folder (the working directory, when installed)."""
    project = Path(__file__).resolve().parent.parent
    if not (project / "pyproject.toml").is_file():
        project = Path.cwd()
    return project / ".makegood" / "devstack"


class FileLock:
    """An exclusive lock on a file, for one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        if sys.platform == "win32":
            raise UnsupportedPlatform("Windows", "it needs POSIX signals and file locks")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor
        return True

    async def acquire(self) -> None:
        """Wait for the lock, as long as its holder lives."""
        while not self.try_acquire():
            await asyncio.sleep(_POLL_S)

    def release(self) -> None:
        # The file stays: removing it would let two processes lock two files of one name.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None


class DataDirectory:
    """A stack's data directory, locked while the stack runs."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock = FileLock(self.path / "lock")

    def acquire(self) -> None:
        """Raises DataDirectoryInUse."""
        if not self._lock.try_acquire():
            raise DataDirectoryInUse(self.path, self._lock.holder())

    def release(self) -> None:
        self._lock.release()
