"""Asks the handlers for the effects that are under way, a bounded number at once, and hands their
outcomes to the journal's machine. Nothing here decides whether an effect may be done.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import structlog

from journal.machine import Machine
from messages.participant import StepCommand
from messages.wire import Codec, type_name
from participant.effects import UnderWay
from participant.machine import EffectMachine
from participant.outcomes import Handler, Outcome, Unknown

log_event = structlog.get_logger("participant.work")

_LOOK_S: Final = 0.02

_Run = tuple[int, str, int]
"""Partition, effect id, run."""


class Work:
    """Implements `journal.service.Watcher`. `handlers`, `enquiries`: by type name on the wire."""

    def __init__(
        self,
        commands: Codec[StepCommand],
        handlers: Mapping[str, Handler],
        enquiries: Mapping[str, Handler],
        max_concurrent: int,
    ) -> None:
        self._commands = commands
        self._handlers = handlers
        self._enquiries = enquiries
        self._turn = asyncio.Semaphore(max_concurrent)
        self._machines: dict[int, EffectMachine] = {}
        self._running: dict[_Run, asyncio.Task[None]] = {}
        self._stopping = False

    def committed(self, partition: int, machine: Machine[Any, Any]) -> None:
        assert isinstance(machine, EffectMachine)
        self._machines[partition] = machine
        if self._stopping:
            return
        for effect_id, at in machine.effects.under_way.items():
            run = (partition, effect_id, at.begun.attempt)
            if run not in self._running:
                task = asyncio.create_task(self._run(run, at), name=f"effect {effect_id}")
                self._running[run] = task

    def ended(self, partition: int) -> None:
        self._machines.pop(partition, None)

    async def _run(self, run: _Run, at: UnderWay) -> None:
        partition, effect_id, number = run
        try:
            async with self._turn:
                if self._stopping or partition not in self._machines:
                    return
                outcome = await self._outcome(at)
            # A partition that was opened anew meanwhile has the same effect under way.
            machine = self._machines.get(partition)
            if machine is not None:
                machine.hear(effect_id, number, outcome)
                await self._until_recorded(run)
        finally:
            del self._running[run]

    async def _until_recorded(self, run: _Run) -> None:
        """Keep the run's name taken while its outcome is on the way into the journal."""
        partition, effect_id, number = run
        while (machine := self._machines.get(partition)) is not None:
            at = machine.effects.under_way.get(effect_id)
            if at is None or at.begun.attempt != number or not machine.has_heard:
                return
            await asyncio.sleep(_LOOK_S)

    async def _outcome(self, at: UnderWay) -> Outcome:
        command = self._commands.decode(bytes(at.begun.command))
        name = type_name(command)
        ask = self._enquiries[name] if at.begun.enquire else self._handlers[name]
        try:
            return _checked(await ask(command))
        except Exception as error:
            log_event.error(
                "handler_failed", effect=at.begun.effect_id, command=name, exc_info=error
            )
            return Unknown(f"the handler failed: {type(error).__name__}")

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more; give what is running `timeout_s` to end and be recorded. What does
        not is begun again by the next owner."""
        self._stopping = True
        if self._running:
            await asyncio.wait(self._running.values(), timeout=timeout_s)
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)


def _checked(outcome: Any) -> Outcome:
    if not isinstance(outcome, Outcome):
        raise TypeError(f"a handler returns Applied, Declined or Unknown, not {type(outcome)}")
    return outcome
