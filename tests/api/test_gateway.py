"""The gateway: whose answer it takes, and how it tells a saga's way to its end."""

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest

from api.follower import Follower
from api.gateway import Gateway, NoAnswer, Refused, SagaNews
from journal.log import Entry, Place
from journal.requests import RequestInDoubt, Requests
from journal.tail import Seen, Watch
from messages.account import CommandRefused, Deposit, Deposited
from messages.fingerprint import fingerprint
from messages.saga import (
    CompensationStarted,
    SagaAccepted,
    SagaCompensated,
    SagaCompleted,
    SagaParked,
    SagaResumed,
    StartRefused,
    StartRepeated,
    StartSaga,
)
from messages.wire import encode, type_name
from orchestrator.service import ANSWERS as SAGA_ANSWERS

PLACE = Place("journal", 0)
START = StartSaga(
    saga_id="s",
    tenant="t",
    definition="transfer",
    params={},
    fingerprint="f",
    request_id="mine",
    issued_at_ms=0,
)
BASE: Mapping[str, Any] = {"saga_id": "s", "at_ms": 1}


def started(request_id: str) -> SagaAccepted:
    return SagaAccepted(saga_id="s", request_id=request_id)


class Service:
    """Stands for requests, services and tail: what is sent is answered with `events`."""

    def __init__(self, *events: Any, fails: Exception | None = None) -> None:
        self.events = events
        self.fails = fails
        self.watches: list[Watch] = []
        self.sent: list[tuple[Place, Entry]] = []

    @contextmanager
    def watch(self, key: str, effect_id: str = "") -> Generator[Watch, None, None]:
        watch = Watch()
        self.watches.append(watch)
        yield watch
        self.watches.remove(watch)

    async def send(self, place: Place, entry: Entry) -> None:
        self.sent.append((place, entry))
        if self.fails is not None:
            raise self.fails
        # Whoever watches only from here on would miss it.
        for offset, event in enumerate(self.events):
            heard = (
                SAGA_ANSWERS.decode(encode(event))
                if type_name(event).startswith("saga.")
                else event
            )
            for watch in self.watches:
                watch.put(Seen(PLACE, offset, heard))

    def gateway(self) -> Gateway:
        return Gateway(
            cast("Requests", self),
            cast("Follower", self),
            saga_partitions=4,
            account_partitions=4,
            answer_s=0.05,
        )

    async def start(self, wait_s: float | None = None) -> SagaNews | Refused:
        return await self.gateway().start(START, wait_s)


async def state_after(*events: Any) -> tuple[str, str]:
    news = await Service(started("mine"), *events).start(0.05)
    assert isinstance(news, SagaNews)
    return news.state, news.reason


async def test_only_the_answer_to_this_request_counts() -> None:
    refused = StartRefused(**BASE, request_id="other", reason="r", detail="d")
    news = await Service(started("other"), refused, started("mine")).start()
    assert news == SagaNews("running", "", False, PLACE, 3)


async def test_a_refusal_is_told() -> None:
    refused = StartRefused(**BASE, request_id="mine", reason="r", detail="d")
    assert await Service(refused).start(5) == Refused("r", "d")


async def test_a_repetition_tells_the_state_and_is_not_waited_for_when_it_has_ended() -> None:
    for state in ("completed", "compensated", "parked"):
        repeated = StartRepeated(**BASE, request_id="mine", state=state, reason="why")
        news = await asyncio.wait_for(Service(repeated).start(5), 1)
        assert news == SagaNews(state, "why", True, PLACE, 1)


async def test_a_repetition_of_a_running_saga_is_waited_for() -> None:
    repeated = StartRepeated(**BASE, request_id="mine", state="running")
    news = await Service(repeated, SagaCompleted(**BASE)).start(5)
    assert news == SagaNews("completed", "", True, PLACE, 2)


async def test_the_ends_of_a_saga_are_told() -> None:
    assert await state_after(SagaCompleted(**BASE)) == ("completed", "")
    assert await state_after(SagaCompensated(**BASE, reason="r")) == ("compensated", "r")
    assert await state_after(SagaParked(**BASE, reason="r", step="x")) == ("parked", "r")


async def test_the_way_is_told_when_there_is_no_end_in_time() -> None:
    assert await state_after() == ("running", "")
    assert await state_after(CompensationStarted(**BASE, reason="r")) == ("compensating", "r")
    resumed = SagaResumed(**BASE, state="compensating", reason="answered")
    assert await state_after(resumed) == ("compensating", "answered")


async def test_silence_is_no_answer() -> None:
    with pytest.raises(NoAnswer):
        await Service().start()


async def test_a_doubt_is_passed_on() -> None:
    with pytest.raises(RequestInDoubt):
        await Service(fails=RequestInDoubt(PLACE, "lost")).start()


async def test_an_accounts_answer_is_known_by_effect_and_content() -> None:
    deposit = Deposit(account_id="a", effect_id="e", issued_at_ms=0, amount_minor=5, currency="EUR")
    told: dict[str, Any] = {"account_id": "a", "version": 1, "at_ms": 1, "attempt": 1}
    money: dict[str, Any] = {"amount_minor": 5, "currency": "EUR", "balance_minor": 5}
    content = fingerprint(deposit)
    other_effect = Deposited(**told, **money, effect_id="x", fingerprint=content)
    other_content = Deposited(**told, **money, effect_id="e", fingerprint=content + 1)
    refused = CommandRefused(
        **told,
        effect_id="e",
        fingerprint=content,
        command="c",
        reason="effect_reused",
        detail="d",
    )
    heard = await Service(other_effect, other_content, refused).gateway().ask(deposit)
    assert heard.event == refused
    assert heard.next_offset == 3


async def test_a_watch_ends_with_its_question() -> None:
    service = Service(started("mine"))
    await service.start()
    assert service.watches == []
