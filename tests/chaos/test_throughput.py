from chaos import throughput


def ends(*spans: tuple[float, float, float]) -> list[float]:
    """(from, to, per second)"""
    found: list[float] = []
    for from_s, to_s, per_s in spans:
        found += [from_s + n / per_s for n in range(round((to_s - from_s) * per_s))]
    return found


def test_a_standstill_lasts_from_the_death_until_the_work_goes_on() -> None:
    done = ends((0, 10, 100), (14, 40, 100))
    # The window that begins at 12.75 s has 0.75 s of work in it, too little; that at 13 s enough.
    assert 3 <= throughput.low_for_s(done, 10, 40, 100) - 1 <= 4
    assert throughput.low_for_s(done, 20, 40, 100) == 0


def test_a_standstill_that_begins_late_is_seen() -> None:
    done = ends((0, 18, 100), (22, 40, 100))
    assert 11 <= throughput.low_for_s(done, 10, 40, 100) <= 13


def test_work_at_a_tenth_of_the_rate_is_not_back() -> None:
    done = ends((0, 10, 100), (10, 40, 10))
    assert throughput.low_for_s(done, 10, 40, 100) == 30
    assert throughput.back_after_s(done, 10, 40, 100) is None


def test_no_work_at_all_is_never_back() -> None:
    assert throughput.low_for_s([], 10, 40, 0) == 30
    assert throughput.back_after_s([], 10, 40, 0) is None


def test_the_first_good_window_tells_that_the_work_is_back() -> None:
    done = ends((0, 10, 100), (14, 16, 100), (25, 40, 100))
    # The window that begins at 13.25 s is the first with more than a second's work in it.
    assert throughput.back_after_s(done, 10, 40, 100) == 3.25


def test_the_longest_gap_is_between_two_ends() -> None:
    assert throughput.longest_gap_s([0.0, 1.0, 7.5, 8.0]) == 6.5
    assert throughput.longest_gap_s([]) == 0
