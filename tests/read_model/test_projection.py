"""The pure fold: what a batch of events changes."""

from typing import Any, get_args

import pytest

from messages.account import (
    AccountClosed,
    AccountEvent,
    Captured,
    CommandRefused,
    Frozen,
    Held,
    LimitsChanged,
    Released,
    Unfrozen,
)
from messages.saga import (
    CompensationStarted,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    SagaResumed,
    StartRefused,
    StepSucceeded,
)
from read_model.projection import (
    HISTORY_ONLY,
    PROJECTED,
    WITHOUT_TRACE,
    AccountChange,
    Changes,
    Limits,
    SagaOutcome,
)
from tests.read_model.history import (
    AT_MS,
    credited,
    debited,
    deposited,
    happened,
    opened,
    started,
    withdrawn,
)


def fold(*events: Any, partition: int = 0) -> Changes:
    changes = Changes()
    for event in events:
        changes.add(event, partition)
    return changes


def test_every_event_type_changes_a_row_or_is_named_as_one_that_does_not() -> None:
    rowless = [*WITHOUT_TRACE, *HISTORY_ONLY]
    assert PROJECTED | set(rowless) == {*get_args(AccountEvent), *get_args(SagaEvent)}
    assert not PROJECTED & set(rowless)
    assert set(HISTORY_ONLY) < set(get_args(SagaEvent)), "accounts have no history"


def test_a_started_saga_gives_the_columns_that_never_change() -> None:
    new = fold(started("s1"), partition=3).new_sagas["s1"]
    assert (new.partition, new.tenant, new.definition, new.version) == (3, "acme", "transfer", 1)
    assert (new.source, new.target, new.amount_minor, new.currency) == ("alice", "bob", 500, "EUR")
    assert new.started_at_ms == AT_MS


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ("running", "", "", None)),
        (
            [CompensationStarted(saga_id="s1", at_ms=7, reason="account_closed", step="credit")],
            ("compensating", "account_closed", "", None),
        ),
        (
            [SagaParked(saga_id="s1", at_ms=7, reason="timed_out", step="credit", detail="?")],
            ("parked", "timed_out", "credit", None),
        ),
        (
            [
                SagaParked(saga_id="s1", at_ms=6, reason="timed_out", step="credit"),
                SagaResumed(saga_id="s1", at_ms=7, state="running", reason="answered"),
            ],
            ("running", "answered", "", None),
        ),
        ([SagaCompleted(saga_id="s1", at_ms=7)], ("completed", "", "", 7)),
        (
            [
                CompensationStarted(saga_id="s1", at_ms=6, reason="account_closed"),
                SagaCompensated(saga_id="s1", at_ms=7, reason="account_closed"),
            ],
            ("compensated", "account_closed", "", 7),
        ),
    ],
)
def test_a_saga_stands_where_its_last_event_put_it(
    events: list[Any], expected: tuple[str, str, str, int | None]
) -> None:
    state, reason, step, finished = expected
    outcome = fold(started("s1"), *events).outcomes["s1"]
    at_ms = 7 if events else AT_MS
    assert outcome == SagaOutcome("s1", state, reason, step, at_ms, finished)


def test_a_saga_of_an_earlier_batch_is_changed_not_started() -> None:
    changes = fold(SagaCompleted(saga_id="s1", at_ms=7))
    assert not changes.new_sagas
    assert changes.outcomes["s1"].state == "completed"


@pytest.mark.parametrize(
    ("params", "columns"),
    [
        ({"invoice": 7}, (None, None, None, None)),
        ({"source": 7, "target": None, "currency": ["EUR"]}, (None, None, None, None)),
        ({"amount_minor": "500"}, (None, None, None, None)),
        ({"amount_minor": True}, (None, None, None, None)),
        ({"amount_minor": 5.0}, (None, None, None, None)),
        ({"amount_minor": 2**63 - 1}, (None, None, 2**63 - 1, None)),
        ({"amount_minor": 2**63}, (None, None, None, None)),
    ],
)
def test_params_of_other_shapes_leave_their_columns_empty(
    params: dict[str, Any], columns: tuple[Any, ...]
) -> None:
    new = fold(started("s1", **params)).new_sagas["s1"]
    assert (new.source, new.target, new.amount_minor, new.currency) == columns


def test_text_that_postgresql_cannot_hold_is_shown_not_refused() -> None:
    new = fold(started("s1", tenant="a\0b", source="x\0", note="\0")).new_sagas["s1"]
    assert (new.tenant, new.source) == ("a\ufffdb", "x\ufffd")
    assert "\\u0000" not in new.params


@pytest.mark.parametrize(
    "event",
    [
        StartRefused(saga_id="s1", at_ms=1, request_id="r", reason="params_invalid", detail=""),
        StepSucceeded(saga_id="s1", at_ms=1, step="debit", direction="do", attempt=1),
        CommandRefused(
            **happened("alice", 3), command="account.Debit.v1", reason="account_frozen", detail=""
        ),
    ],
)
def test_an_event_without_trace_changes_nothing(event: Any) -> None:
    changes = fold(event)
    assert not (changes.outcomes or changes.account_changes or changes.world)


def test_a_new_account_is_open_and_empty_with_its_limits() -> None:
    changes = fold(opened("alice", overdraft_limit_minor=10, daily_limit_minor=99), partition=1)
    assert changes.new_accounts["alice"].partition == 1
    assert changes.new_accounts["alice"].currency == "EUR"
    assert changes.account_changes["alice"] == AccountChange(
        "alice", 1, AT_MS + 1, 0, 0, "open", "accept", Limits(10, None, 99)
    )


def test_changes_of_one_account_are_merged_into_one() -> None:
    changes = fold(
        debited("alice", 5, 10, 90),
        Held(**happened("alice", 6), amount_minor=7, currency="EUR", held_minor=7),
        Frozen(**happened("alice", 7), credits="accept"),
        credited("alice", 8, 1, 91),
    )
    assert changes.account_changes == {
        "alice": AccountChange("alice", 8, AT_MS + 8, 91, 7, "frozen", "accept", None)
    }


@pytest.mark.parametrize(
    ("event", "touched"),
    [
        (debited("a", 2, 5, 95), {"balance_minor": 95}),
        (credited("a", 2, 5, 105), {"balance_minor": 105}),
        (deposited("a", 2, 5, 105), {"balance_minor": 105}),
        (withdrawn("a", 2, 5, 95), {"balance_minor": 95}),
        (
            Held(**happened("a", 2), amount_minor=5, currency="EUR", held_minor=15),
            {"held_minor": 15},
        ),
        (
            Released(
                **happened("a", 2), hold_id="h", amount_minor=5, currency="EUR", held_minor=10
            ),
            {"held_minor": 10},
        ),
        (
            Captured(
                **happened("a", 2),
                hold_id="h",
                amount_minor=5,
                currency="EUR",
                balance_minor=95,
                held_minor=10,
            ),
            {"balance_minor": 95, "held_minor": 10},
        ),
        (Frozen(**happened("a", 2), credits="refuse"), {"status": "frozen", "credits": "refuse"}),
        (Unfrozen(**happened("a", 2)), {"status": "open", "credits": "accept"}),
        (AccountClosed(**happened("a", 2)), {"status": "closed"}),
        (
            LimitsChanged(
                **happened("a", 2),
                overdraft_limit_minor=1,
                transfer_limit_minor=2,
                daily_limit_minor=None,
            ),
            {"limits": Limits(1, 2, None)},
        ),
    ],
)
def test_an_account_event_touches_its_columns_only(event: Any, touched: dict[str, Any]) -> None:
    expected = AccountChange("a", 2, AT_MS + 2, **touched)
    assert fold(event).account_changes["a"] == expected


def test_the_world_loses_what_is_deposited_and_gains_what_is_withdrawn() -> None:
    changes = fold(deposited("a", 2, 100, 100), withdrawn("a", 3, 30, 70), partition=5)
    assert changes.world == {("EUR", 5): -70}


def test_money_between_accounts_does_not_touch_the_world() -> None:
    assert not fold(debited("a", 2, 5, 95), credited("b", 2, 5, 105)).world
