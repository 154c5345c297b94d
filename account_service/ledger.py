"""The accounts of one partition together with their effect memory. Pure.

It promises the others that an effect is applied at most once, that every repetition gets the first
outcome, that an effect is taken back at most once, whatever its compensation is called, and that
nothing is applied on a guess: what is too old to be known is refused.

A compensation whose forward effect is unknown voids it: a forward command that comes late finds
itself refused. It does so only while the forward effect, had it come, would still be remembered;
after that it is refused (`effect_expired`), for the effect may have been applied and forgotten.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from account_service import account as aggregate
from account_service.account import Account
from account_service.answers import refuse, told
from account_service.effects import MAX_SKEW_MS, EffectMemory, Outcome, Remembered
from journal.packing import in_chunks
from messages.account import (
    AccountCommand,
    AccountEvent,
    Capture,
    Captured,
    CommandRefused,
    Credited,
    CreditOnHold,
    Debited,
    EffectRepeated,
    EffectVoided,
    Held,
    Hold,
    RefusalReason,
    Release,
    Released,
    Withdrawn,
)
from messages.fingerprint import fingerprint

DEFAULT_HORIZON_MS: Final = 7 * aggregate.MS_PER_DAY

_SAYS_NOTHING_NEW: Final[frozenset[RefusalReason]] = frozenset(
    ("effect_reused", "effect_expired", "effect_voided", "clock_ahead")
)
"""Refusals that are about the memory itself, and so must not change it."""


class _Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clock_ms: int
    accounts: list[Account] = []
    effects: list[tuple[str, Remembered]] = []


_chunk_decoder = msgspec.json.Decoder(_Chunk)


class Ledger:
    """The folded state of one partition of the account service. Changes in place.

    `effect_horizon_ms`: for how long after it was first asked for an effect may still be applied.
    """

    def __init__(self, effect_horizon_ms: int = DEFAULT_HORIZON_MS) -> None:
        self._horizon_ms = effect_horizon_ms
        self._accounts: dict[str, Account] = {}
        self._memory = EffectMemory(effect_horizon_ms)

    def account(self, account_id: str) -> Account | None:
        return self._accounts.get(account_id)

    def accounts(self) -> Iterable[Account]:
        return self._accounts.values()

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same accounts and remember the same effects. For tests."""
        if not isinstance(other, Ledger):
            return NotImplemented
        return (
            self._accounts == other._accounts
            and self._memory.clock_ms == other._memory.clock_ms
            and self._memory.kept() == other._memory.kept()
        )

    def decide(self, command: AccountCommand, now_ms: int) -> AccountEvent:
        """The one event that follows from `command`. Changes nothing, never raises."""
        # The memory's clock may be ahead of a new owner's: what is forgotten must count as old.
        now_ms = max(now_ms, self._memory.clock_ms)
        account = self._accounts.get(command.account_id)
        version = 0 if account is None else account.version
        known = self._memory.recall(command.effect_id, now_ms)
        if known is not None:
            repeated = _repeat(command, version, now_ms, known)
            if repeated is not None:
                return repeated
        if command.issued_at_ms > now_ms + MAX_SKEW_MS:
            return refuse(command, version, now_ms, "clock_ahead")
        if command.undoes:
            return self._take_back(account, command, now_ms)
        if known is None and self._is_expired(command, now_ms):
            return refuse(command, version, now_ms, "effect_expired")
        return aggregate.decide(account, command, now_ms)

    def _take_back(
        self, account: Account | None, command: AccountCommand, now_ms: int
    ) -> AccountEvent:
        """Decide a compensation by what became of the effect that it takes back."""
        version = 0 if account is None else account.version
        forward = self._memory.recall(command.undoes, now_ms)
        if forward is not None and forward.at_ms - command.issued_at_ms >= self._horizon_ms:
            # So late the effect itself would have been refused: its name was given anew.
            return refuse(command, version, now_ms, "effect_expired")
        if forward is None:
            if (
                isinstance(command, (Release, Capture))
                and account is not None
                and command.hold_id == command.undoes
                and command.hold_id in account.holds
            ):
                # The hold itself is the proof, however long ago it was made.
                return aggregate.decide(account, command, now_ms)
            if self._is_expired(command, now_ms):
                return refuse(command, version, now_ms, "effect_expired")
        elif forward.account_id != command.account_id:
            detail = "the effect to take back belongs to another account"
            return refuse(command, version, now_ms, "effect_reused", detail)
        elif forward.outcome == "applied":
            return aggregate.decide(account, command, now_ms, forward.allowance_day)
        return EffectVoided(voided=command.undoes, **told(command, version, now_ms))

    def _is_expired(self, command: AccountCommand, now_ms: int) -> bool:
        return now_ms - command.issued_at_ms >= self._horizon_ms

    def evolve(self, event: AccountEvent) -> None:
        """Fold one event. Raises `HistoryBroken` when it can't follow on what was folded."""
        memory = self._memory
        memory.advance(event.at_ms)
        if isinstance(event, EffectRepeated):
            return
        if isinstance(event, CommandRefused):
            if event.reason not in _SAYS_NOTHING_NEW or _turned_a_saga_away(event):
                self._remember(event, event.reason, None, event.issued_at_ms)
            return
        if isinstance(event, EffectVoided):
            memory.void(event.voided, event.account_id)
            self._remember(event, "applied", None)
            return
        account_id = event.account_id
        before = self._accounts.get(account_id)
        after = aggregate.evolve(before, event)
        assert after is not None, "only an account that was never opened is None"
        # The account's own string: a million effects share it instead of keeping one each.
        self._accounts[after.account_id] = after
        allowance_day = None
        if isinstance(event, (Debited, Withdrawn, Held)):
            allowance_day = after.spent_day
        elif isinstance(event, Captured):
            assert before is not None, "evolve has checked it"
            allowance_day = before.holds[event.hold_id].day
            memory.settle(event.hold_id, "undone" if event.undoes else "settled")
        elif isinstance(event, Released):
            assert before is not None, "evolve has checked it"
            # A credit whose hold is released stands; a plain hold has come to nothing.
            stands = before.holds[event.hold_id].day is None and not event.undoes
            memory.settle(event.hold_id, "settled" if stands else "undone")
        if isinstance(event, (Credited, Debited)) and event.undoes:
            memory.settle(event.undoes, "undone")
        self._remember(event, "applied", allowance_day)

    def _remember(
        self,
        event: AccountEvent,
        outcome: Outcome,
        allowance_day: int | None,
        issued_at_ms: int = 0,
    ) -> None:
        account = self._accounts.get(event.account_id)
        self._memory.put_last(
            event.effect_id,
            Remembered(
                event.account_id if account is None else account.account_id,
                event.fingerprint,
                event.attempt,
                outcome,
                max(self._memory.clock_ms, issued_at_ms),
                allowance_day,
            ),
        )

    def snapshot(self) -> Iterable[bytes]:
        """The state as of this call in chunks of about 64 KiB of JSON, at least one; they are
        encoded as they are asked for, while the ledger may change on."""
        return in_chunks(
            {"clock_ms": self._memory.clock_ms},
            {"accounts": list(self._accounts.values()), "effects": self._memory.frozen()},
        )

    def restore(self, chunk: bytes) -> None:
        """Take in one chunk of `snapshot`; chunks come in any order, before any event.

        Raises msgspec.ValidationError or DecodeError for a chunk of another format: a snapshot is
        a cache, the caller drops it and reads the journal.
        """
        part = _chunk_decoder.decode(chunk)
        for account in part.accounts:
            self._accounts[account.account_id] = account
        self._memory.take_in(part.clock_ms, part.effects)


def _turned_a_saga_away(event: CommandRefused) -> bool:
    """A saga that was told `clock_ahead` may have ended with that: a copy of the command, which
    would pass once the clock has caught up, must find the refusal, which is therefore remembered
    from that time on. A caller may ask again."""
    return event.reason == "clock_ahead" and event.saga_id != ""


def _repeat(
    command: AccountCommand, version: int, now_ms: int, known: Remembered
) -> CommandRefused | EffectRepeated | None:
    """The answer from memory; None when the effect was refused and this is a new attempt."""
    outcome = known.outcome
    if outcome in ("voided", "undone"):
        # Whoever was told "applied" now would build on money that is not there any more.
        return refuse(command, version, now_ms, "effect_voided")
    if known.fingerprint != fingerprint(command):
        return refuse(command, version, now_ms, "effect_reused")
    if outcome in ("applied", "settled"):
        hold_id = command.effect_id if isinstance(command, (Hold, CreditOnHold)) else ""
        return EffectRepeated(hold_id=hold_id, **told(command, version, now_ms))
    if command.attempt <= known.attempt:
        return EffectRepeated(refused=outcome, **told(command, version, now_ms))
    return None
