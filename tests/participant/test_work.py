"""Handlers at work on the kernel: when they are asked, what a crash makes of it, how it stops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from journal.log import Place
from journal.memory_log import MemoryLog
from journal.records import request_entry
from journal.service import Service
from journal.topics import ServiceTopics, dead_letter_spec
from messages.participants import Participant
from messages.saga import StepApplied, StepDeclined
from messages.wire import Codec, encode, type_name
from participant.effects import EffectEvent
from participant.outcomes import Applied, Outcome
from participant.serving import Limits, commands_of, effect_service
from participant.work import Work
from tests.journal.toy import SetClock, owner, turns, until
from tests.participant.test_effects import NOW_MS, Book, Unbook, book

TRIPS = Participant(
    name="trip",
    key="step",
    commands=frozenset({Book, Unbook}),
    inverse={Book: Unbook, Unbook: None},
    partitions=1,
)
INPUT = Place("trip.input", 0)
ANSWERS = Place("orchestrator.input", 0)
CODEC: Codec[Any] = Codec(StepApplied | StepDeclined)

Doing = Callable[[Any], Awaitable[Outcome]]


async def trip_log() -> MemoryLog:
    log = MemoryLog()
    bank = ServiceTopics("orchestrator").input_spec(1)
    await log.create([*ServiceTopics("trip").specs(1), bank, dead_letter_spec(1)])
    return log


def at_work(handler: Doing, *, max_concurrent: int = 32) -> tuple[Work, Service[Any, EffectEvent]]:
    handlers = {type_name(kind): handler for kind in (Book, Unbook)}
    work = Work(commands_of(TRIPS), handlers, {}, max_concurrent)
    return work, effect_service(TRIPS, 1, limits=Limits(), watcher=work)


def ask(log: MemoryLog, *commands: Book) -> None:
    log.land(INPUT, [request_entry("book", encode(c), type_name(c), "/t", "r") for c in commands])


def answers(log: MemoryLog) -> list[Any]:
    return [CODEC.decode(record.value) for record in log.records[ANSWERS]]


async def test_a_handler_is_asked_once_the_command_is_in_the_journal_and_answered_for_once():
    log, asked = await trip_log(), []
    journal, end = log.records[Place("trip.journal", 0)], asyncio.Event()

    async def handler(command: Book) -> Outcome:
        asked.append((command.effect_id, len(journal)))
        await end.wait()
        return Applied({"seat": "7a"})

    work, service = at_work(handler)
    async with owner(log, service, clock=SetClock(NOW_MS)):
        ask(log, book())
        await until(lambda: len(asked) == 1)
        known = len(journal)
        ask(log, book(2))
        await until(lambda: len(journal) > known)
        await turns()
        end.set()
        await until(lambda: len(answers(log)) == 1)
        ask(log, book(3))
        await until(lambda: len(answers(log)) == 2)
        await work.drain(1)
    assert [effect for effect, _ in asked] == ["e"]
    assert asked[0][1] > 1, "Opened, and what it is asked for"
    assert [(a.attempt, a.result["seat"]) for a in answers(log)] == [(2, "7a"), (3, "7a")]


async def test_after_a_crash_between_the_deed_and_its_record_the_handler_is_asked_again():
    log, asked = await trip_log(), []
    forever = asyncio.Event()

    async def dies(command: Book) -> Outcome:
        asked.append("first")
        await forever.wait()
        raise AssertionError

    async def lives(command: Book) -> Outcome:
        asked.append("second")
        return Applied()

    work, service = at_work(dies)
    async with owner(log, service, clock=SetClock(NOW_MS)):
        ask(log, book())
        await until(lambda: asked == ["first"])
    await work.drain(0)
    assert answers(log) == []
    work, service = at_work(lives)
    async with owner(log, service, "second", clock=SetClock(NOW_MS)):
        await until(lambda: len(answers(log)) == 1)
        await work.drain(1)
    assert asked == ["first", "second"]


async def test_a_handler_that_fails_leaves_the_outcome_unknown_and_the_others_alone():
    log = await trip_log()

    async def handler(command: Book) -> Outcome:
        if command.effect_id == "bad":
            raise RuntimeError("secret")
        return Applied() if command.effect_id == "good" else None  # type: ignore[return-value]

    work, service = at_work(handler)
    async with owner(log, service, clock=SetClock(NOW_MS)):
        ask(log, book(effect_id="bad"), book(effect_id="none"), book(effect_id="good"))
        await until(lambda: len(answers(log)) == 3)
        await work.drain(1)
    told = answers(log)
    assert [type(a).__name__ for a in told].count("StepApplied") == 1
    declined = [a for a in told if isinstance(a, StepDeclined)]
    assert {a.reason for a in declined} == {"outcome_unknown"}
    assert not any("secret" in a.detail for a in declined)


async def test_no_more_handlers_than_allowed_are_at_work_at_once():
    log, at_once, most = await trip_log(), 0, 0

    async def handler(command: Book) -> Outcome:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await turns(20)
        at_once -= 1
        return Applied()

    work, service = at_work(handler, max_concurrent=3)
    async with owner(log, service, clock=SetClock(NOW_MS)):
        ask(log, *(book(effect_id=f"e{n}") for n in range(20)))
        await until(lambda: len(answers(log)) == 20)
        await work.drain(1)
    assert most == 3


async def test_a_stop_lets_the_handler_end_and_records_what_it_said():
    log = await trip_log()
    begun, end = asyncio.Event(), asyncio.Event()

    async def handler(command: Book) -> Outcome:
        begun.set()
        await end.wait()
        return Applied()

    work, service = at_work(handler, max_concurrent=1)
    async with owner(log, service, clock=SetClock(NOW_MS)):
        ask(log, book(), book(effect_id="waits"))
        await begun.wait()
        draining = asyncio.create_task(work.drain(5))
        await turns()
        assert not draining.done()
        end.set()
        await draining
        await until(lambda: len(answers(log)) == 1)
        await turns()
    assert [type(a) for a in answers(log)] == [StepApplied], "nothing new was begun"


async def test_an_owner_that_loses_the_partition_does_not_speak_for_the_next_one():
    """The first handler comes to an end after another process has taken over and answered."""
    log, end = await trip_log(), asyncio.Event()

    async def slow(command: Book) -> Outcome:
        await end.wait()
        return Applied({"by": "first"})

    async def quick(command: Book) -> Outcome:
        return Applied({"by": "second"})

    first, deposed = at_work(slow)
    second, service = at_work(quick)
    async with owner(log, deposed, clock=SetClock(NOW_MS)):
        ask(log, book())
        await turns()
        async with owner(log, service, "second", clock=SetClock(NOW_MS)):
            await until(lambda: len(answers(log)) == 1)
            end.set()
            await first.drain(1)
            ask(log, book(2))
            await until(lambda: len(answers(log)) == 2)
            await second.drain(1)
    assert [a.result for a in answers(log)] == [{"by": "second"}] * 2
