"""The clock does not believe a wall clock that jumps, until it stays where it jumped to."""

from journal.clock import BELIEVED_AFTER_MS, MAX_STEP_MS, SystemClock

WEEK_MS = 7 * 24 * 3600 * 1000


class Clocks:
    """Of a process that has been running for a while."""

    def __init__(self, running_ms: int = BELIEVED_AFTER_MS) -> None:
        self.wall, self.steady = 1_000_000 - running_ms, 5_000
        self.clock = SystemClock(lambda: self.wall, lambda: self.steady)
        self.passes(running_ms)

    def passes(self, ms: int) -> None:
        self.wall += ms
        self.steady += ms


def test_it_follows_the_wall_clock_through_small_steps():
    clocks = Clocks()
    clocks.passes(100)
    clocks.wall += MAX_STEP_MS
    assert clocks.clock.now_ms() == clocks.wall
    clocks.wall -= MAX_STEP_MS
    assert clocks.clock.now_ms() == clocks.wall


def test_a_week_ahead_for_a_moment_is_not_believed():
    clocks = Clocks()
    clocks.wall += WEEK_MS
    clocks.passes(1_000)
    assert clocks.clock.now_ms() == 1_001_000
    clocks.wall -= WEEK_MS
    assert clocks.clock.now_ms() == clocks.wall == 1_001_000


def test_a_step_that_lasts_is_believed():
    clocks = Clocks()
    clocks.wall -= 3_600_000
    assert clocks.clock.now_ms() == 1_000_000
    clocks.passes(BELIEVED_AFTER_MS - 1)
    assert clocks.clock.now_ms() == 1_000_000 + BELIEVED_AFTER_MS - 1
    clocks.passes(1)
    assert clocks.clock.now_ms() == clocks.wall


def test_a_clock_that_was_wrong_at_the_start_is_believed_once_it_has_been_right_for_longer():
    clocks = Clocks(running_ms=5_000)
    clocks.wall += WEEK_MS
    assert clocks.clock.now_ms() == 1_000_000
    clocks.passes(4_999)
    assert clocks.clock.now_ms() == 1_004_999
    clocks.passes(1)
    assert clocks.clock.now_ms() == clocks.wall


def test_a_step_that_was_believed_counts_as_long_as_it_has_lasted():
    clocks = Clocks()
    for step_ms in (WEEK_MS, -WEEK_MS):
        before = clocks.clock.now_ms()
        clocks.wall += step_ms
        assert clocks.clock.now_ms() == before
        clocks.passes(BELIEVED_AFTER_MS - 1)
        assert clocks.clock.now_ms() == before + BELIEVED_AFTER_MS - 1
        clocks.passes(1)
        assert clocks.clock.now_ms() == clocks.wall


def test_doubt_begins_anew_when_the_clock_was_right_in_between():
    clocks = Clocks()
    for _ in range(3):
        clocks.wall += WEEK_MS
        clocks.clock.now_ms()
        clocks.passes(BELIEVED_AFTER_MS - 1)
        clocks.wall -= WEEK_MS
        assert clocks.clock.now_ms() == clocks.wall


def test_the_machines_own_clock_is_near_the_wall_clock():
    import time

    assert abs(SystemClock().now_ms() - time.time() * 1000) < 1_000
