"""The effects that were asked of a participant: those under way, and what became of the others.
Pure: `decide` gives events, `evolve` folds them.

It promises that a handler is asked for an effect only while no outcome of it is recorded, that
every repetition hears the recorded outcome, that a compensation is done only for what was or may
have been done, and that what is too old to be remembered is refused, never done on a guess.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal, TypedDict

import msgspec
from msgspec.structs import replace

from journal.aging_dict import AgingDict
from journal.packing import in_chunks
from messages.fingerprint import fingerprint
from messages.identity import Direction
from messages.participant import EFFECT_UNKNOWN, OUTCOME_UNKNOWN, Enquire, StepCommand
from messages.saga import Result, StepApplied, StepDeclined, answer_to
from messages.wire import encode
from participant.outcomes import Applied, Declined, Outcome, Unknown

MAX_SKEW_MS: Final = 5 * 60 * 1_000
"""How far a sender's clock may be ahead of ours."""

_DETAILS: Final = {
    "effect_expired": "asked for too long ago to tell whether it was done; look in the journal",
    "effect_reused": "the effect id stands for another request",
    "effect_voided": "its compensation came first; it will not be done any more",
    "effect_in_progress": "it is under way and can't be taken back until its outcome is known",
    "participant_busy": "as much is under way as can be; ask again later",
    "clock_ahead": "issued in the future: a sender's clock is wrong; nothing was done",
    OUTCOME_UNKNOWN: "nobody can tell yet",
    EFFECT_UNKNOWN: "it has not come so far",
}


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is the command's record key. The other fields are the command's: with them the answer
    is a function of the event alone."""

    key: str
    effect_id: str
    at_ms: int
    attempt: int
    saga_id: str = ""
    step: str = ""
    direction: Direction = "do"
    reply_to: str = ""


class EffectBegun(_Event, frozen=True, kw_only=True, tag="participant.EffectBegun.v1"):
    """From now on the handler is asked: to do the effect, or (`enquire`) what became of it."""

    fingerprint: int
    command: msgspec.Raw
    undoes: str = ""
    enquire: bool = False


class EffectJoined(_Event, frozen=True, kw_only=True, tag="participant.EffectJoined.v1"):
    """Asked for once more while it is under way: the answer will name this attempt."""


class EffectSettled(_Event, frozen=True, kw_only=True, tag="participant.EffectSettled.v1"):
    """What the handler said. `unknown`: it may be asked again."""

    outcome: Literal["applied", "declined", "unknown"]
    result: Result = {}
    reason: str = ""
    detail: str = ""
    undoes: str = ""


class EffectTold(_Event, frozen=True, kw_only=True, tag="participant.EffectTold.v1"):
    """Answered without the handler. `reason` empty: it is applied. `voids`: a compensation has
    found nothing to take back, and that effect will not be done any more. `issued_at_ms`: the
    command's, if it voids or if only a later attempt of it may be done; else 0."""

    result: Result = {}
    reason: str = ""
    detail: str = ""
    voids: str = ""
    fingerprint: int = 0
    issued_at_ms: int = 0


EffectEvent = EffectBegun | EffectJoined | EffectSettled | EffectTold


class _Asked(msgspec.Struct, frozen=True):
    """What every command says, whichever it is."""

    issued_at_ms: int


_asked = msgspec.json.Decoder(_Asked)


class UnderWay(msgspec.Struct, frozen=True):
    """An effect that the handler is at. `begun.attempt` numbers the run, `attempt` is the last one
    that asked for it."""

    begun: EffectBegun
    attempt: int

    @property
    def issued_at_ms(self) -> int:
        return _asked.decode(self.begun.command).issued_at_ms


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an effect. `issued_at_ms`: when it was first asked for; 0 when that was not
    recorded. `begun` is kept only while it is unknown: to be able to enquire."""

    fingerprint: int
    attempt: int
    outcome: Literal["applied", "declined", "unknown", "voided", "undone"]
    at_ms: int
    issued_at_ms: int = 0
    result: Result = {}
    reason: str = ""
    detail: str = ""
    begun: EffectBegun | None = None


class _Common(TypedDict):
    key: str
    effect_id: str
    at_ms: int
    attempt: int
    saga_id: str
    step: str
    direction: Direction
    reply_to: str


class _Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clock_ms: int
    under_way: list[tuple[str, UnderWay]] = []
    known: list[tuple[str, Known]] = []


_chunks = msgspec.json.Decoder(_Chunk)


class Effects:
    """The folded state of one partition. Changes in place.

    `horizon_ms`: for how long after it was first asked for an effect may still be done.
    `max_under_way`: how many the handler may be at; beyond it commands are declined as
    `participant_busy`. `enquirable`: whether a command's outcome can be enquired after.
    """

    def __init__(
        self, horizon_ms: int, max_under_way: int, enquirable: Callable[[str], bool]
    ) -> None:
        self._horizon_ms = horizon_ms
        self._max_under_way = max_under_way
        self._enquirable = enquirable
        self.under_way: dict[str, UnderWay] = {}
        self.known = AgingDict[Known](horizon_ms + MAX_SKEW_MS)

    @property
    def clock_ms(self) -> int:
        """The latest `at_ms` of the events folded."""
        return self.known.clock_ms

    def decide(
        self, command: StepCommand, key: str, now_ms: int, *, lasting: bool = True
    ) -> EffectEvent:
        """The one event that follows from a command or an enquiry. Changes nothing. `lasting`: it
        may stay under way, so that there must be room for it."""
        now_ms = max(now_ms, self.clock_ms)
        at = self.under_way.get(command.effect_id)
        known = self.known.recall(command.effect_id, now_ms)
        if isinstance(command, Enquire):
            return self._enquired(command, key, now_ms, at, known)
        number = fingerprint(command)
        before = at.begun if at is not None else known
        if known is not None and known.outcome in ("voided", "undone"):
            return _told(command, key, now_ms, "effect_voided")
        if before is not None and before.fingerprint != number:
            return _told(command, key, now_ms, "effect_reused")
        if at is not None:
            return EffectJoined(**_common(command, key, now_ms))
        if known is not None and (known.outcome == "applied" or command.attempt <= known.attempt):
            return _repeated(command, key, now_ms, known)
        if command.issued_at_ms > now_ms + MAX_SKEW_MS:
            return _put_off(command, key, now_ms, "clock_ahead", known)
        if command.undoes:
            told = self._nothing_to_undo(command, key, now_ms)
            if told is not None:
                return told
        elif known is None and self._is_expired(command, now_ms):
            return _told(command, key, now_ms, "effect_expired")
        if lasting and len(self.under_way) >= self._max_under_way:
            return _put_off(command, key, now_ms, "participant_busy", known)
        return begun(command, key, now_ms)

    def _nothing_to_undo(self, command: StepCommand, key: str, now_ms: int) -> EffectTold | None:
        """The answer to a compensation that the handler need not hear of; None if it must."""
        forward = self.under_way.get(command.undoes) or self.known.recall(command.undoes, now_ms)
        if forward is None:
            expired = self._is_expired(command, now_ms)
        else:
            # So late the effect itself would have been refused: its name was given anew.
            expired = forward.issued_at_ms - command.issued_at_ms >= self._horizon_ms
        if expired:
            return _told(command, key, now_ms, "effect_expired")
        if isinstance(forward, UnderWay):
            return _told(command, key, now_ms, "effect_in_progress")
        if forward is not None and forward.outcome in ("applied", "unknown"):
            return None
        return voiding(command, key, now_ms)

    def _enquired(
        self, command: Enquire, key: str, now_ms: int, at: UnderWay | None, known: Known | None
    ) -> EffectEvent:
        if at is not None:
            return EffectJoined(**_common(command, key, now_ms))
        if known is None:
            expired = self._is_expired(command, now_ms)
            return _told(command, key, now_ms, "effect_expired" if expired else EFFECT_UNKNOWN)
        if known.outcome in ("voided", "undone"):
            return _told(command, key, now_ms, "effect_voided")
        if known.begun is not None and self._enquirable(command.command):
            return replace(
                known.begun, at_ms=now_ms, attempt=command.attempt, key=key, enquire=True
            )
        return _repeated(command, key, now_ms, known)

    def settle(self, effect_id: str, run: int, outcome: Outcome, now_ms: int) -> EffectEvent | None:
        """What follows from the handler's word about run `run`; None if nobody waits for it."""
        at = self.under_way.get(effect_id)
        if at is None or at.begun.attempt != run:
            return None
        return settled(at.begun, at.attempt, outcome, max(now_ms, self.clock_ms))

    def _is_expired(self, command: StepCommand, now_ms: int) -> bool:
        return now_ms - command.issued_at_ms >= self._horizon_ms

    def evolve(self, event: EffectEvent) -> None:
        self.known.advance(event.at_ms)
        match event:
            case EffectBegun():
                # The record's buffer must not be kept for it.
                event = replace(event, command=event.command.copy())
                self.under_way[event.effect_id] = UnderWay(event, event.attempt)
                self.known.pop(event.effect_id, None)
            case EffectJoined():
                at = self.under_way[event.effect_id]
                attempt = max(at.attempt, event.attempt)
                self.under_way[event.effect_id] = UnderWay(at.begun, attempt)
            case EffectSettled():
                self._settled(event)
            case EffectTold():
                if event.voids:
                    self._voided(event)
                elif event.issued_at_ms and event.saga_id:
                    self._turned_away(event)
                else:
                    self._bar(event)

    def _turned_away(self, event: EffectTold) -> None:
        """The saga may end with this refusal: a copy of the command, which would be done once the
        clock has caught up or there is room, must find it. It lives as long as the command."""
        known = self.known.recall(event.effect_id)
        if known is None or known.outcome != "unknown":
            known = Known(
                fingerprint=event.fingerprint,
                attempt=event.attempt,
                outcome="declined",
                at_ms=max(self.clock_ms, event.issued_at_ms),
                issued_at_ms=event.issued_at_ms,
                reason=event.reason,
                detail=event.detail,
            )
        known = replace(known, attempt=max(known.attempt, event.attempt))
        self.known.put_last(event.effect_id, known)

    def _bar(self, event: EffectTold) -> None:
        """The saga takes a refusal that it was told for final: a command that was overtaken by the
        enquiry must not be done any more."""
        known = self.known.get(event.effect_id)
        if known is not None and known.outcome == "declined" and known.reason == event.reason:
            attempt = max(known.attempt, event.attempt)
            self.known[event.effect_id] = replace(known, attempt=attempt)

    def _settled(self, event: EffectSettled) -> None:
        at = self.under_way.pop(event.effect_id)
        self.known[event.effect_id] = Known(
            fingerprint=at.begun.fingerprint,
            attempt=event.attempt,
            outcome=event.outcome,
            at_ms=self.clock_ms,
            issued_at_ms=at.issued_at_ms,
            result=event.result,
            reason=event.reason,
            detail=event.detail,
            begun=at.begun if event.outcome == "unknown" else None,
        )
        forward = self.known.get(event.undoes)
        if event.outcome == "applied" and forward is not None:
            self.known[event.undoes] = replace(forward, outcome="undone", begun=None)

    def _voided(self, event: EffectTold) -> None:
        voided = Known(
            fingerprint=0,
            attempt=0,
            outcome="voided",
            at_ms=self.clock_ms,
            issued_at_ms=event.issued_at_ms,
        )
        applied = replace(
            voided, fingerprint=event.fingerprint, attempt=event.attempt, outcome="applied"
        )
        for effect_id, known in ((event.voids, voided), (event.effect_id, applied)):
            self.known.put_last(effect_id, known)

    def snapshot(self) -> Iterable[bytes]:
        """The state as of this call, in chunks of about 64 KiB."""
        return in_chunks(
            {"clock_ms": self.clock_ms},
            {"under_way": list(self.under_way.items()), "known": self.known.frozen()},
        )

    def restore(self, chunk: bytes) -> None:
        """Take in one chunk of `snapshot`; chunks come in any order, before any event."""
        part = _chunks.decode(chunk)
        self.under_way.update(part.under_way)
        self.known.take_in(part.clock_ms, part.known)


def begun(command: StepCommand, key: str, at_ms: int) -> EffectBegun:
    """The handler is asked for what `command` says."""
    return EffectBegun(
        fingerprint=fingerprint(command),
        command=msgspec.Raw(encode(command)),
        undoes=command.undoes,
        **_common(command, key, at_ms),
    )


def voiding(command: StepCommand, key: str, at_ms: int) -> EffectTold:
    """The compensation `command` finds nothing: what it would take back won't be done any more."""
    return EffectTold(
        voids=command.undoes,
        fingerprint=fingerprint(command),
        issued_at_ms=command.issued_at_ms,
        **_common(command, key, at_ms),
    )


def settled(begun: EffectBegun, attempt: int, outcome: Outcome, at_ms: int) -> EffectSettled:
    """What follows from the handler's word about the effect; `attempt`: the last one that asked."""
    result: Result = {}
    match outcome:
        case Applied():
            kind, reason, detail, result = "applied", "", "", outcome.result
        case Declined():
            kind, reason, detail = "declined", outcome.reason, outcome.detail
        case Unknown():
            never = outcome.never_came and begun.enquire
            kind, detail = "unknown", outcome.detail
            reason = EFFECT_UNKNOWN if never else OUTCOME_UNKNOWN
    return EffectSettled(
        key=begun.key,
        effect_id=begun.effect_id,
        at_ms=at_ms,
        attempt=attempt,
        saga_id=begun.saga_id,
        step=begun.step,
        direction=begun.direction,
        reply_to=begun.reply_to,
        outcome=kind,
        result=result,
        reason=reason,
        detail=detail[:1_000],
        undoes=begun.undoes,
    )


def answer(event: EffectEvent) -> StepApplied | StepDeclined | None:
    """What the saga is told because of an event; None when it has to wait, or nobody asked."""
    if not isinstance(event, EffectSettled | EffectTold) or not (event.reply_to and event.saga_id):
        return None
    return answer_to(event, event.reason, event.detail, event.result)


def _common(command: StepCommand, key: str, now_ms: int) -> _Common:
    return {
        "key": key,
        "effect_id": command.effect_id,
        "at_ms": now_ms,
        "attempt": command.attempt,
        "saga_id": command.saga_id,
        "step": command.step,
        "direction": command.direction,
        "reply_to": command.reply_to,
    }


def _told(command: StepCommand, key: str, now_ms: int, reason: str) -> EffectTold:
    return EffectTold(reason=reason, detail=_DETAILS[reason], **_common(command, key, now_ms))


def _put_off(
    command: StepCommand, key: str, now_ms: int, reason: str, known: Known | None
) -> EffectTold:
    """Nothing is done now. An earlier attempt may have done it: a refusal would say that it is not
    done, and the saga would end without taking it back."""
    if known is not None and known.outcome == "unknown":
        reason = OUTCOME_UNKNOWN
    told = _told(command, key, now_ms, reason)
    return replace(told, fingerprint=fingerprint(command), issued_at_ms=command.issued_at_ms)


def _repeated(command: StepCommand, key: str, now_ms: int, known: Known) -> EffectTold:
    return EffectTold(
        result=known.result,
        reason=known.reason,
        detail=known.detail,
        **_common(command, key, now_ms),
    )
