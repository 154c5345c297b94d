"""Dead letters: which of them may be asked again and why not, and what exactly that writes. Pure.

Requeueing pays nobody twice, however often and by however many people it is done: only requests of
their own are taken, with the effect id or saga id and the time of issue that they came with. An
account repeats its answer to an effect that it knows and refuses one that is too old to be known;
the saga engine does the same with a saga id.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from account_service.effects import MAX_SKEW_MS
from account_service.service import INPUTS as ACCOUNT_INPUTS
from account_service.service import TOPICS as ACCOUNT
from journal.log import Entry, Place
from journal.records import SEQUENCE, SOURCE, RecordRejected
from journal.topics import MAX_INPUT_BYTES
from messages.account import (
    AccountCommand,
    ChangeLimits,
    CloseAccount,
    Deposit,
    Freeze,
    OpenAccount,
    Unfreeze,
    Withdraw,
)
from messages.child import StartChild, UndoChild
from messages.routing import partition_of
from messages.saga import RecoverSaga, SagaInput, SignalSaga, StartSaga, StepApplied, StepDeclined
from messages.wire import Codec, Undecodable, type_name
from orchestrator.service import INPUTS as SAGA_INPUTS
from orchestrator.service import TOPICS as ORCHESTRATOR
from read_model.position import parse

REQUEUED_BY: Final = "makegood_requeued_by"
REQUEUED_WHY: Final = "makegood_requeued_why"
REQUEUED_FROM: Final = "makegood_requeued_from"

# A requeued record is a request of its own: no link's number, and no mark of an earlier time.
_LEFT_OUT: Final = frozenset((SOURCE, SEQUENCE, REQUEUED_BY, REQUEUED_WHY, REQUEUED_FROM))

INPUTS: Final[dict[str, Codec[Any]]] = {
    ACCOUNT.input: ACCOUNT_INPUTS,
    ORCHESTRATOR.input: SAGA_INPUTS,
}

REQUESTS: Final = (
    OpenAccount,
    ChangeLimits,
    Deposit,
    Withdraw,
    Freeze,
    Unfreeze,
    CloseAccount,
    StartSaga,
)
"""What callers ask for. The other commands move money of a saga's transit account."""

MAX_MARK: Final = 300
"""Characters of `--who` and of `--why`."""

_MAX_RECORD_BYTES: Final = MAX_INPUT_BYTES - 4096


class Position(NamedTuple):
    """Where the rejected input stands: `account.input/0@17`."""

    place: Place
    offset: int

    def __str__(self) -> str:
        return f"{self.place}@{self.offset}"


def position_of(text: str) -> Position:
    """Raises ValueError (read_model.position.PositionMalformed)."""
    return Position(*parse(text))


def position_in(letter: RecordRejected) -> Position:
    return Position(Place(letter.topic, letter.partition), letter.offset)


def moment_ms(text: str) -> int:
    """An ISO 8601 time as ms since 1970; UTC unless it says otherwise. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def moment(at_ms: int) -> str:
    """`2026-01-31T12:00:00Z`; a number that is no such time as it is."""
    if not 0 <= at_ms < 253_402_300_800_000:
        return f"{at_ms} ms after 1970"
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Requeue(NamedTuple):
    """`entry` goes to `place`. The rest is what a person wants to know before."""

    position: Position
    place: Place
    entry: Entry
    message: str
    named: str


class Refusal(NamedTuple):
    """Nothing is written for `position`, and why."""

    position: Position
    reason: str


class Facts(NamedTuple):
    """What requeueing has to know of the bank. `partitions`: input topic -> its count."""

    partitions: Mapping[str, int]
    now_ms: int
    effect_horizon_ms: int
    saga_memory_ms: int


def requeue(letter: RecordRejected, facts: Facts, who: str, why: str) -> Requeue | Refusal:
    """What asking again for `letter` writes, or why it must not be asked again."""
    position = position_in(letter)
    codec = INPUTS.get(letter.topic)
    if codec is None:
        return Refusal(position, f"{letter.topic} is no input of a service")
    try:
        message: AccountCommand | SagaInput = codec.decode(letter.value)
    except Undecodable as error:
        return Refusal(position, f"it still can't be decoded: {error.reason}")
    refused = _why_not(message, facts)
    if refused:
        return Refusal(position, refused)
    count = facts.partitions.get(letter.topic, 0)
    if not count:
        return Refusal(position, f"there is no topic {letter.topic}")
    aggregate, named = _names(message)
    place = Place(letter.topic, partition_of(aggregate, count))
    entry = Entry(letter.key, letter.value, _headers(letter, who, why))
    if _size(entry) > _MAX_RECORD_BYTES:
        return Refusal(position, f"it is larger than the {MAX_INPUT_BYTES} bytes of a record")
    return Requeue(position, place, entry, type_name(message), named)


def _why_not(message: AccountCommand | SagaInput, facts: Facts) -> str:
    """Why only somebody else may send `message`; empty if it is a request that stands alone."""
    kind = type_name(message)
    match message:
        case StartSaga():
            pass
        case StepApplied() | StepDeclined():
            return (
                f"{kind} is an answer to saga {message.saga_id}, and may be out of date: the saga "
                "engine asks again by itself until it is answered"
            )
        case RecoverSaga():
            return (
                f"{message.action} was asked for saga {message.saga_id} as it stood then: look at "
                "it, and ask anew (makegood saga)"
            )
        case SignalSaga():
            return (
                f"{message.verdict} of {message.signal} was said of saga {message.saga_id} as it "
                "stood then: look at it, and say it anew (makegood saga)"
            )
        case _:
            if message.reply_to or message.saga_id or message.undoes or message.direction != "do":
                return (
                    f"it is a step of a saga ({message.saga_id or 'not named'}, step "
                    f"{message.step or 'not named'}): the saga engine itself sends it again"
                )
            if not isinstance(message, REQUESTS):
                return f"only sagas send {kind}: it moves money of a saga's transit account"
    return _untimely(message, facts)


def _untimely(message: Any, facts: Facts) -> str:
    """Why `message` is too old, or from the future; empty if it is neither.

    Memory is counted from when a request was handled, so an issuer's clock that was ahead within
    what services bear must not let it outlive that.
    """
    issued = moment(message.issued_at_ms)
    if message.issued_at_ms > facts.now_ms + MAX_SKEW_MS:
        return f"it was issued at {issued}, in the future: its sender's clock is wrong"
    saga = isinstance(message, StartSaga)
    known_ms = facts.saga_memory_ms - MAX_SKEW_MS if saga else facts.effect_horizon_ms
    if facts.now_ms - message.issued_at_ms >= known_ms:
        return (
            f"it was issued at {issued}, too long ago: nobody knows any more whether it was done; "
            "let its caller ask anew"
        )
    return ""


def _names(message: AccountCommand | SagaInput) -> tuple[str, str]:
    """The aggregate's id, and what makes the message safe to repeat."""
    if isinstance(message, StartChild | UndoChild):
        return message.child_id, f"saga {message.child_id}"
    if isinstance(message, SagaInput):
        return message.saga_id, f"saga {message.saga_id}"
    return message.account_id, f"account {message.account_id}, effect {message.effect_id}"


def _headers(letter: RecordRejected, who: str, why: str) -> tuple[tuple[str, bytes], ...]:
    marks = [(REQUEUED_BY, who), (REQUEUED_WHY, why), (REQUEUED_FROM, str(position_in(letter)))]
    return (
        *((name, value) for name, value in letter.headers if name not in _LEFT_OUT),
        *((name, text.encode()) for name, text in marks if text),
    )


def _size(entry: Entry) -> int:
    headers = sum(len(name.encode()) + len(value) + 10 for name, value in entry.headers)
    return len(entry.key or b"") + len(entry.value or b"") + headers


def mark_fault(text: str) -> str:
    """What is wrong with a `--who` or `--why`; empty if nothing is."""
    if len(text) <= MAX_MARK and (text.isprintable() or not text):
        return ""
    return f"must be printable text of at most {MAX_MARK} characters"
