"""The key of a command that was given none. While its outcome is unknown, the key is all that lets
the command be repeated without being done twice, so that is when it is told.
"""

import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter

from makegood.client import ApiAway

Key = Annotated[
    str | None,
    Parameter(help="The Idempotency-Key: give the same one to repeat a command. Default: fresh."),
]


@contextmanager
def request_key(given: str | None) -> Generator[str]:
    """`given`, or a fresh key, which is told when nobody knows whether it was done."""
    # An empty one is given, too: a variable of a shell that is empty names no request.
    key = uuid.uuid4().hex if given is None else given
    try:
        yield key
    except (ApiAway, KeyboardInterrupt):
        if given is None:
            print(
                "makegood: nobody knows whether it was done. To do it once and not twice, give the "
                f"same command again with --key {key}",
                file=sys.stderr,
            )
        raise
