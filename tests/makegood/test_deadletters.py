"""Which dead letters may be asked again, what that writes, and how they look."""

from io import StringIO
from typing import Any, get_args

import msgspec
import pytest
from rich.console import Console

from account_service.effects import MAX_SKEW_MS
from account_service.machine import AccountMachine
from account_service.service import INPUTS as ACCOUNT_INPUTS
from journal.records import RecordRejected
from makegood.deadletter_commands import app
from makegood.deadletter_rendering import Listing, Wanted, listed, planned, readable, shown
from makegood.deadletters import (
    REQUESTS,
    Facts,
    Refusal,
    Requeue,
    mark_fault,
    moment,
    moment_ms,
    position_of,
    requeue,
)
from messages.account import (
    AccountCommand,
    Capture,
    Credit,
    CreditOnHold,
    Debit,
    Deposit,
    Deposited,
    EffectRepeated,
    Freeze,
    Hold,
    OpenAccount,
    Release,
)
from messages.child import StartChild, UndoChild
from messages.identity import Direction
from messages.routing import partition_of
from messages.saga import RecoverSaga, SagaInput, SignalSaga, StartSaga, StepApplied, StepDeclined
from messages.wire import encode, type_name

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
FACTS = Facts(
    partitions={"account.input": 8, "orchestrator.input": 4},
    now_ms=NOW_MS,
    effect_horizon_ms=7 * DAY_MS,
    saga_memory_ms=8 * DAY_MS,
)
ASKED: dict[str, Any] = {"account_id": "alice", "effect_id": "e1", "issued_at_ms": NOW_MS}
MONEY: dict[str, Any] = {"amount_minor": 500, "currency": "EUR"}
DEPOSIT = Deposit(**ASKED, **MONEY)
START = StartSaga(
    saga_id="s1",
    tenant="acme",
    definition="transfer",
    params={},
    fingerprint="f",
    request_id="r",
    issued_at_ms=NOW_MS,
)


def letter(message: Any = DEPOSIT, topic: str = "account.input", **fields: Any) -> RecordRejected:
    told: dict[str, Any] = {
        "topic": topic,
        "partition": 3,
        "offset": 17,
        "timestamp": NOW_MS,
        "reason": "the link's source or sequence is malformed",
        "key": b"alice",
        "value": message if isinstance(message, bytes) else encode(message),
        "headers": [("ce_type", type_name(DEPOSIT).encode())],
    }
    return RecordRejected(**{**told, **fields})


def done(of: RecordRejected, who: str = "eve", why: str = "") -> Requeue:
    step = requeue(of, FACTS, who, why)
    assert isinstance(step, Requeue), step
    return step


def refused(of: RecordRejected, facts: Facts = FACTS) -> str:
    step = requeue(of, facts, "eve", "")
    assert isinstance(step, Refusal), step
    return step.reason


# What is written


def test_a_request_is_written_as_it_was_to_the_partition_of_its_account():
    step = done(letter())
    assert step.place == ("account.input", partition_of("alice", 8))
    assert (step.entry.key, step.entry.value) == (b"alice", encode(DEPOSIT))


def test_a_start_goes_to_the_partition_of_its_saga():
    step = done(letter(START, "orchestrator.input"))
    assert step.place == ("orchestrator.input", partition_of("s1", 4))


def test_the_partition_is_that_of_the_account_also_if_the_sender_used_another_key():
    step = done(letter(key=None))
    assert step.place.partition == partition_of("alice", 8)
    assert step.entry.key is None


def test_the_marks_of_a_link_are_left_out_and_all_other_headers_stay():
    headers = [("ce_source", b"x"), ("own", b"\xff"), ("ce_sequence", b"7"), ("own", b"")]
    step = done(letter(headers=headers))
    assert step.entry.headers[:2] == (("own", b"\xff"), ("own", b""))
    assert not {"ce_source", "ce_sequence"} & {name for name, _ in step.entry.headers}


def test_who_why_and_where_from_stand_in_the_headers():
    headers = dict(done(letter(), "Zoë", "client mended").entry.headers)
    assert headers["makegood_requeued_by"].decode() == "Zoë"
    assert headers["makegood_requeued_why"] == b"client mended"
    assert headers["makegood_requeued_from"] == b"account.input/3@17"


def test_what_was_requeued_before_says_only_who_did_it_last():
    first = done(letter(), "eve", "one")
    again = done(letter(offset=40, headers=list(first.entry.headers)), "bob")
    marks = [header for header in again.entry.headers if header[0].startswith("makegood_")]
    assert marks == [
        ("makegood_requeued_by", b"bob"),
        ("makegood_requeued_from", b"account.input/3@40"),
    ]


def test_requeued_twice_it_pays_once():
    machine = AccountMachine()
    opening = OpenAccount(account_id="alice", effect_id="o", issued_at_ms=NOW_MS, currency="EUR")
    answers: list[object] = []
    values = [encode(opening), *(done(letter()).entry.value for _ in range(3))]
    for value in values:
        (event,) = machine.decide(ACCOUNT_INPUTS.decode(value), NOW_MS)
        machine.evolve(event)
        answers.append(type(event))
    assert answers[1:] == [Deposited, EffectRepeated, EffectRepeated]


# What is not


@pytest.mark.parametrize("kind", [Debit, Credit, CreditOnHold, Hold])
def test_a_command_that_only_sagas_send_is_refused(kind: Any):
    assert "only sagas send" in refused(letter(kind(**ASKED, **MONEY)))


@pytest.mark.parametrize("kind", [Capture, Release])
def test_a_command_about_a_hold_is_refused(kind: Any):
    assert "only sagas send" in refused(letter(kind(**ASKED, hold_id="h")))


@pytest.mark.parametrize(
    "fields",
    [
        {"reply_to": "orchestrator.input"},
        {"saga_id": "s1", "step": "debit"},
        {"undoes": "e0"},
        {"direction": "undo"},
    ],
    ids=lambda fields: next(iter(fields)),
)
@pytest.mark.parametrize("kind", [Debit, Deposit])
def test_a_step_of_a_saga_is_refused_because_the_engine_sends_it_again(
    kind: Any, fields: dict[str, Any]
):
    reason = refused(letter(kind(**ASKED, **MONEY, **fields)))
    assert "the saga engine itself sends it again" in reason


@pytest.mark.parametrize(
    "answer",
    [
        StepApplied(saga_id="s1", step="debit", direction="do", attempt=1),
        StepDeclined(saga_id="s1", step="debit", direction="do", attempt=1, reason="no"),
    ],
    ids=["applied", "declined"],
)
def test_an_answer_to_a_saga_is_refused(answer: Any):
    assert "the saga engine asks again" in refused(letter(answer, "orchestrator.input"))


def test_what_an_operator_asked_of_a_saga_is_refused():
    asked = RecoverSaga(saga_id="s1", request_id="r", action="cancel", who="eve", why="wrong")
    assert "look at it, and ask anew" in refused(letter(asked, "orchestrator.input"))


def test_what_a_person_said_to_a_saga_is_refused():
    said = SignalSaga(saga_id="s1", signal="approval", request_id="r", verdict="approve", who="eve")
    assert "look at it, and say it anew" in refused(letter(said, "orchestrator.input"))


@pytest.mark.parametrize("direction", ["do", "undo"])
def test_what_a_saga_asked_of_the_saga_that_is_its_step_is_refused(direction: Direction):
    child = "c1" * 16
    named: dict[str, Any] = {
        "child_id": child,
        "saga_id": "s1",
        "step": "pay",
        "effect_id": f"s1/pay/{direction}",
        "issued_at_ms": FACTS.now_ms,
        "direction": direction,
    }
    message = (
        StartChild(**named, definition="transfer", version=1)
        if direction == "do"
        else UndoChild(**named)
    )
    told = refused(letter(message, "orchestrator.input"))
    assert "it is a step of a saga (s1, step pay): the saga engine itself sends it again" in told


@pytest.mark.parametrize("kind", [*get_args(AccountCommand), *get_args(SagaInput)])
def test_every_type_is_a_request_or_is_refused(kind: Any):
    # A new type of message must be thought about here.
    moves = {Debit, Credit, CreditOnHold, Hold, Capture, Release}
    others = {*moves, StepApplied, StepDeclined, RecoverSaga, SignalSaga, StartChild, UndoChild}
    assert (kind in REQUESTS) != (kind in others)


@pytest.mark.parametrize("value", [None, b"\xff\x00 not json", b'{"type":"account.Robbed.v1"}'])
def test_what_still_cannot_be_decoded_is_refused(value: bytes | None):
    assert "still can't be decoded" in refused(letter(value=value))


def test_a_message_on_the_wrong_topic_is_refused():
    assert "still can't be decoded" in refused(letter(START))


def test_a_topic_that_is_no_input_is_refused():
    assert "is no input" in refused(letter(topic="account.journal"))


def test_without_its_topic_nothing_can_be_requeued():
    assert "no topic" in refused(letter(), FACTS._replace(partitions={}))


def test_a_request_from_the_future_is_refused():
    # It would stay valid beyond what is remembered of it.
    late = msgspec.structs.replace(START, issued_at_ms=NOW_MS + MAX_SKEW_MS + 1)
    assert "in the future" in refused(letter(late, "orchestrator.input"))
    assert "in the future" in refused(
        letter(msgspec.structs.replace(DEPOSIT, issued_at_ms=10**400))
    )


def test_a_clock_a_little_ahead_is_no_future():
    done(letter(msgspec.structs.replace(DEPOSIT, issued_at_ms=NOW_MS + MAX_SKEW_MS)))


def test_what_is_too_large_for_its_input_is_refused():
    assert "larger" in refused(letter(headers=[("h", b"x" * 1024 * 1024)]))


@pytest.mark.parametrize(
    ("message", "topic", "known_ms"),
    [
        (DEPOSIT, "account.input", 7 * DAY_MS),
        (START, "orchestrator.input", 8 * DAY_MS - MAX_SKEW_MS),
    ],
    ids=["effect", "saga"],
)
def test_what_is_too_old_to_be_known_is_refused(message: Any, topic: str, known_ms: int):
    old = msgspec.structs.replace(message, issued_at_ms=NOW_MS - known_ms)
    assert "too long ago" in refused(letter(old, topic))
    done(letter(msgspec.structs.replace(message, issued_at_ms=NOW_MS - known_ms + 1), topic))


# Names, times, marks


def test_a_position_is_written_as_it_is_read():
    assert str(position_of("account.input/0@17")) == "account.input/0@17"


@pytest.mark.parametrize("text", ["", "account.input/0", "a/0@-1", "a/0@1\n", "a/0@" + "9" * 40])
def test_what_is_no_position_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a position"):
        position_of(text)


def test_a_time_without_a_zone_is_utc():
    assert moment_ms("2023-11-14T22:13:20") == moment_ms("2023-11-14T23:13:20+01:00") == NOW_MS
    assert moment_ms("1970-01-02") == DAY_MS
    assert moment(NOW_MS) == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("at_ms", [-1, 10**15, 10**400])
def test_a_number_that_is_no_time_is_told_as_it_is(at_ms: int):
    assert moment(at_ms) == f"{at_ms} ms after 1970"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\ud800", "x" * 301])
def test_a_mark_that_is_no_plain_text_is_refused(text: str):
    assert mark_fault(text)


def test_a_plain_mark_is_taken():
    assert mark_fault("Zoë, ticket 17") == mark_fault("") == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "nowhere"), "is not a position"),
        (("requeue",), "name 1 to 100 positions"),
        (("requeue", *["account.input/0@1"] * 101), "name 1 to 100 positions"),
        (("requeue", "account.input/0@1", "--why", "a\nb"), "--why must be printable"),
        (("list", "--since", "yesterday"), "--since: Invalid isoformat"),
        (("list", "--limit", "0"), "--limit must be"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_refused_with_status_2(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


# Lists


def many(count: int) -> list[RecordRejected]:
    return [letter(offset=offset, reason=f"reason {offset % 2}") for offset in range(count)]


def collected(wanted: Wanted, limit: int, letters: list[RecordRejected]) -> Listing:
    listing = Listing(wanted, limit)
    for number, one in enumerate(letters):
        listing.add(one, NOW_MS + number)
    return listing


def test_a_list_holds_the_newest_and_counts_all():
    listing = collected(Wanted(), 3, many(10))
    assert [row.position for row in listing.rows] == [f"account.input/3@{i}" for i in (7, 8, 9)]
    assert listing.found == 10


def test_a_copy_that_was_sent_again_is_listed_once():
    assert collected(Wanted(), 10, many(3) * 2).found == 3


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(topic="account.input"), 10),
        (Wanted(topic="account"), 0),
        (Wanted(reason="REASON 1"), 5),
        (Wanted(since_ms=NOW_MS + 8), 2),
    ],
    ids=["topic", "another topic", "reason", "since"],
)
def test_a_list_holds_only_what_is_wanted(wanted: Wanted, found: int):
    assert collected(wanted, 100, many(10)).found == found


def drawn(listing: Listing) -> str:
    out = StringIO()
    Console(file=out, width=200).print(listed(listing.rows, listing.found))
    return out.getvalue()


def test_a_list_shows_a_strangers_text_as_it_is_and_no_control_characters():
    evil = letter(reason="[red]\x1b[2J\u202e", headers=[("ce_type", b"[bold]\x07"), ("h", b"")])
    text = drawn(collected(Wanted(), 1, [evil, evil]))
    assert "[red]\\x1b[2J\\u202e" in text
    assert "[bold]\\x07" in text


def test_a_list_that_is_cut_says_so():
    assert "10 dead letters" in drawn(collected(Wanted(), 3, many(10)))
    assert "the newest 3 of them" in drawn(collected(Wanted(), 3, many(10)))


# One of them


def test_a_dead_letter_is_shown_whole():
    text = shown(letter(headers=[("ce_type", b"t"), ("odd", b"\xff\x00")]))
    for part in ("account.input/3@17", "malformed", "ce_type: t", "ff 00", "alice"):
        assert part in text
    assert encode(DEPOSIT).decode() in text


def test_bytes_that_are_no_text_are_shown_in_hex():
    assert readable(b"\xff\x00a") == "(3 bytes, hex)\nff 00 61"
    assert readable(b"") == "(0 bytes, hex)"
    assert readable(b"\x1b[2J").endswith("1b 5b 32 4a")
    assert readable(None) == "(none)"
    assert readable(bytes(40)).count("\n") == 2


def test_a_key_cannot_pretend_to_be_a_line_of_ours():
    plan = planned(done(letter(key=b"k\n  value {}")))
    assert [line for line in plan.split("\n") if line.startswith("  value")] == [
        f"  value {encode(DEPOSIT).decode()}"
    ]


def test_a_plan_says_what_is_written_where_and_of_whom():
    text = planned(done(letter(), "eve", "client mended"))
    for part in ("account.input/3@17", "account alice, effect e1", "500", "client mended"):
        assert part in text
    assert f"account.input/{partition_of('alice', 8)} again" in text


def test_a_plan_says_why_nothing_is_written():
    freeze = Freeze(**ASKED, saga_id="s1")
    step = requeue(letter(freeze), FACTS, "eve", "")
    assert planned(step).startswith("account.input/3@17: NOT requeued: it is a step of a saga (s1")
