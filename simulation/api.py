"""A process of the API as the services see it: it puts requests on inputs and follows answers.

The real one (`api/gateway.py`) does the same behind HTTP; both stand on `journal.requests` and
`journal.tail`, so these are simulated too.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from account_service.service import ANSWERS as ACCOUNT_ANSWERS
from account_service.service import TOPICS as ACCOUNT
from journal.log import Place
from journal.memory_log import MemoryLog
from journal.records import request_entry
from journal.requests import RequestInDoubt, Requests, TooManyRequests
from journal.tail import Tail
from messages.account import AccountCommand
from messages.fingerprint import fingerprint
from messages.routing import partition_of
from messages.saga import (
    RecoverSaga,
    RecoveryAccepted,
    RecoveryRefused,
    RecoveryRepeated,
    SagaAccepted,
    SignalAccepted,
    SignalRefused,
    SignalRepeated,
    SignalSaga,
    StartRefused,
    StartRepeated,
    StartSaga,
)
from messages.wire import encode, type_name
from orchestrator.service import ANSWERS as SAGA_ANSWERS
from orchestrator.service import TOPICS as ORCHESTRATOR
from simulation.process import Gate, GatedLog
from simulation.weather import SeededWeather

ANSWER_S = 10.0
_IDLE_S = 60.0


class Heard(NamedTuple):
    """An answer to a caller: the event, and where in a journal it stands."""

    place: Place
    offset: int
    event: Any


class NoAnswer(Exception):
    """The API could not tell what became of a request; the caller asks again."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Api:
    """Can be killed and started again; a request in its memory is then lost to its caller."""

    def __init__(self, name: str, log: MemoryLog, weather: SeededWeather, partitions: int) -> None:
        self.name = name
        self._log = log
        self._weather = weather
        self._partitions = partitions
        self._lives = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.start()

    def start(self) -> None:
        self._lives += 1
        log = GatedLog(self._log, self._weather, Gate(), idle_s=_IDLE_S)
        codecs = {ORCHESTRATOR.answers: SAGA_ANSWERS, ACCOUNT.answers: ACCOUNT_ANSWERS}
        places = [Place(topic, part) for topic in codecs for part in range(self._partitions)]
        self._tail = Tail(log, codecs, {place: len(self._log.records[place]) for place in places})
        self._requests = Requests(log, max_waiting=100)
        name = f"tail-{self.name}.{self._lives}"
        self._follower = asyncio.create_task(self._tail.run(), name=name)
        self._tasks.append(self._follower)

    def crash(self) -> None:
        self._follower.cancel()
        self._tasks.append(asyncio.create_task(self._requests.close()))

    def troubles(self) -> list[str]:
        """What broke a task of any life."""
        return [
            f"{task.get_name()}: {task.exception()!r}"
            for task in self._tasks
            if task.done() and not task.cancelled() and task.exception() is not None
        ]

    async def start_saga(self, command: StartSaga) -> Heard:
        """Raises NoAnswer."""

        def answers(event: Any) -> bool:
            return (
                isinstance(event, SagaAccepted | StartRepeated | StartRefused)
                and event.request_id == command.request_id
            )

        place = self._place(ORCHESTRATOR.input, command.saga_id)
        return await self._ask(place, command.saga_id, command, command.request_id, answers)

    async def recover_saga(self, command: RecoverSaga) -> Heard:
        """Raises NoAnswer."""

        def answers(event: Any) -> bool:
            return (
                isinstance(event, RecoveryAccepted | RecoveryRepeated | RecoveryRefused)
                and event.request_id == command.request_id
            )

        place = self._place(ORCHESTRATOR.input, command.saga_id)
        return await self._ask(place, command.saga_id, command, command.request_id, answers)

    async def signal_saga(self, command: SignalSaga) -> Heard:
        """Raises NoAnswer."""

        def answers(event: Any) -> bool:
            return (
                isinstance(event, SignalAccepted | SignalRepeated | SignalRefused)
                and event.request_id == command.request_id
            )

        place = self._place(ORCHESTRATOR.input, command.saga_id)
        return await self._ask(place, command.saga_id, command, command.request_id, answers)

    async def ask_account(self, command: AccountCommand) -> Heard:
        """Raises NoAnswer."""
        content = fingerprint(command)

        def answers(event: Any) -> bool:
            return bool(event.effect_id == command.effect_id and event.fingerprint == content)

        place = self._place(ACCOUNT.input, command.account_id)
        return await self._ask(place, command.account_id, command, command.effect_id, answers)

    def _place(self, topic: str, key: str) -> Place:
        return Place(topic, partition_of(key, self._partitions))

    async def _ask(
        self,
        place: Place,
        key: str,
        command: StartSaga | RecoverSaga | SignalSaga | AccountCommand,
        request_id: str,
        answers: Callable[[Any], bool],
    ) -> Heard:
        entry = request_entry(key, encode(command), type_name(command), "api", request_id)
        with self._tail.watch(key) as watch:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._requests.send(place, entry)
                    while True:
                        seen = await watch.next()
                        if answers(seen.event):
                            return Heard(seen.place, seen.offset, seen.event)
            except (TimeoutError, RequestInDoubt, TooManyRequests) as error:
                raise NoAnswer(type(error).__name__) from error
