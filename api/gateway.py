"""Asks the services through their input topics and hears what they answer.

Knows nothing of HTTP. What it asks for is named by saga id or effect id, so that asking again is
always safe: whoever gets `NoAnswer`, `RequestInDoubt` or `NotFollowing` may repeat the question.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple, assert_never

from prometheus_client import Histogram

from account_service.service import TOPICS as ACCOUNT
from api.follower import Follower
from journal.log import Place
from journal.records import request_entry
from journal.requests import Requests
from journal.tail import Seen, Watch
from messages.account import AccountCommand, AccountEvent
from messages.fingerprint import fingerprint
from messages.routing import partition_of
from messages.saga import (
    FINISHED,
    WAITING,
    CompensationStarted,
    RecoverSaga,
    RecoveryRefused,
    RecoveryRepeated,
    SagaAccepted,
    SagaAnswer,
    SagaCompensated,
    SagaCompleted,
    SagaParked,
    SagaResumed,
    SagaState,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    SignalSaga,
    StartRefused,
    StartRepeated,
    StartSaga,
    StepWaiting,
    WaitEnded,
)
from messages.wire import encode, type_name
from orchestrator.service import TOPICS as ORCHESTRATOR

ANSWER_S: Final = 10.0
SOURCE: Final = "api"

_answer_s = Histogram(
    "makegood_api_answer_seconds",
    "From asking a service to hearing its first answer",
    ["service"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
_saga_answer_s = _answer_s.labels(ORCHESTRATOR.name)
_account_answer_s = _answer_s.labels(ACCOUNT.name)


class NoAnswer(Exception):
    """The service did not answer within the bound; the request may have been carried out."""

    def __init__(self, service: str, waited_s: float) -> None:
        super().__init__(f"the {service} did not answer within {waited_s:.0f} s")
        self.service = service
        self.waited_s = waited_s


class Heard(NamedTuple):
    """An account's answer. `next_offset`: one after the event, as positions are counted."""

    event: AccountEvent
    place: Place
    next_offset: int


class SagaNews(NamedTuple):
    """How a saga stands, as far as it was waited for."""

    state: SagaState
    reason: str
    repeated: bool
    place: Place
    next_offset: int

    @property
    def ended(self) -> bool:
        """Nothing more will happen by itself."""
        return self.state in FINISHED or self.state == "parked"

    @property
    def rests(self) -> bool:
        """It has ended, or it waits for a person or a time: there is no use in waiting for it."""
        return self.ended or self.reason == WAITING


class Refused(NamedTuple):
    """The engine does not do what it was asked."""

    reason: str
    detail: str


class Gateway:
    """`saga_partitions`, `account_partitions`: of the services' input and journal topics.
    `answer_s` bounds the wait for the first answer to anything, in seconds."""

    def __init__(
        self,
        requests: Requests,
        follower: Follower,
        *,
        saga_partitions: int,
        account_partitions: int,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._requests = requests
        self._follower = follower
        self._saga_partitions = saga_partitions
        self._account_partitions = account_partitions
        self.answer_s = answer_s

    @property
    def journals(self) -> Mapping[str, int]:
        """The journals that answers give positions of, each with its partition count."""
        return {
            ORCHESTRATOR.journal: self._saga_partitions,
            ACCOUNT.journal: self._account_partitions,
        }

    async def start(self, command: StartSaga, wait_s: float | None = None) -> SagaNews | Refused:
        """Start a saga, or hear how the one of this name stands.

        With `wait_s` the answer comes when the saga has ended (or is parked, or waits for a person
        or a time), at the latest `wait_s` after the call, but not before the engine's first answer.
        Raises NoAnswer, NotFollowing, RequestInDoubt, TooManyRequests.
        """
        began = asyncio.get_running_loop().time()
        with self._follower.watch(command.saga_id) as watch:
            try:
                async with asyncio.timeout(self.answer_s):
                    await self._send(command)
                    first = await _started(watch, command.request_id)
            except TimeoutError:
                raise NoAnswer(ORCHESTRATOR.name, self.answer_s) from None
            _saga_answer_s.observe(asyncio.get_running_loop().time() - began)
            if wait_s is None or isinstance(first, Refused):
                return first
            return await _ended(watch, first, began + wait_s)

    async def recover(self, command: RecoverSaga) -> SagaNews | Refused:
        """Do what an operator asks for about a saga; the news is how it stands right after.

        Raises NoAnswer, NotFollowing, RequestInDoubt, TooManyRequests.
        """
        with self._follower.watch(command.saga_id) as watch:
            try:
                async with asyncio.timeout(self.answer_s):
                    seen = await self._answer(command, watch)
                    event: SagaAnswer = seen.event
                    if isinstance(event, RecoveryRefused):
                        return Refused(event.reason, event.detail)
                    if isinstance(event, RecoveryRepeated):
                        return _news(event.state, event.reason, True, seen)
                    # What it led to stands in the same batch, right behind it.
                    news = _after(_news("parked", "", False, seen), await watch.next())
            except TimeoutError:
                raise NoAnswer(ORCHESTRATOR.name, self.answer_s) from None
        return news

    async def signal(self, command: SignalSaga) -> SagaNews | Refused:
        """Give a saga the signal that it waits for; the news is how it stands right after.

        Raises NoAnswer, NotFollowing, RequestInDoubt, TooManyRequests.
        """
        with self._follower.watch(command.saga_id) as watch:
            try:
                async with asyncio.timeout(self.answer_s):
                    seen = await self._answer(command, watch)
            except TimeoutError:
                raise NoAnswer(ORCHESTRATOR.name, self.answer_s) from None
        event: SagaAnswer = seen.event
        if isinstance(event, SignalRefused):
            return Refused(event.reason, event.detail)
        if isinstance(event, SignalRepeated):
            return _news(event.state, event.reason, True, seen)
        return _after(_news("running", "", False, seen), seen)

    async def _answer(self, command: RecoverSaga | SignalSaga, watch: Watch) -> Seen:
        """Ask the engine, and hear the event that answers this one request."""
        await self._send(command)
        while True:
            seen = await watch.next()
            if getattr(seen.event, "request_id", "") == command.request_id:
                return seen

    async def _send(self, command: StartSaga | RecoverSaga | SignalSaga) -> None:
        """Put a request on the engine's input, in the partition of its saga."""
        saga_id = command.saga_id
        place = Place(ORCHESTRATOR.input, partition_of(saga_id, self._saga_partitions))
        entry = request_entry(
            saga_id, encode(command), type_name(command), SOURCE, command.request_id
        )
        await self._requests.send(place, entry)

    async def ask(self, command: AccountCommand) -> Heard:
        """Ask an account, and hear the event that answers.

        Raises NoAnswer, NotFollowing, RequestInDoubt, TooManyRequests.
        """
        began = asyncio.get_running_loop().time()
        account_id = command.account_id
        place = Place(ACCOUNT.input, partition_of(account_id, self._account_partitions))
        entry = request_entry(
            account_id, encode(command), type_name(command), SOURCE, command.effect_id
        )
        content = fingerprint(command)
        with self._follower.watch(account_id, command.effect_id) as watch:
            try:
                async with asyncio.timeout(self.answer_s):
                    await self._requests.send(place, entry)
                    while True:
                        seen = await watch.next()
                        event: AccountEvent = seen.event
                        # Another body under the same key, at the same time, is another question.
                        if event.effect_id == command.effect_id and event.fingerprint == content:
                            break
            except TimeoutError:
                raise NoAnswer(ACCOUNT.name, self.answer_s) from None
        _account_answer_s.observe(asyncio.get_running_loop().time() - began)
        return Heard(event, seen.place, seen.offset + 1)


async def _started(watch: Watch, request_id: str) -> SagaNews | Refused:
    """The engine's answer to this one request."""
    while True:
        seen = await watch.next()
        event: SagaAnswer = seen.event
        if not isinstance(event, SagaAccepted | StartRepeated | StartRefused):
            continue
        if event.request_id != request_id:
            continue
        match event:
            case SagaAccepted():
                return _news("running", "", False, seen)
            case StartRepeated():
                return _news(event.state, event.reason, True, seen)
            case StartRefused():
                return Refused(event.reason, event.detail)
            case _:
                assert_never(event)


async def _ended(watch: Watch, news: SagaNews, until: float) -> SagaNews:
    """The saga's end, or how it stands at the loop's time `until`."""
    try:
        async with asyncio.timeout_at(until):
            while not news.rests:
                news = _after(news, await watch.next())
    except TimeoutError:
        # Not to be there in time is an answer too: the state so far.
        return news
    return news


def _after(news: SagaNews, seen: Seen) -> SagaNews:
    event: SagaAnswer = seen.event
    repeated = news.repeated
    if isinstance(event, SagaCompleted):
        return _news("completed", event.reason, repeated, seen)
    if isinstance(event, SagaCompensated):
        return _news("compensated", event.reason, repeated, seen)
    if isinstance(event, SagaParked):
        return _news("parked", event.reason, repeated, seen)
    if isinstance(event, CompensationStarted):
        return _news("compensating", event.reason, repeated, seen)
    if isinstance(event, SagaResumed):
        return _news(event.state, event.reason, repeated, seen)
    if isinstance(event, StepWaiting):
        return _news("running", WAITING, repeated, seen)
    if isinstance(event, WaitEnded | SignalAccepted):
        return _news(event.state, WAITING if event.still_waiting else "", repeated, seen)
    return news


def _news(state: SagaState, reason: str, repeated: bool, seen: Seen) -> SagaNews:
    return SagaNews(state, reason, repeated, seen.place, seen.offset + 1)
