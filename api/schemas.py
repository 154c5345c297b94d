"""What goes in and out of the API as JSON: bodies are strict, answers name their position."""

from typing import Annotated, Any, Literal

import msgspec

from messages.account import AccountId, CreditPolicy
from messages.money import Amount, Currency, Limit
from messages.saga import Person, Result, SagaState, Verdict
from orchestrator.progress import StepState

AsOf = Annotated[
    str,
    msgspec.Meta(
        description="The journal position that this answer knows of. Give it as ?after= to a GET "
        "to see at least as much.",
        examples=["orchestrator.journal/3@1234"],
    ),
]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class OpenAccountBody(_Body, frozen=True, kw_only=True):
    """`id` left out: the account is named by the Idempotency-Key. A limit of null: none."""

    currency: Currency
    id: AccountId | None = None
    overdraft_limit_minor: Limit = 0
    transfer_limit_minor: Limit | None = None
    daily_limit_minor: Limit | None = None


class LimitsBody(_Body, frozen=True, kw_only=True):
    """All three limits as they shall be from now on; left out: 0 and none."""

    overdraft_limit_minor: Limit = 0
    transfer_limit_minor: Limit | None = None
    daily_limit_minor: Limit | None = None


class MoneyBody(_Body, frozen=True, kw_only=True):
    amount_minor: Amount
    currency: Currency


class FreezeBody(_Body, frozen=True, kw_only=True):
    credits: CreditPolicy = "refuse"


class TransferBody(msgspec.Struct, frozen=True, kw_only=True):
    """For the API's description only: the definition itself says what is good.

    A definition of another name may have other members.
    """

    source: AccountId
    target: AccountId
    amount_minor: Amount
    currency: Currency
    reference: Annotated[str, msgspec.Meta(max_length=140)] = ""
    definition: str = "transfer"


class TransferStarted(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` says why the transfer is in its `state`; empty when all goes well. `running`
    because of `waiting`: it waits for a person or a time."""

    id: str
    definition: str
    state: SagaState
    reason: str
    as_of: AsOf


class TransferView(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer as the read model knows it. `step`: where it is parked or waits, if it does."""

    id: str
    definition: str
    version: int
    state: SagaState
    reason: str
    step: str
    params: dict[str, Any]
    started_at: str
    updated_at: str
    finished_at: str | None
    as_of: AsOf


class LegsView(msgspec.Struct, frozen=True, kw_only=True):
    """How many legs a step has, and how they stand. `pending`: not asked for yet; `under_way`: an
    answer or another try is awaited; `in_doubt`: nobody can tell, a person has to look."""

    count: int
    pending: int
    under_way: int
    in_doubt: int
    applied: int
    refused: int
    undone: int


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `attempt` counts within its direction: forward, or back once it is being undone.

    `after`: the steps it waits for. `answer_due_at`, `retry_at`: what it waits for now, if it does.
    `legs`: of a step that is done leg by leg; GET .../legs tells of each of them.
    `saga`: the id of the saga that the step is, if it is one and was asked for.
    """

    name: str
    state: StepState
    attempt: int
    reason: str
    after: list[str]
    pivot: bool
    reversible: bool
    answer_due_at: str | None
    retry_at: str | None
    result: dict[str, Any]
    saga: str | None
    legs: LegsView | None = None


class LegView(msgspec.Struct, frozen=True, kw_only=True):
    """One leg: its number, its element of the list, and how it stands. `saga`: the id of the saga
    that it is, if it is one and was asked for."""

    leg: int
    element: Any
    state: StepState
    attempt: int
    reason: str
    saga: str | None


class LegsPage(msgspec.Struct, frozen=True, kw_only=True):
    """By number. `next`: give it as ?from= for the page behind; null on the last one."""

    id: str
    step: str
    legs: list[LegView]
    next: int | None
    as_of: AsOf


class ParentView(msgspec.Struct, frozen=True, kw_only=True):
    """The saga that another saga is a step of."""

    id: str
    step: str


class SagaView(TransferView, frozen=True, kw_only=True):
    """A saga with its steps, in an order in which every step comes after those it waits for.

    `parent`: the saga that it is a step of, if it is one.
    """

    deadline_at: str
    parent: ParentView | None
    steps: list[StepView]


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event: its offset in the journal, when it was decided, in words, and all its fields as
    the journal has them (of a plan its digest)."""

    offset: int
    at: str
    type: str
    text: str
    event: dict[str, Any]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest first. `next`: give it as ?from= for the page behind; null on the last one."""

    id: str
    started_at: str
    entries: list[TimelineEntry]
    next: int | None
    as_of: AsOf


class RecoveryBody(_Body, frozen=True, kw_only=True):
    """Who asks and why: kept in the journal for good."""

    who: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class RecoveryView(msgspec.Struct, frozen=True, kw_only=True):
    """The saga right after the request was taken."""

    id: str
    action: str
    state: SagaState
    reason: str
    as_of: AsOf


class SignalBody(_Body, frozen=True, kw_only=True):
    """What is decided, who decides and why: kept in the journal for good."""

    verdict: Verdict
    who: Person
    why: Annotated[str, msgspec.Meta(max_length=500)] = ""
    payload: Annotated[Result, msgspec.Meta(max_length=20)] = {}


class SignalView(msgspec.Struct, frozen=True, kw_only=True):
    """The saga right after the signal was taken."""

    id: str
    signal: str
    state: SagaState
    reason: str
    as_of: AsOf


class SagaCountView(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    definition: str
    reason: str
    count: int


class SagaCounts(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: when they were counted."""

    at: str
    counts: list[SagaCountView]


class MinuteView(msgspec.Struct, frozen=True, kw_only=True):
    """Of the sagas started in the minute that begins `at`: how many, and how they stand now."""

    at: str
    started: int
    completed: int
    compensated: int


class ActivityView(msgspec.Struct, frozen=True, kw_only=True):
    """The last 10 minutes as of `at`; minutes without a start are left out. Durations, from start
    to end, are of the newest `sample` sagas that have ended; null when none has."""

    at: str
    minutes: list[MinuteView]
    sample: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class SagaPage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first. `next`: give it as ?before= for the page behind; null on the last one."""

    sagas: list[TransferView]
    next: str | None


class AccountChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one order. `version` counts the account's changes.

    Of a repetition (Idempotency-Replayed: true) `version` is the account's now, and
    `balance_minor` is null: the balance after the first time is not remembered.
    """

    account_id: str
    event: str
    version: int
    as_of: AsOf
    amount_minor: int | None = None
    currency: str | None = None
    balance_minor: int | None = None


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the read model knows it. available = balance + overdraft limit - held."""

    id: str
    version: int
    status: Literal["open", "frozen", "closed"]
    credits: CreditPolicy
    currency: str
    balance_minor: int
    held_minor: int
    available_minor: int
    overdraft_limit_minor: int
    transfer_limit_minor: int | None
    daily_limit_minor: int | None
    updated_at: str
    as_of: AsOf


class AccountPage(msgspec.Struct, frozen=True, kw_only=True):
    """By id. `next`: give it as ?from= for the page behind; null on the last one."""

    accounts: list[AccountView]
    next: str | None


class WorldView(msgspec.Struct, frozen=True):
    """What the world owes the bank per currency: withdrawals minus deposits."""

    balances_minor: dict[str, int]


class Health(msgspec.Struct, frozen=True):
    """`parts`: "ok", or what is wrong with the part."""

    status: Literal["ok", "not ready"]
    parts: dict[str, str]
