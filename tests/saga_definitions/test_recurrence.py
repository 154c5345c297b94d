"""The days and hours of standing orders: month ends, leap years, and clocks that change."""

from datetime import date, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_definitions.recurrence import Every, Recurrence

BERLIN = ZoneInfo("Europe/Berlin")


def days(first: str, every: Every, times: int) -> list[str]:
    order = Recurrence(date.fromisoformat(first), every, time(9), BERLIN)
    return [order.occurrence(number).date().isoformat() for number in range(times)]


def local(day: str, at: str, zone: str = "Europe/Berlin") -> str:
    order = Recurrence(date.fromisoformat(day), "day", time.fromisoformat(at), ZoneInfo(zone))
    return order.occurrence(0).isoformat()


def test_the_last_of_the_month_stays_the_last_and_comes_back() -> None:
    assert days("2027-01-31", "month", 4) == [
        "2027-01-31",
        "2027-02-28",
        "2027-03-31",
        "2027-04-30",
    ]
    assert days("2028-01-31", "month", 2)[1] == "2028-02-29"


def test_the_year_turns() -> None:
    assert days("2026-11-30", "month", 4) == [
        "2026-11-30",
        "2026-12-30",
        "2027-01-30",
        "2027-02-28",
    ]


def test_the_29th_of_february_comes_every_year() -> None:
    assert days("2028-02-29", "year", 5) == [
        "2028-02-29",
        "2029-02-28",
        "2030-02-28",
        "2031-02-28",
        "2032-02-29",
    ]


def test_weeks_and_days() -> None:
    assert days("2026-12-28", "week", 2) == ["2026-12-28", "2027-01-04"]
    assert days("2026-12-31", "day", 2) == ["2026-12-31", "2027-01-01"]


def test_the_hour_is_the_one_on_the_wall_in_summer_and_winter() -> None:
    assert local("2027-01-15", "09:00") == "2027-01-15T09:00:00+01:00"
    assert local("2027-07-15", "09:00") == "2027-07-15T09:00:00+02:00"
    assert local("2027-07-15", "09:00", "Asia/Kathmandu") == "2027-07-15T09:00:00+05:45"


def test_an_hour_that_is_left_out_comes_later() -> None:
    assert local("2027-03-28", "02:30") == "2027-03-28T03:30:00+02:00"
    # Lord Howe's clocks go forward by half an hour only.
    assert local("2026-10-04", "02:15", "Australia/Lord_Howe") == "2026-10-04T02:45:00+11:00"


def test_an_hour_that_comes_twice_is_the_first_one() -> None:
    assert local("2027-10-31", "02:30") == "2027-10-31T02:30:00+02:00"


def test_a_day_that_a_country_left_out_is_the_next_one() -> None:
    # Samoa went over the date line: there was no 30 December 2011.
    assert local("2011-12-30", "09:00", "Pacific/Apia") == "2011-12-31T09:00:00+14:00"


def test_nothing_comes_after_the_year_9999() -> None:
    with pytest.raises(OverflowError):
        days("9999-12-31", "month", 2)


orders = st.builds(
    Recurrence,
    st.dates(date(2020, 1, 1), date(2030, 12, 31)),
    st.sampled_from(("day", "week", "month", "year")),
    st.times(),
    st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")).map(ZoneInfo),
)


@given(orders, st.integers(0, 300), st.floats(0, 0.999))
def test_what_follows_a_moment_are_all_later_occurrences(
    order: Recurrence, number: int, share: float
) -> None:
    near = [order.occurrence(each) for each in range(number, number + 4)]
    assert all(one < other for one, other in pairwise(near))
    moment = near[0] + (near[1] - near[0]) * share
    assert list(islice(order.following(moment), 3)) == near[1:]


@given(orders, st.integers(1, 10_000))
def test_before_the_first_one_all_of_them_follow(order: Recurrence, days_before: int) -> None:
    first = order.occurrence(0)
    assert next(order.following(first - timedelta(days=days_before))) == first
