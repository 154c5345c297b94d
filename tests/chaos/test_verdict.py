"""What a run must have done to be called good."""

from chaos.verdict import LEAST_FAULTS, LONG_RUN_MINUTES, too_few


def test_a_long_run_with_too_few_faults_is_not_good() -> None:
    assert too_few(LEAST_FAULTS - 1, LONG_RUN_MINUTES)
    assert too_few(LEAST_FAULTS, LONG_RUN_MINUTES) == []


def test_a_short_run_may_have_few_faults() -> None:
    assert too_few(1, LONG_RUN_MINUTES - 1) == []
