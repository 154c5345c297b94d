"""The disk that can be filled, where this machine lets us mount one."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.disk import SmallDisk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    small = SmallDisk(tmp_path / "small")
    small.mount()
    if small.missing:
        pytest.skip(small.missing)
    yield small
    small.unmount()


def test_a_full_disk_takes_nothing_until_it_is_cleared(disk: SmallDisk) -> None:
    kept = disk.path / "kept"
    kept.write_bytes(b"x" * 100_000)
    disk.fill()
    with pytest.raises(OSError, match="No space left") as refused:
        (disk.path / "more").write_bytes(b"x" * 1_000_000)
    assert refused.value.errno == errno.ENOSPC
    disk.clear()
    (disk.path / "more").write_bytes(b"x" * 1_000_000)
    assert kept.read_bytes() == b"x" * 100_000


def test_nothing_stays_mounted(disk: SmallDisk) -> None:
    assert os.path.ismount(disk.path)
    disk.unmount()
    assert not os.path.ismount(disk.path)


def test_what_a_killed_run_has_left_mounted_is_removed(disk: SmallDisk) -> None:
    (disk.path / "old").write_bytes(b"x")
    again = SmallDisk(disk.path)
    again.mount()
    assert list(disk.path.iterdir()) == []
    again.unmount()
    assert not os.path.ismount(disk.path)
