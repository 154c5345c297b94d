"""Parameters of what recurs, and the instants that follow from them.

The instants are found once, when the saga begins, and recorded with its parameters: whoever folds
the journal reads them there, so time zone data that change later move nothing that has begun.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import islice
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo

from saga_definitions.params import Param
from saga_definitions.recurrence import Every, Recurrence

_date = re.compile(r"(19[7-9][0-9]|2[0-9]{3})-[0-9]{2}-[0-9]{2}")
_time = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_zone = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_NO_ZONES: Final = ("localtime", "posixrules", "posix/", "right/", "Factory")
"""What lies beside the zones: this machine's own, and copies that count leap seconds."""
_EVERY: Final[tuple[str, ...]] = get_args(Every)


class Day(Param[str]):
    """A day of the calendar, 1970-01-01 to 2999-12-31, as text."""

    def __init__(self) -> None:
        super().__init__(Day)

    def problem(self, value: object) -> str | None:
        try:
            if type(value) is str and _date.fullmatch(value) and date.fromisoformat(value):
                return None
        except ValueError:
            pass  # Such as 31 February: told below like all else that is no day.
        return "must be a day of the years 1970 to 2999, such as 2026-12-31"


class TimeOfDay(Param[str]):
    """What the clocks show: hours and minutes, as text."""

    def __init__(self) -> None:
        super().__init__(TimeOfDay)

    def problem(self, value: object) -> str | None:
        if type(value) is str and _time.fullmatch(value):
            return None
        return "must be a time of day, 00:00 to 23:59"


class Zone(Param[str]):
    """A time zone by its name in the IANA time zone database."""

    def __init__(self) -> None:
        super().__init__(Zone)

    def problem(self, value: object) -> str | None:
        try:
            if type(value) is str and _zone.fullmatch(value) and not value.startswith(_NO_ZONES):
                ZoneInfo(value)
                return None
        except (ValueError, KeyError, OSError):
            pass  # No such zone, or a folder of some: told below.
        return "must be an IANA time zone, such as Europe/Berlin or UTC"


class Rhythm(Param[str]):
    """How often: every `day`, `week`, `month` or `year`."""

    def __init__(self) -> None:
        super().__init__(Rhythm)

    def problem(self, value: object) -> str | None:
        return None if value in _EVERY else f"must be one of {', '.join(_EVERY)}"


class Count(Param[int]):
    """How many, 1 to `most`."""

    most: int

    def __init__(self, *, most: int) -> None:
        super().__init__(Count)
        object.__setattr__(self, "most", most)

    def problem(self, value: object) -> str | None:
        if type(value) is int and 1 <= value <= self.most:
            return None
        return f"must be an integer, 1 to {self.most}"


class Instants(Param[object]):
    """Instants that no caller gives: a `Timetable` finds them when the saga begins. A step with
    `each=` of them is done once at each."""

    def __init__(self) -> None:
        super().__init__(Instants)

    def problem(self, value: object) -> str | None:
        return "is found when the saga begins: it can't be given"


@dataclass(frozen=True)
class Timetable:
    """`into` is filled with the `times` next occurrences, as `Recurrence` counts them from `first`
    on. What is past when the saga begins is left out, so a `first` in the past says from which day
    of the month to count."""

    into: Instants
    first: Day
    every: Rhythm
    at: TimeOfDay
    zone: Zone
    times: Count

    def instants(self, params: Mapping[str, Any], now_ms: int) -> list[str]:
        """As RFC 3339 text, for good parameters: all later than `now_ms` (since 1970), ascending.

        Depends on the time zone data at hand.
        """
        recurrence = Recurrence(
            date.fromisoformat(params[self.first.name]),
            params[self.every.name],
            time.fromisoformat(params[self.at.name]),
            ZoneInfo(params[self.zone.name]),
        )
        now = datetime.fromtimestamp(now_ms / 1_000, UTC)
        coming = islice(recurrence.following(now), params[self.times.name])
        return [at.isoformat() for at in coming]
