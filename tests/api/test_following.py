"""A saga's events as they come: whole, in order, resumable; and what a stream may cost."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator
from typing import Any

import msgspec
import pytest
from litestar import Request

from api import following, views
from api.problems import Problem
from api.streams import Streams
from read_model import queries
from tests.api.bank import Bank
from tests.api.reader import Reader, reading

BY = {"who": "ann", "why": "ticket 7"}


async def timeline(bank: Bank, saga_id: str) -> list[Any]:
    page = await bank.client.get(f"/sagas/{saga_id}/timeline", params={"limit": 1_000})
    entries: list[Any] = page.json()["entries"]
    return entries


def told(reader: Reader) -> list[Any]:
    """The timeline's entries, of which each was numbered by its offset."""
    entries = [msgspec.json.decode(event.data) for event in reader.events if not event.name]
    assert [event.id for event in reader.events if not event.name] == [
        str(entry["offset"]) for entry in entries
    ]
    return entries


async def test_events_come_as_they_happen_and_the_stream_ends_with_the_saga(
    impatient: Bank,
) -> None:
    bank = impatient
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300)
    async with reading(bank.app, f"/sagas/{saga_id}/events") as (reader, answering):
        await reader.until("SagaParked")
        assert (reader.status, reader.headers[b"content-type"]) == (200, b"text/event-stream")
        assert told(reader) == await timeline(bank, saga_id)
        assert not answering.done(), "a parked saga has not ended"
        await bank.post(f"/sagas/{saga_id}/retry", BY)
        await reader.until("SagaResumed")
        bank.accounts.own(frozenset((0, 1)))
        await asyncio.wait_for(answering, 20)
    assert told(reader) == await timeline(bank, saga_id)
    end = reader.events[-1]
    assert (end.id, end.name, msgspec.json.decode(end.data)["state"]) == ("", "end", "completed")
    assert reader.done


async def test_who_comes_back_gets_what_came_after(bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    done = await bank.transfer(rich, poor, 100)
    saga_id = done.json()["id"]
    path, query = f"/sagas/{saga_id}/events", f"after={done.json()['as_of']}"
    async with reading(bank.app, path, query) as (whole, answering):
        await asyncio.wait_for(answering, 20)
    entries = told(whole)
    assert entries == await timeline(bank, saga_id)
    third = str(entries[2]["offset"])
    async with reading(bank.app, path, "from=0", last_event_id=third) as (rest, answering):
        await asyncio.wait_for(answering, 20)
    assert told(rest) == entries[3:]
    assert rest.events[-1].name == "end"
    last = str(entries[-1]["offset"])
    async with reading(bank.app, path, last_event_id=last) as (nothing, answering):
        await asyncio.wait_for(answering, 20)
    assert (nothing.status, nothing.text) == (204, "")


async def test_a_long_history_is_told_page_by_page(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PAGE", 2)
    rich, poor = await bank.open(1_000), await bank.open()
    done = await bank.transfer(rich, poor, 100)
    saga_id, query = done.json()["id"], f"after={done.json()['as_of']}"
    async with reading(bank.app, f"/sagas/{saga_id}/events", query) as (reader, answering):
        await asyncio.wait_for(answering, 20)
    assert told(reader) == await timeline(bank, saga_id)


async def test_nothing_happening_is_told_too(
    impatient: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.01)
    bank = impatient
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300)
    async with reading(bank.app, f"/sagas/{saga_id}/events") as (reader, _):
        await reader.until("\n\n:\n\n:\n\n")


async def test_no_such_saga_is_told_from_one_that_is_not_there_yet(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "READ_YOUR_WRITES_S", 0.01)
    for path in ("", "/timeline", "/events"):
        for unknown in ("0" * 32, "%00", "a" * 65):
            answer = await bank.client.get(f"/sagas/{unknown}{path}")
            assert (answer.status_code, answer.json()["type"]) == (
                404,
                "/problems/saga-unknown",
            )
            assert answer.json()["detail"].startswith("there is no such saga")
        ahead = {"after": f"orchestrator.journal/0@{2**40}"}
        answer = await bank.client.get(f"/sagas/{'0' * 32}{path}", params=ahead)
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "the read model has not come as far as `after` yet; ask again",
        )
    for last in ("-1", "x", "9" * 40, ""):
        events = f"/sagas/{'0' * 32}/events"
        answer = await bank.client.get(events, headers={"Last-Event-ID": last})
        assert answer.status_code == 400, last


async def test_no_more_streams_than_allowed_are_open_and_who_leaves_makes_room(
    impatient: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = impatient
    monkeypatch.setattr(bank.app.state, "streams", Streams(1), raising=False)
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300)
    path = f"/sagas/{saga_id}/events"
    for _ in range(2):
        async with reading(bank.app, path) as (reader, _):
            await reader.until("SagaParked")
            refused = await bank.client.get(path)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
            assert refused.json()["type"] == "/problems/too-many-streams"
    assert (await bank.client.get("/sagas/0/events")).status_code == 404


REQUEST: Request[Any, Any, Any] = Request(
    {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}  # type: ignore[arg-type]
)


async def beats() -> AsyncGenerator[bytes]:
    while True:
        yield b":\n\n"
        await asyncio.sleep(0)


async def full(streams: Streams) -> bool:
    """Whether the one stream that there may be is open."""

    async def nothing() -> AsyncGenerator[bytes]:
        for chunk in ():
            yield chunk

    try:
        async with reading(streams.answer(REQUEST, nothing())) as (_, answering):
            await answering
    except Problem as problem:
        return problem.kind == "too-many-streams"
    return False


async def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    streams = Streams(1, send_s=0.01)
    async with reading(streams.answer(REQUEST, beats())) as (reader, answering):
        await reader.until(":")
        reader.takes.clear()
        await asyncio.wait_for(answering, 10)
        assert not reader.done, "what is not taken must not look complete"
    assert not await full(streams)


async def test_the_end_of_the_server_is_the_end_of_its_streams() -> None:
    streams = Streams(1)
    async with reading(streams.answer(REQUEST, beats())) as (reader, answering):
        await reader.until(":")
        streams.close()
        await asyncio.wait_for(answering, 10)
    assert reader.done
    assert not await full(streams)


async def test_a_failure_in_the_middle_ends_the_stream_and_makes_room() -> None:
    async def fails() -> AsyncGenerator[bytes]:
        yield b":\n\n"
        raise ConnectionRefusedError

    streams = Streams(1)
    async with reading(streams.answer(REQUEST, fails())) as (reader, answering):
        await asyncio.wait_for(answering, 10)
    assert (reader.text, reader.done) == (":\n\n", True)
    assert not await full(streams)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[set[str]]]:
    """What the read model was asked for; every saga has come to offset 5."""
    questions: list[set[str]] = []

    async def last_offsets(_: Any, saga_ids: Collection[str]) -> dict[str, int]:
        questions.append(set(saga_ids))
        await asyncio.sleep(0)
        return dict.fromkeys(questions[-1], 5)

    monkeypatch.setattr(queries, "last_offsets", last_offsets)
    yield questions


async def test_many_who_follow_cost_one_question(asked: list[set[str]]) -> None:
    news = following.News(None)  # type: ignore[arg-type]
    ids = [f"s{number}" for number in range(100)]
    assert all(await asyncio.gather(*(news.beyond(one, 5, 10) for one in ids)))
    assert len(asked) <= 2
    assert asked[-1] >= set(ids[1:])


async def test_who_is_not_followed_any_more_is_not_asked_for(
    asked: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_S", 0)
    news = following.News(None)  # type: ignore[arg-type]
    assert await news.beyond("s1", 5, 10)
    assert await news.beyond("s2", 5, 10)
    assert asked[-1] == {"s2"}
