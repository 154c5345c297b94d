"""What a batch of events changes in the read model: a pure fold, no database.

Within a batch the changes of one saga or account are merged, so that each row is written once per
transaction. Account events carry the amounts afterwards, and saga events the state, so nothing
has to be read back. An event changes only rows of its own journal partition.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from journal.log import Record
from messages.account import (
    AccountClosed,
    AccountOpened,
    Captured,
    CommandRefused,
    Credited,
    CreditedOnHold,
    Debited,
    Deposited,
    EffectRepeated,
    EffectVoided,
    Frozen,
    Happened,
    Held,
    LimitsChanged,
    Released,
    Unfrozen,
    Withdrawn,
)
from messages.child import ChildRefused, ParentAnswered, ParentAsked
from messages.money import MAX_MINOR
from messages.saga import (
    WAITING,
    AnswerIgnored,
    CompensationStarted,
    RecoveryAccepted,
    RecoveryRefused,
    RecoveryRepeated,
    SagaCompensated,
    SagaCompleted,
    SagaParked,
    SagaResumed,
    SagaStarted,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    StartRefused,
    StartRepeated,
    StepRefused,
    StepRequested,
    StepSkipped,
    StepSucceeded,
    StepTimedOut,
    StepWaiting,
    WaitEnded,
)
from messages.wire import encode
from read_model.history import Item, named, without_plan
from read_model.shortening import shortened

WITHOUT_TRACE: Final = (CommandRefused, EffectRepeated, EffectVoided)
"""Events of accounts that change no row."""

HISTORY_ONLY: Final = (
    StartRepeated,
    StartRefused,
    StepRequested,
    StepSucceeded,
    StepRefused,
    StepTimedOut,
    AnswerIgnored,
    RecoveryAccepted,
    RecoveryRefused,
    RecoveryRepeated,
    StepSkipped,
    SignalRepeated,
    SignalRefused,
    ParentAsked,
    ParentAnswered,
    ChildRefused,
)
"""Events that a saga's history tells and its row does not: they are kept without being decoded.
Steps are many and `updated_at` is not worth a write for each: it tells when the state changed."""


class SagaOutcome(msgspec.Struct, gc=False):
    """How a saga stands; each such event says all of it, so the last one wins."""

    saga_id: str
    state: str
    reason: str
    step: str
    updated_at_ms: int
    finished_at_ms: int | None


class NewSaga(msgspec.Struct, gc=False):
    """A saga that started in this batch; `params` as JSON text, long lists cut off."""

    saga_id: str
    partition: int
    tenant: str
    definition: str
    version: int
    params: str
    source: str | None
    target: str | None
    amount_minor: int | None
    currency: str | None
    started_at_ms: int


class Limits(msgspec.Struct, gc=False, frozen=True):
    overdraft_minor: int
    transfer_minor: int | None
    daily_minor: int | None


class NewAccount(msgspec.Struct, gc=False):
    """An account that was opened in this batch."""

    account_id: str
    partition: int
    currency: str


class AccountChange(msgspec.Struct, gc=False):
    """What a batch changed in an account; None: not touched."""

    account_id: str
    version: int
    updated_at_ms: int
    balance_minor: int | None = None
    held_minor: int | None = None
    status: str | None = None
    credits: str | None = None
    limits: Limits | None = None


class Changes:
    """The row changes of one batch, merged. `add` takes the events of a partition in order.

    A saga or account that is new in this batch stands in `new_sagas` / `new_accounts` AND, with
    what became of it, in `outcomes` / `account_changes`. `world`: (currency, partition) -> what
    is to be added to the balance. `histories`: key -> its saga's events of this batch, as
    `read_model.history` stores them; `plans`: those that they name.
    """

    __slots__ = (
        "account_changes",
        "histories",
        "new_accounts",
        "new_sagas",
        "outcomes",
        "plans",
        "world",
    )

    def __init__(self) -> None:
        self.new_sagas: dict[str, NewSaga] = {}
        self.outcomes: dict[str, SagaOutcome] = {}
        self.new_accounts: dict[str, NewAccount] = {}
        self.account_changes: dict[str, AccountChange] = {}
        self.world: dict[tuple[str, int], int] = {}
        self.histories: dict[bytes | None, list[Item]] = {}
        self.plans: dict[str, bytes] = {}

    def add(self, event: object, partition: int) -> None:
        """Fold one event; an event that leaves no trace here is ignored."""
        fold = _FOLDS.get(type(event))
        if fold is not None:
            fold(self, event, partition)

    def remember(self, record: Record) -> None:
        """Add an event of a saga to its history: the record's key is the saga's id."""
        self._remember(record, record.value or b"null")

    def remember_start(self, event: SagaStarted, record: Record) -> None:
        digest, plan = named(event.plan)
        self.plans[digest] = plan
        self._remember(record, without_plan(event, digest))

    def _remember(self, record: Record, value: bytes) -> None:
        history = self.histories.get(record.key)
        if history is None:
            self.histories[record.key] = [(record.offset, value)]
        else:
            history.append((record.offset, value))

    def outcome(
        self, event: Any, state: str, reason: str = "", step: str = "", *, finished: bool = False
    ) -> None:
        saga_id, at_ms = event.saga_id, event.at_ms
        self.outcomes[saga_id] = SagaOutcome(
            saga_id, state, storable(reason), storable(step), at_ms, at_ms if finished else None
        )

    def account(self, event: Happened) -> AccountChange:
        change = self.account_changes.get(event.account_id)
        if change is None:
            change = AccountChange(event.account_id, event.version, event.at_ms)
            self.account_changes[event.account_id] = change
        else:
            change.version = event.version
            change.updated_at_ms = event.at_ms
        return change


def storable(text: str) -> str:
    """PostgreSQL's text holds no NUL: it is shown as U+FFFD rather than stopping the read model."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def _storable_json(text: str) -> str:
    # Its jsonb neither, written as an escape.
    return text.replace("\\u0000", "\\ufffd") if "\\u0000" in text else text


def _text_of(params: dict[str, Any], name: str) -> str | None:
    value = params.get(name)
    return storable(value) if type(value) is str else None


def _saga_started(changes: Changes, event: SagaStarted, partition: int) -> None:
    params = event.params
    amount = params.get("amount_minor")
    changes.new_sagas[event.saga_id] = NewSaga(
        event.saga_id,
        partition,
        storable(event.tenant),
        event.plan.definition,
        event.plan.version,
        _storable_json(encode(shortened(params)).decode()),
        _text_of(params, "source"),
        _text_of(params, "target"),
        amount if type(amount) is int and abs(amount) <= MAX_MINOR else None,
        _text_of(params, "currency"),
        event.at_ms,
    )
    changes.outcome(event, "running")


def _compensation_started(changes: Changes, event: CompensationStarted, partition: int) -> None:
    changes.outcome(event, "compensating", event.reason)


def _saga_parked(changes: Changes, event: SagaParked, partition: int) -> None:
    changes.outcome(event, "parked", event.reason, event.step)


def _saga_resumed(changes: Changes, event: SagaResumed, partition: int) -> None:
    changes.outcome(event, event.state, event.reason)


def _step_waiting(changes: Changes, event: StepWaiting, partition: int) -> None:
    changes.outcome(event, "running", WAITING, event.step)


def _wait_ended(changes: Changes, event: WaitEnded | SignalAccepted, partition: int) -> None:
    # A parked saga stays parked for its own reason.
    if event.state == "running":
        still = event.still_waiting
        changes.outcome(event, "running", WAITING if still else "", still)


def _saga_completed(changes: Changes, event: SagaCompleted, partition: int) -> None:
    changes.outcome(event, "completed", event.reason, finished=True)


def _saga_compensated(changes: Changes, event: SagaCompensated, partition: int) -> None:
    changes.outcome(event, "compensated", event.reason, finished=True)


def _account_opened(changes: Changes, event: AccountOpened, partition: int) -> None:
    changes.new_accounts[event.account_id] = NewAccount(event.account_id, partition, event.currency)
    change = changes.account(event)
    change.balance_minor = change.held_minor = 0
    change.status, change.credits = "open", "accept"
    change.limits = _limits(event)


def _limits_changed(changes: Changes, event: LimitsChanged, partition: int) -> None:
    changes.account(event).limits = _limits(event)


def _limits(event: AccountOpened | LimitsChanged) -> Limits:
    return Limits(event.overdraft_limit_minor, event.transfer_limit_minor, event.daily_limit_minor)


def _balance_changed(changes: Changes, event: Debited | Credited, partition: int) -> None:
    changes.account(event).balance_minor = event.balance_minor


def _deposited(changes: Changes, event: Deposited, partition: int) -> None:
    changes.account(event).balance_minor = event.balance_minor
    key = (event.currency, partition)
    changes.world[key] = changes.world.get(key, 0) - event.amount_minor


def _withdrawn(changes: Changes, event: Withdrawn, partition: int) -> None:
    changes.account(event).balance_minor = event.balance_minor
    key = (event.currency, partition)
    changes.world[key] = changes.world.get(key, 0) + event.amount_minor


def _holds_changed(changes: Changes, event: Held | Released, partition: int) -> None:
    changes.account(event).held_minor = event.held_minor


def _both_changed(changes: Changes, event: Captured | CreditedOnHold, partition: int) -> None:
    change = changes.account(event)
    change.balance_minor, change.held_minor = event.balance_minor, event.held_minor


def _frozen(changes: Changes, event: Frozen, partition: int) -> None:
    change = changes.account(event)
    change.status, change.credits = "frozen", event.credits


def _unfrozen(changes: Changes, event: Unfrozen, partition: int) -> None:
    change = changes.account(event)
    change.status, change.credits = "open", "accept"


def _closed(changes: Changes, event: AccountClosed, partition: int) -> None:
    changes.account(event).status = "closed"


# A table, not a `match`: class patterns are tried one after the other, and this runs per record.
# `tests/read_model/test_projection.py` holds it to the whole of AccountEvent and SagaEvent.
_FOLDS: Final[dict[type[Any], Callable[[Changes, Any, int], None]]] = {
    SagaStarted: _saga_started,
    CompensationStarted: _compensation_started,
    SagaParked: _saga_parked,
    SagaResumed: _saga_resumed,
    StepWaiting: _step_waiting,
    WaitEnded: _wait_ended,
    SignalAccepted: _wait_ended,
    SagaCompleted: _saga_completed,
    SagaCompensated: _saga_compensated,
    AccountOpened: _account_opened,
    LimitsChanged: _limits_changed,
    Debited: _balance_changed,
    Credited: _balance_changed,
    Deposited: _deposited,
    Withdrawn: _withdrawn,
    Held: _holds_changed,
    Released: _holds_changed,
    Captured: _both_changed,
    CreditedOnHold: _both_changed,
    Frozen: _frozen,
    Unfrozen: _unfrozen,
    AccountClosed: _closed,
}
PROJECTED: Final = frozenset(_FOLDS)
"""The event types that change a row."""
