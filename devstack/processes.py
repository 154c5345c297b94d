"""Child processes: started so that they die with us, watched, stopped, killed, suspended.

One `Child` is one server (or one tool run). It keeps a log file and a pid file. The pid file lets
the next start find and end what a previous one left running, where the kernel didn't (child.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devstack.errors import ChildFailed, MissingPackage, NotStarted, StartTimeout

if TYPE_CHECKING:
    import psutil

_SHIM = Path(__file__).with_name("child.py")
_POLL_S = 0.02
_KILL_TIMEOUT_S = 20.0
_TAIL_BYTES = 4_000
# Two readings of one process's start time may differ by rounding and by a clock adjustment.
_SAME_START_S = 2.0


class Child:
    """One child process with a name, a log file and a pid file.

    `subprocess.Popen` instead of asyncio's: starting takes a millisecond, and the handle then
    isn't bound to one event loop, so a test may stop in another loop than it started in.
    """

    def __init__(
        self, name: str, directory: Path, *, death_signal: signal.Signals = signal.SIGKILL
    ) -> None:
        self.name = name
        self.log_file = directory / f"{name}.log"
        self._pid_file = directory / f"{name}.pid"
        self._death_signal = death_signal
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise NotStarted(self.name)
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._popen is None else self._popen.poll()

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        user: str = "",
        env: dict[str, str] | None = None,
        keep_log: bool = False,
    ) -> None:
        """Start the command; its output goes to the log file, which begins anew unless
        `keep_log`. `user`: drop root to that user."""
        shim = [sys.executable, "-I", "-S", str(_SHIM), str(os.getpid())]
        with self.log_file.open("ab" if keep_log else "wb") as log:
            self._popen = subprocess.Popen(
                [*shim, str(int(self._death_signal)), user, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                # A working directory that every user can enter and nobody wants to unmount.
                cwd="/",
                # Ctrl-C in a terminal reaches us alone; we stop the children in order.
                start_new_session=True,
            )
        created = _psutil().Process(self._popen.pid).create_time()
        self._pid_file.write_text(json.dumps({"pid": self._popen.pid, "created": created}))

    def log_tail(self) -> str:
        """The end of the log, for an error message."""
        try:
            text = self.log_file.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(f"  {line}" for line in text.splitlines()[-25:]) or "  (empty)"

    def failure(self) -> ChildFailed:
        return ChildFailed(self.name, self.exit_code, self.log_file, self.log_tail())

    async def finish(self, timeout_s: float) -> None:
        """Wait until the command has ended by itself. Raises ChildFailed unless it returned 0."""
        try:
            await self._wait(timeout_s)
        except TimeoutError:
            raise StartTimeout(self.name, timeout_s, self.log_file, self.log_tail()) from None
        finally:
            await self.kill()
        if self.exit_code != 0:
            raise self.failure()

    async def until(self, ready: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """Ask `ready` until it says yes. Raises ChildFailed, StartTimeout."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if not self.running:
                        raise self.failure()
                    if await ready():
                        return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise StartTimeout(self.name, timeout_s, self.log_file, self.log_tail()) from None

    async def stop(self, how: signal.Signals, grace_s: float) -> None:
        """Ask it to end; after the grace time, kill it. Nothing happens if it isn't running."""
        if self.running and self._popen is not None:
            # A suspended process can't act on the request.
            self.resume()
            self._popen.send_signal(how)
            try:
                await self._wait(grace_s)
            except TimeoutError:
                await self.kill()
        self._forget()

    async def kill(self) -> None:
        """SIGKILL to it and all its descendants, as a crash of their machine would do."""
        if self.running:
            processes = self.signal_tree(signal.SIGSTOP)  # none can fork while we count them
            _signal_all(processes, signal.SIGKILL)
            await self._wait(_KILL_TIMEOUT_S)
            await _until_gone(processes)
        self._forget()

    def suspend(self) -> None:
        """Stop it in its tracks (SIGSTOP): it keeps its connections and answers nothing."""
        self.signal_tree(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal_tree(signal.SIGCONT)

    def signal_tree(self, what: signal.Signals) -> list[psutil.Process]:
        processes = _tree(self.pid)
        _signal_all(processes, what)
        return processes

    async def _wait(self, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while self.running:
                await asyncio.sleep(_POLL_S)

    def _forget(self) -> None:
        _remove(self._pid_file)


async def end_left_over(pid_file: Path) -> None:
    """End the process tree that an earlier stack recorded in the file and did not end itself."""
    processes = _left_over(pid_file)
    _signal_all(processes, signal.SIGKILL)
    await _until_gone(processes)
    _remove(pid_file)


def _left_over(pid_file: Path) -> list[psutil.Process]:
    try:
        recorded = json.loads(pid_file.read_text())
        pid, created = int(recorded["pid"]), float(recorded["created"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # Half written, when the parent was killed between the start and the write: no trace of it.
        return []
    psutil = _psutil()
    try:
        # The start time tells a left-over from an innocent process that got the same number.
        ours = abs(psutil.Process(pid).create_time() - created) < _SAME_START_S
    except psutil.NoSuchProcess:
        return []
    return _tree(pid) if ours else []


def _remove(pid_file: Path) -> None:
    pid_file.unlink(missing_ok=True)


async def _until_gone(processes: list[psutil.Process]) -> None:
    async with asyncio.timeout(_KILL_TIMEOUT_S):
        while any(_alive(process) for process in processes):
            await asyncio.sleep(_POLL_S)


def _alive(process: psutil.Process) -> bool:
    psutil = _psutil()
    try:
        # A zombie waits for its parent to read its exit code; it holds no file and no port.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _tree(pid: int) -> list[psutil.Process]:
    psutil = _psutil()
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal_all(processes: list[psutil.Process], what: signal.Signals) -> None:
    psutil = _psutil()
    for process in processes:
        try:
            process.send_signal(what)
        except psutil.NoSuchProcess:
            continue  # it ended in the meantime, by itself or because its parent did


def _psutil():
    # Imported late: with addresses given from outside, the stack needs none of its extra packages.
    try:
        import psutil
    except ImportError as missing:
        raise MissingPackage("psutil", "child processes") from missing
    return psutil


def program(pid: int) -> str | None:
    """The name of the program that has the number: None without one, "" for one that is dead but
    not yet collected by its parent."""
    psutil = _psutil()
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return None
