"""The saga engine inside a program of your own: the orchestrator role, and participants whose
handlers are async functions of this program, in one event loop.

Such a participant is one like any other: its commands come by its topic, and the same `Effects`
remember in its journal what became of them. So the guarantee is the SDK's, too: a handler is called
at least once for an effect, and not again once its outcome is recorded. It is no more than that,
for between a handler's deed and its record the process can die.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from makegood.roles import run_orchestrator, take_part
from makegood.settings import Settings
from messages.participant import StepCommand
from messages.participants import Participant
from participant import Handler
from saga_definitions.dsl import Definition


class InProcess(NamedTuple):
    """A participant of this program: a handler for each of its commands, and for those whose
    outcome can be looked up a function that does. Handlers get the command with its `effect_id`."""

    declared: Participant
    handlers: Mapping[type[StepCommand], Handler]
    enquiries: Mapping[type[StepCommand], Handler] = {}


async def run_engine(
    settings: Settings, participants: Iterable[InProcess], more: Sequence[Definition] = ()
) -> None:
    """Be one of the bank's orchestrators, and its `participants`, until cancelled; handlers that
    are at work then get 20 s to end. `more`: definitions besides those that ship.

    Every process that shares the work needs its own MAKEGOOD_INSTANCE. Raises an ExceptionGroup of
    what ends one of them, such as HandlersIncomplete or LogError: all others end then, too.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_orchestrator(settings, more), name="orchestrator")
        for declared, handlers, enquiries in participants:
            taking_part = take_part(settings, declared, handlers, enquiries)
            tasks.create_task(taking_part, name=f"participant {declared.name}")
