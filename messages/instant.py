"""Instants in messages: RFC 3339 text with an offset, e.g. `2026-12-01T09:00:00+01:00`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_TEXT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def instant_ms(text: object) -> int | None:
    """Milliseconds since 1970 (UTC), of 1970 to 9999; None when `text` is no such instant.

    Without an offset it would be another instant for every reader, so there must be one.
    """
    if type(text) is not str or not _TEXT.fullmatch(text):
        return None
    try:
        ms = (datetime.fromisoformat(text) - _EPOCH) // _MS
    except (ValueError, OverflowError):
        return None
    return ms if ms >= 0 else None
