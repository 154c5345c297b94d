"""When a standing order is due: dates that recur, at a wall-clock time in a time zone. Pure.

Every occurrence is counted from the first one, so a month that is too short moves no later one: it
is 31 January, 28 (or 29) February, 31 March. Holidays and weekends are not looked at.
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Final, Literal
from zoneinfo import ZoneInfo

Every = Literal["day", "week", "month", "year"]

_DAYS: Final[dict[Every, int]] = {"day": 1, "week": 7}
_MONTHS: Final[dict[Every, int]] = {"month": 1, "year": 12}


@dataclass(frozen=True)
class Recurrence:
    """From `first` on, `every` day, week, month or year, `at` a local time in `zone`.

    A local time that a change of clocks leaves out is taken as many minutes later as the clocks go
    forward; one that comes twice is taken the first time.
    """

    first: date
    every: Every
    at: time
    zone: ZoneInfo

    def occurrence(self, number: int) -> datetime:
        """The occurrence `number`, from 0, with its offset. Raises OverflowError beyond 9999."""
        local = datetime.combine(self._day(number), self.at, self.zone)
        # By way of UTC a time that does not exist becomes one that does.
        return local.astimezone(UTC).astimezone(self.zone)

    def following(self, moment: datetime) -> Iterator[datetime]:
        """The occurrences later than `moment`, which needs an offset, without an end."""
        # In UTC: two times of one zone would be compared by what the clocks show.
        moment = moment.astimezone(UTC)
        near = (self.occurrence(number) for number in count(self._near(moment)))
        return (at for at in near if at > moment)

    def _day(self, number: int) -> date:
        if self.every in _DAYS:
            return self.first + timedelta(days=number * _DAYS[self.every])
        months = self.first.month - 1 + number * _MONTHS[self.every]
        year, month = self.first.year + months // 12, months % 12 + 1
        if year > date.max.year:
            raise OverflowError("there is no year after 9999")
        return date(year, month, min(self.first.day, monthrange(year, month)[1]))

    def _near(self, moment: datetime) -> int:
        """An occurrence not later than `moment`, or the first one, without counting up to it."""
        days = (moment.astimezone(self.zone).date() - self.first).days
        # No month or year is longer than that, and a day of slack for the time of day.
        length = _DAYS.get(self.every) or 31 * _MONTHS[self.every]
        return max(0, (days - 1) // length)
