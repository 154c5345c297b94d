"""Outside the bank: a participant's declaration, what it takes effect in, and its handlers.

The carrier's own book is the truth about what was done. It does one effect once, however often it
is asked under that name, and what was taken back is never done any more, also when it comes late:
that much `docs/participants.md` demands of every handler. Everything else may go wrong with it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Annotated, Any, Final, Literal

import msgspec

from journal.service import Service, Tuning
from messages.account import AccountId
from messages.money import Amount
from messages.participant import StepCommand
from messages.participants import PAYOUTS, Participant
from messages.wire import type_name
from participant.effects import EffectEvent
from participant.outcomes import Applied, Declined, Outcome, Unknown
from participant.serving import Limits, commands_of, effect_service
from participant.work import Work
from simulation.conditions import OUTSIDE, PAYOUT, Conditions
from simulation.process import Gate
from simulation.weather import MAX_DELAY_S

State = Literal["done", "declined", "undone"]

_LATE_S: Final = 15.0


class Reserve(StepCommand, frozen=True, kw_only=True, tag="outside.Reserve.v1"):
    customer: AccountId
    amount_minor: Amount


class Cancel(StepCommand, frozen=True, kw_only=True, tag="outside.Cancel.v1"):
    customer: AccountId


class Deliver(StepCommand, frozen=True, kw_only=True, tag="outside.Deliver.v1"):
    customer: AccountId
    note: Annotated[str, msgspec.Meta(max_length=40)] = ""


def declared(conditions: Conditions) -> Participant | None:
    """The participant of a run, if it has one."""
    if conditions.participant == OUTSIDE:
        return Participant(
            name=OUTSIDE,
            key="customer",
            commands=frozenset({Reserve, Cancel, Deliver}),
            inverse={Reserve: Cancel, Cancel: None, Deliver: None},
            enquiries=True,
            partitions=conditions.participant_partitions,
            max_unanswered=conditions.max_unanswered,
        )
    return PAYOUTS if conditions.participant == PAYOUT else None


class Entry(msgspec.Struct):
    """What the carrier knows of an effect. `command` None: it was taken back before it came."""

    command: StepCommand | None
    state: State


class Carrier:
    """`book`: effect id -> what became of it. `clear_up` ends all faults, and lets go of whoever
    was left hanging."""

    def __init__(
        self,
        declared: Participant,
        rng: Random,
        conditions: Conditions,
        happened: Counter[str],
    ) -> None:
        self.book: dict[str, Entry] = {}
        self._declared = declared
        self._rng = rng
        self._conditions = conditions
        self._rates = dict(conditions.rates)
        self._happened = happened
        self._coming: Counter[str] = Counter()
        self._fair = asyncio.Event()
        enquirable = declared.commands if conditions.enquiries else ()
        self._enquirable = frozenset(type_name(kind) for kind in enquirable)

    def clear_up(self) -> None:
        self._rates = dict.fromkeys(self._rates, 0.0)
        self._fair.set()

    def service(self, answer_partitions: int, tuning: Tuning) -> Service[StepCommand, EffectEvent]:
        """The participant's memory of effects, as the kernel runs it."""
        limits = Limits(
            max_under_way=self._conditions.max_under_way,
            effect_horizon_ms=self._conditions.effect_horizon_ms,
        )
        return effect_service(
            self._declared,
            answer_partitions,
            enquirable=self._enquirable,
            limits=limits,
            tuning=tuning,
        )

    def work(self, gate: Gate) -> Work:
        """The handlers in one life of a process, which stand still while it is frozen."""
        kinds = [type_name(kind) for kind in self._declared.commands]
        return Work(
            commands_of(self._declared),
            dict.fromkeys(kinds, _behind(gate, self._do)),
            dict.fromkeys(self._enquirable, _behind(gate, self._enquire)),
            self._conditions.max_handlers,
        )

    async def _do(self, command: StepCommand) -> Outcome:
        fate = self._fate(("deed_late", "handler_unsure", "handler_late", "handler_hung"))
        try:
            await asyncio.sleep(self._wire_s())
            if command.undoes and self._rng.random() < self._rates["handler_unsure"]:
                self._happened["undo_not_now"] += 1
                return Declined("not_now")
            if fate == "deed_late":
                self._lands_late(command)
                return Unknown("the line went dead")
            if fate == "handler_hung" and self._rng.random() < 0.5:
                await self._fair.wait()
            self._land(command)
            if fate == "handler_hung":
                await self._fair.wait()
            elif fate == "handler_late":
                await asyncio.sleep(self._late_s())
        except asyncio.CancelledError:
            # Its process died: the deed is done, or may be on the wire.
            self._happened["handler_crashed"] += 1
            if self._rng.random() < 0.5:
                self._lands_late(command)
            raise
        if fate == "handler_unsure":
            if self._rng.random() < 0.5:
                raise ConnectionResetError
            return Unknown("an answer that nobody understands")
        return self._truth(command)

    async def _enquire(self, command: StepCommand) -> Outcome:
        fate = self._fate(("enquiry_unsure", "handler_late", "handler_hung"))
        await asyncio.sleep(self._wire_s())
        if fate == "enquiry_unsure":
            return Unknown("it is being looked for")
        if fate == "handler_hung":
            await self._fair.wait()
        elif fate == "handler_late":
            await asyncio.sleep(self._late_s())
        if command.effect_id in self.book:
            self._happened["enquiry_told"] += 1
            return self._truth(command)
        self._happened["enquiry_never_came"] += 1
        if self._coming[command.effect_id]:
            self._happened["enquiry_overtook_deed"] += 1
        return Unknown(never_came=True)

    def _fate(self, kinds: tuple[str, ...]) -> str:
        drawn = self._rng.random()
        for kind in kinds:
            drawn -= self._rates[kind]
            if drawn < 0:
                self._happened[kind] += 1
                return kind
        return ""

    def _lands_late(self, command: StepCommand) -> None:
        self._coming[command.effect_id] += 1
        asyncio.get_running_loop().call_later(self._late_s(), self._came, command)

    def _came(self, command: StepCommand) -> None:
        self._coming[command.effect_id] -= 1
        self._land(command)

    def _land(self, command: StepCommand) -> None:
        if command.effect_id in self.book:
            self._happened["deed_repeated"] += 1
            return
        state: State = "done"
        if command.undoes:
            forward = self.book.setdefault(command.undoes, Entry(None, "undone"))
            forward.state = "undone"
        elif self._rng.random() < self._conditions.declines:
            state = "declined"
        self.book[command.effect_id] = Entry(command, state)

    def _truth(self, command: StepCommand) -> Outcome:
        match self.book[command.effect_id].state:
            case "done":
                return Applied({"number": len(self.book)})
            case "declined":
                return Declined("not_served")
            case "undone":
                return Declined("taken_back")

    def _wire_s(self) -> float:
        return self._rng.random() * 4 * self._conditions.latency_s

    def _late_s(self) -> float:
        return min(MAX_DELAY_S, self._rng.expovariate(1 / _LATE_S))


def _behind(
    gate: Gate, ask: Callable[[Any], Awaitable[Outcome]]
) -> Callable[[Any], Awaitable[Outcome]]:
    async def handler(command: StepCommand) -> Outcome:
        await gate.passed()
        outcome = await ask(command)
        await gate.passed()
        return outcome

    return handler
