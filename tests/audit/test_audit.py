"""The audit says yes to what the bank wrote, and names the place of whatever was tampered with."""

import asyncio
import io
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import migrations
from audit.auditor import CannotAudit, audit
from audit.rendering import rendered
from audit.report import Report, exit_status
from journal.log import Entry
from journal.memory_log import MemoryLog
from messages.saga import StepSucceeded
from read_model import database, queries
from read_model.projector import Projector
from tests.audit.worked import ACCOUNTS, SAGAS, change, events, insert, worked_bank

Tampering = Callable[[MemoryLog], int | None]
"""Does it, and gives the offset where it must be found."""


def says(report: Report) -> str:
    out = io.StringIO()
    Console(width=200, file=out).print(rendered(report))
    return out.getvalue()


async def test_what_the_bank_wrote_is_right():
    report = await audit(await worked_bank())
    assert report.violations == []
    assert report.ok
    assert exit_status(report) == 0
    assert report.counts.sagas == {"compensated": 2, "completed": 2}
    assert report.counts.accounts == 5
    euros = report.totals["EUR"]
    assert (euros.balances, euros.transit, euros.world, euros.sum) == (4_000, 0, -4_000, 0)
    assert report.pending_links == []
    assert "The books are right" in says(report)


async def test_records_of_a_deposed_writer_are_counted_as_void_and_change_nothing():
    log = await worked_bank()
    late = log.records[ACCOUNTS][-2]
    headers = [(n, b"999" if n == "ce_epoch" else v) for n, v in late.headers]
    log.land(ACCOUNTS, [Entry(late.key, late.value, headers)])
    report = await audit(log)
    assert report.ok
    assert report.counts.void == 1


def _a_balance_that_does_not_follow(log: MemoryLog) -> int:
    offset, event = events(log, ACCOUNTS, "account.Debited.v1")[0]
    return change(log, ACCOUNTS, offset, balance_minor=event.balance_minor + 1)


def _a_credit_paid_twice(log: MemoryLog) -> int:
    offset, event = events(log, ACCOUNTS, "account.Credited.v1")[0]
    again = replace(
        event,
        version=event.version + 1,
        balance_minor=event.balance_minor + event.amount_minor,
    )
    return insert(log, ACCOUNTS, offset + 1, again)


def _a_credit_of_another_amount_than_asked(log: MemoryLog) -> int:
    offset, event = events(log, ACCOUNTS, "account.Credited.v1")[0]
    amount, balance = event.amount_minor + 5, event.balance_minor + 5
    return change(log, ACCOUNTS, offset, amount_minor=amount, balance_minor=balance)


def _a_version_left_out(log: MemoryLog) -> int:
    offset, event = events(log, ACCOUNTS, "account.Deposited.v1")[0]
    return change(log, ACCOUNTS, offset, version=event.version + 1)


def _an_overdraft_that_nobody_allowed(log: MemoryLog) -> int:
    offset, event = events(log, ACCOUNTS, "account.Withdrawn.v1")[0]
    return change(log, ACCOUNTS, offset, amount_minor=1_001, balance_minor=event.balance_minor - 1)


def _a_saga_that_claims_to_be_completed(log: MemoryLog) -> int:
    offset, _ = events(log, SAGAS, "saga.SagaCompensated.v1")[0]
    record = log.records[SAGAS][offset]
    assert record.value is not None
    value = record.value.replace(b"SagaCompensated", b"SagaCompleted")
    headers = [(n, v.replace(b"SagaCompensated", b"SagaCompleted")) for n, v in record.headers]
    log.records[SAGAS][offset] = record._replace(value=value, headers=headers)
    return offset


def _an_answer_that_is_a_lie(log: MemoryLog) -> int:
    (refused,) = [
        (at, e) for at, e in events(log, SAGAS, "saga.StepRefused.v1") if e.saga_id == "s4"
    ]
    offset, event = refused
    lie = StepSucceeded(saga_id="s4", at_ms=event.at_ms, step=event.step, direction="do", attempt=1)
    return insert(log, SAGAS, offset, lie)


def _a_record_that_cannot_be_decoded(log: MemoryLog) -> int:
    offset, _ = events(log, ACCOUNTS, "account.Debited.v1")[0]
    record = log.records[ACCOUNTS][offset]
    log.records[ACCOUNTS][offset] = record._replace(value=b"{")
    return offset


def _a_record_that_is_missing(log: MemoryLog) -> int:
    offset, _ = events(log, ACCOUNTS, "account.Debited.v1")[0]
    del log.records[ACCOUNTS][offset]
    return offset + 1


def _a_link_number_too_many(log: MemoryLog) -> int:
    offset, event = next(
        (at, e) for at, e in events(log, ACCOUNTS, "journal.Advanced.v1") if e.sent
    )
    sent = {name: number + 1 for name, number in event.sent.items()}
    return change(log, ACCOUNTS, offset, sent=sent)


def _an_event_of_a_saga_after_its_end(log: MemoryLog) -> int:
    offset, _ = events(log, SAGAS, "saga.SagaCompleted.v1")[0]
    _, started = events(log, SAGAS, "saga.StepRequested.v1")[0]
    return insert(log, SAGAS, offset + 1, replace(started, saga_id="s1"))


@pytest.mark.parametrize(
    ("tamper", "check"),
    [
        (_a_balance_that_does_not_follow, "balance"),
        (_a_credit_paid_twice, "saga_ended"),
        (_a_credit_of_another_amount_than_asked, "effect_as_asked"),
        (_a_version_left_out, "version"),
        (_an_overdraft_that_nobody_allowed, "available"),
        (_a_saga_that_claims_to_be_completed, "step_done"),
        (_an_answer_that_is_a_lie, "effect_told"),
        (_a_record_that_cannot_be_decoded, "undecodable"),
        (_a_record_that_is_missing, "offset_missing"),
        (_a_link_number_too_many, "link_sent"),
        (_an_event_of_a_saga_after_its_end, "saga_ended"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
async def test_tampering_is_found_and_its_place_is_named(tamper: Tampering, check: str):
    log = await worked_bank()
    offset = tamper(log)
    report = await audit(log)
    assert not report.ok
    assert exit_status(report) == 1
    assert (check, offset) in [(one.check, one.offset) for one in report.violations]
    assert "NOT right" in says(report)


async def test_money_from_nothing_breaks_conservation():
    log = await worked_bank()
    daves = [
        at for at, e in events(log, ACCOUNTS, "account.Deposited.v1") if e.account_id == "dave"
    ]
    change(log, ACCOUNTS, daves[0], balance_minor=1_001)
    report = await audit(log)
    assert "conservation" in [one.check for one in report.violations]
    assert report.totals["EUR"].sum == 1


async def test_a_journal_whose_beginning_was_deleted_cannot_be_audited():
    log = await worked_bank()
    log.truncate(ACCOUNTS, 5)
    with pytest.raises(CannotAudit, match="begins at offset 5"):
        await audit(log)


async def test_without_topics_there_is_nothing_to_audit():
    with pytest.raises(CannotAudit, match=r"no topic account\.journal"):
        await audit(MemoryLog())


@pytest.mark.stack
async def test_the_read_model_equals_the_fold_and_a_row_changed_by_hand_is_found(
    database_url: str,
):
    await migrations.upgrade(database_url)
    engine: AsyncEngine = database.engine(database_url)
    log = await worked_bank()
    projecting = asyncio.create_task(Projector(log, database_url).run())
    for place in (ACCOUNTS, SAGAS):
        assert await queries.wait_for(engine, place, len(log.records[place]), 20)
    projecting.cancel()
    await asyncio.gather(projecting, return_exceptions=True)
    report = await audit(log, engine)
    assert report.violations == []
    async with engine.connect() as connection:
        pieces = await connection.scalar(text("SELECT count(*) FROM history"))
    assert report.counts.rows == 5 + 4 + 1 + 2 + pieces
    for change_by_hand, table in (
        ("UPDATE accounts SET balance_minor = balance_minor + 1 WHERE account_id = 'bob'", "acc"),
        ("UPDATE sagas SET state = 'parked' WHERE saga_id = 's1'", "sagas"),
        ("DELETE FROM sagas WHERE saga_id = 's2'", "sagas"),
        ("UPDATE world SET balance_minor = 0", "world"),
        ("UPDATE plans SET plan = plan || ' '", "plans"),
        ("DELETE FROM plans", "plans"),
        ("UPDATE positions SET epoch = 12345 WHERE topic = 'account.journal'", "positions"),
    ):
        async with engine.begin() as connection:
            await connection.execute(text(change_by_hand))
        violations = (await audit(log, engine)).violations
        assert [one.place for one in violations if one.place.startswith(table)], change_by_hand
    for saga, change_by_hand in (
        ("s1", "UPDATE history SET events = overlay(events PLACING 'x' FROM 60) WHERE {}"),
        ("s2", "UPDATE history SET events = '[]' WHERE {}"),
        ("s3", "DELETE FROM history WHERE {}"),
        (
            "s4",
            "INSERT INTO history SELECT saga_id, 10 * last_offset, events FROM history WHERE {}",
        ),
        ("s0", "INSERT INTO history SELECT 's0', last_offset, events FROM history WHERE {}"),
    ):
        where = f"saga_id = '{saga if saga != 's0' else 's4'}'"
        async with engine.begin() as connection:
            await connection.execute(text(change_by_hand.format(where)))
        violations = (await audit(log, engine)).violations
        found = {one.subject for one in violations if one.place == "history"}
        assert f"saga {saga}" in found, change_by_hand
    await engine.dispose()
