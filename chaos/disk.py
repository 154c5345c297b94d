"""A disk that can be filled: a file system of its own for one broker's data, whose size is changed
while it is in use. It lives in memory (tmpfs), so filling it takes no space anywhere else.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_SIZE: Final = "8g"
_SPARE_BYTES: Final = 64 * 1024
_ATTEMPTS: Final = 20


class SmallDisk:
    """`mount` first, `unmount` at the end. `missing` says why it can't be had; "" if it can."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missing = ""

    def mount(self) -> None:
        # A run that was killed has left its own behind.
        while os.path.ismount(self.path) and not _run("umount", "--lazy", str(self.path)):
            pass
        self.path.mkdir(parents=True, exist_ok=True)
        if sys.platform != "linux":
            self.missing = "only Linux has a file system whose size can be changed like this"
        elif os.geteuid() != 0:
            self.missing = "only root may mount a small file system"
        elif said := _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(self.path)):
            self.missing = f"a small file system can't be mounted here: {said}"

    def fill(self) -> None:
        """From now on writes fail with "No space left on device"."""
        # Another write may come between the look and the new size, which then is refused.
        for _ in range(_ATTEMPTS):
            found = os.statvfs(self.path)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            if not (said := self._resize(str(used + _SPARE_BYTES))):
                return
        raise OSError(f"{self.path} could not be filled: {said}")

    def clear(self) -> None:
        if said := self._resize(_SIZE):
            raise OSError(f"{self.path} could not be given its size back: {said}")

    def _resize(self, size: str) -> str:
        return _run("mount", "-o", f"remount,size={size}", str(self.path))

    def unmount(self) -> None:
        if not self.missing:
            _run("umount", "--lazy", str(self.path))


def _run(*command: str) -> str:
    """What went wrong; "" when nothing did."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
