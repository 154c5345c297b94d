"""Where the bank is that `makegood up` runs on this machine, for the other commands: a small file
in the data directory, there for as long as the bank is.
"""

from pathlib import Path
from typing import Final

import msgspec

from devstack.directory import default_data_dir

STATE_FILE: Final = "bank.json"


class Running(msgspec.Struct, frozen=True):
    """Where the bank is that `makegood up` runs: for the other commands on this machine."""

    api_url: str
    kafka_bootstrap: str
    database_url: str
    topic_prefix: str


def running_bank(data_dir: Path | None = None) -> Running | None:
    """The bank that `makegood up` runs here, if it does."""
    try:
        found = (data_dir or default_data_dir()).joinpath(STATE_FILE).read_bytes()
        return msgspec.json.decode(found, type=Running)
    except (OSError, msgspec.MsgspecError):
        return None
