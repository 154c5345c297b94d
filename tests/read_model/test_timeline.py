"""A saga's history: what was projected in many batches reads as one, page by page and folded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from messages.child import START_CHILD
from messages.plan import Plan
from messages.saga import (
    AnswerIgnored,
    CompensationStarted,
    RecoveryRefused,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    StartRefused,
    StepRefused,
    StepRequested,
    StepSucceeded,
)
from messages.wire import Codec, encode
from read_model import timeline
from read_model.batch import Batch, Cursor
from read_model.history import MAX_PIECE, decode_event, decode_piece, encode_piece, named
from read_model.position import Position
from read_model.projector import ProjectorTuning
from read_model.timeline import HistoryUnreadable
from saga_definitions.reserved_transfer import RESERVED_TRANSFER
from tests import poison
from tests.read_model.history import (
    AT_MS,
    SAGAS,
    SMALL,
    Journals,
    caught_up,
    projecting,
    started,
)


def requested(saga_id: str, step: str, attempt: int = 1, direction: Any = "do") -> StepRequested:
    return StepRequested(
        saga_id=saga_id,
        at_ms=AT_MS + 1,
        step=step,
        direction=direction,
        attempt=attempt,
        topic="account.input",
        key="alice",
        command_type="account.Debit.v1",
        command=msgspec.Raw(b'{"type":"account.Debit.v1"}'),
        timeout_at_ms=AT_MS + 10_000,
    )


def refused(saga_id: str, step: str, reason: str, attempt: int = 1, retry: int = 0) -> StepRefused:
    return StepRefused(
        saga_id=saga_id,
        at_ms=AT_MS + 2,
        step=step,
        direction="do",
        attempt=attempt,
        reason=reason,
        detail="says the account",
        retry_at_ms=retry,
    )


def succeeded(saga_id: str, step: str, at_ms: int = AT_MS + 3, **more: Any) -> StepSucceeded:
    return StepSucceeded(saga_id=saga_id, at_ms=at_ms, step=step, direction="do", attempt=1, **more)


@pytest.fixture
async def journals() -> AsyncIterator[Journals]:
    yield await Journals().create()


async def types(engine: AsyncEngine, saga_id: str) -> list[str]:
    page = await timeline.page(engine, saga_id)
    assert page is not None
    return [entry.event["type"].split(".")[1] for entry in page.entries]


@pytest.mark.parametrize("event", poison.SAGA_EVENTS)
async def test_every_event_is_stored_and_read_back_as_it_was(
    journals: Journals, event: bytes
) -> None:
    """Whatever types there are: a new one needs nothing here."""
    journals.write(SAGAS, Codec[SagaEvent](SagaEvent).decode(event))
    batch = Batch()
    Cursor(SAGAS, Position(), 2).fold(journals.log.records[SAGAS], batch)
    (items,) = batch.changes.histories.values()
    ((offset, stored),) = decode_piece(encode_piece(items))
    assert offset == 1
    assert encode(decode_event(stored, batch.changes.plans)) == event


async def test_a_history_in_many_pieces_reads_as_one(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    async with projecting(journals, database_of_test, SMALL):
        journals.write(SAGAS, started("s1"), requested("s1", "debit"), started("s2"))
        journals.write(SAGAS, refused("s1", "debit", "busy", retry=AT_MS + 5))
        journals.write(SAGAS, requested("s1", "debit", 2), refused("s1", "debit", "no_money", 2))
        journals.write(SAGAS, CompensationStarted(saga_id="s1", at_ms=AT_MS + 4, reason="no_money"))
        journals.write(SAGAS, SagaCompensated(saga_id="s1", at_ms=AT_MS + 5, reason="no_money"))
        await caught_up(engine, journals)
    assert await types(engine, "s1") == [
        "SagaStarted",
        "StepRequested",
        "StepRefused",
        "StepRequested",
        "StepRefused",
        "CompensationStarted",
        "SagaCompensated",
    ]
    assert await types(engine, "s2") == ["SagaStarted"]
    page = await timeline.page(engine, "s1")
    assert page is not None
    assert [entry.offset for entry in page.entries] == [1, 2, 5, 7, 8, 10, 12]
    assert page.entries[2].event == msgspec.to_builtins(
        refused("s1", "debit", "busy", retry=AT_MS + 5)
    )
    assert page.entries[1].event["command"] == {"type": "account.Debit.v1"}
    assert page.saga.as_of == "orchestrator.journal/1@14"


async def test_the_plan_is_kept_once_for_all_sagas_of_a_version(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    other = msgspec.structs.replace(started("s3"), plan=RESERVED_TRANSFER.plan)
    journals.write(SAGAS, started("s1"), started("s2"), other)
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM plans")) == 2
        stored = await connection.scalar(text("SELECT sum(length(events)) FROM history"))
    assert stored < 3 * 500
    for saga_id, event in (("s1", started("s1")), ("s3", other)):
        found = await timeline.folded(engine, saga_id)
        assert found is not None
        assert found[1].plan == event.plan


async def test_steps_stand_where_their_events_put_them(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    journals.write(
        SAGAS,
        started("s1"),
        requested("s1", "debit"),
        succeeded("s1", "debit", result={"balance_minor": 7}),
        requested("s1", "credit"),
        requested("s1", "credit", 2),
        refused("s1", "credit", "account_frozen", 2),
        SagaParked(saga_id="s1", at_ms=AT_MS + 9, reason="account_frozen", step="credit"),
    )
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    found = await timeline.folded(engine, "s1")
    assert found is not None
    row, saga, _ = found
    assert (row.state, saga.state) == ("parked", "parked")
    debit, credit = saga.steps
    assert (debit.state, debit.result) == ("succeeded", {"balance_minor": 7})
    assert (credit.state, credit.attempt, credit.reason) == ("refused", 2, "account_frozen")


async def test_pages_join_without_gap_or_repetition(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    journals.write(SAGAS, started("s1"))
    for number in range(40):
        journals.write(SAGAS, succeeded("s1", "debit", AT_MS + number))
        journals.write(SAGAS, started(f"other-{number}"))
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    for limit in (1, 7, 41, 100):
        first, seen = 0, [0][:0]
        while True:
            page = await timeline.page(engine, "s1", first=first, limit=limit)
            assert page is not None
            assert len(page.entries) <= limit
            seen += [entry.offset for entry in page.entries]
            if page.next is None:
                break
            assert len(page.entries) == limit
            first = page.next
        assert seen == [1, *range(3, 3 + 4 * 40, 4)]


async def test_a_hundred_thousand_events_are_paged_in_bounded_pieces(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    events = [succeeded("s1", "debit", AT_MS + number) for number in range(100_000)]
    journals.write(SAGAS, started("s1"), *events)
    tuning = ProjectorTuning(min_interval_s=0)
    async with projecting(journals, database_of_test, tuning):
        await caught_up(engine, journals, 60)
    async with engine.connect() as connection:
        largest = await connection.scalar(text("SELECT max(length(events)) FROM history"))
    assert largest < MAX_PIECE * 200
    loop = asyncio.get_running_loop()
    began = loop.time()
    page = await timeline.page(engine, "s1", first=90_000, limit=200)
    took_s = loop.time() - began
    assert page is not None
    assert [entry.offset for entry in page.entries] == list(range(90_000, 90_200))
    assert (page.next, took_s < 1) == (90_200, True)
    found = await timeline.folded(engine, "s1")
    assert found is not None
    assert found[1].steps[0].state == "succeeded"


async def test_a_refused_start_has_a_history_and_is_no_saga(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    no = StartRefused(saga_id="s1", at_ms=AT_MS, request_id="r", reason="params_invalid", detail="")
    async with projecting(journals, database_of_test, SMALL):
        journals.write(SAGAS, no)
        await caught_up(engine, journals)
        assert await timeline.page(engine, "s1") is None
        assert await timeline.folded(engine, "s1") is None
        journals.write(SAGAS, started("s1"))
        await caught_up(engine, journals)
    assert await types(engine, "s1") == ["StartRefused", "SagaStarted"]


async def test_a_saga_that_began_anew_shows_both_lives_and_the_steps_of_the_later(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    child = msgspec.structs.replace(
        requested("s1", "debit"),
        command_type=START_CHILD,
        command=msgspec.Raw(b'{"child_id":"%b"}' % (b"1" * 32)),
    )
    journals.write(
        SAGAS,
        started("s1"),
        child,
        SagaCompleted(saga_id="s1", at_ms=AT_MS),
        started("s1", at_ms=AT_MS + 9 * 86_400_000),
    )
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    assert len(await types(engine, "s1")) == 4
    found = await timeline.folded(engine, "s1")
    assert found is not None
    assert [step.state for step in found.saga.steps] == ["pending", "pending"]
    assert found.children == {}


async def test_what_deposed_writers_and_strangers_say_is_no_history(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    deposed = journals.open(SAGAS)
    journals.write(SAGAS, started("s1"))
    journals.open(SAGAS)
    journals.write_as(deposed, SAGAS, succeeded("s1", "debit"))
    journals.write(SAGAS, requested("s1", "debit"))
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    assert await types(engine, "s1") == ["SagaStarted", "StepRequested"]


async def test_who_and_why_and_ignored_answers_are_told(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    ignored = AnswerIgnored(
        saga_id="s1",
        at_ms=AT_MS,
        step="debit",
        direction="do",
        attempt=1,
        answer="declined: busy",
        why="repeated",
    )
    by_ann = RecoveryRefused(
        saga_id="s1",
        at_ms=AT_MS,
        request_id="r",
        action="retry",
        who="ann",
        why="<script>alert(1)</script> \0",
        reason="saga_not_parked",
        detail="",
    )
    journals.write(SAGAS, started("s1"), ignored, by_ann)
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    page = await timeline.page(engine, "s1")
    assert page is not None
    assert page.entries[1].event == msgspec.to_builtins(ignored)
    assert page.entries[2].event == msgspec.to_builtins(by_ann)


async def test_a_long_list_that_a_saga_gives_to_its_child_is_cut_off(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    legs = [{"target": "bob", "amount_minor": 1}] * 30
    command = msgspec.Raw(encode({"type": "saga.StartChild.v1", "params": {"legs": legs}}))
    asked = msgspec.structs.replace(requested("s1", "debit"), command=command)
    journals.write(SAGAS, started("s1"), asked)
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    page = await timeline.page(engine, "s1")
    assert page is not None
    assert page.entries[1].event["command"]["params"] == {"legs": legs[:20], "legs.left_out": 10}


async def test_a_history_that_was_tampered_with_is_named_not_shown(
    engine: AsyncEngine, database_of_test: str, journals: Journals
) -> None:
    journals.write(SAGAS, started("s1"), requested("s1", "debit"))
    async with projecting(journals, database_of_test, SMALL):
        await caught_up(engine, journals)
    for spoil in ("events = 'x'", "events = '[[1,{}]]'"):
        async with engine.begin() as connection:
            await connection.execute(text(f"UPDATE history SET {spoil}"))
        with pytest.raises(HistoryUnreadable, match=r"saga s1 can.t be read at offset 1 "):
            await timeline.folded(engine, "s1")


def test_plans_of_one_version_that_differ_are_told_apart() -> None:
    one = Plan("d", 1, 10, ())
    digest, encoded = named(one)
    assert named(Plan("d", 1, 10, ())) == (digest, encoded)
    assert named(Plan("d", 1, 11, ()))[0] != digest
    assert named(one) == (digest, encoded)
