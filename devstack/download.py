"""`python -m devstack.download COORDINATES DIRECTORY`: Kafka's jars into DIRECTORY/libs.

Every jar must have the SHA-256 in kafka_jars.sha256, as the Python packages must have theirs in
requirements.lock; a jar that isn't listed is left out. Run as a process of its own.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

CHECKSUMS = Path(__file__).with_name("kafka_jars.sha256")
_ATTEMPTS = 3


def download(coordinates: str, directory: Path) -> Path:
    """Raises OSError or RuntimeError when the jars can't be had, ValueError when one is wrong."""
    import jgo

    work = directory / "jgo"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            jgo.build(coordinates, cache_dir=work)
            break
        except (OSError, RuntimeError) as failed:
            print(f"attempt {attempt} of {_ATTEMPTS}: {failed}", file=sys.stderr)
            if attempt == _ATTEMPTS:
                raise
    # jgo sorts jars into several folders (plain jars and modules); one folder makes one classpath.
    found = {jar.name: jar for jar in work.rglob("*.jar")}
    partial = directory / "libs.partial"
    partial.mkdir(parents=True)
    for name, expected in expected_checksums().items():
        if name not in found:
            raise ValueError(f"{name} was not among the jars of {coordinates}")
        actual = hashlib.sha256(found[name].read_bytes()).hexdigest()
        if actual != expected:
            raise ValueError(f"{found[name]} has SHA-256 {actual}, not {expected}: not used")
        shutil.copyfile(found[name], partial / name)
    return partial.rename(directory / "libs")


def expected_checksums() -> dict[str, str]:
    """Jar names and SHA-256, as `sha256sum` writes them."""
    lines = CHECKSUMS.read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


if __name__ == "__main__":
    try:
        download(sys.argv[1], Path(sys.argv[2]))
    except (OSError, RuntimeError, ValueError) as failed:
        sys.exit(f"{type(failed).__name__}: {failed}")
