"""Deliberately broken variants of the bank: the simulator must notice every one of them.

A simulator that finds nothing is worth as much as its best catch. Each mutant takes one rule of
docs/correctness.md away, in this process, for as long as its block lasts.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import msgspec

from account_service import account
from account_service.effects import EffectMemory
from journal import epoch, epochs, outbox, processor, progress, snapshots
from journal.log import AppendInDoubt, LogError
from journal.progress import Verdict
from journal.records import is_opened
from messages import identity
from messages.wire import encode
from orchestrator import course, references, saga, signals, timers
from participant import effects as outside
from participant.machine import EffectMachine
from participant.outcomes import Applied, Declined, Unknown
from participant.work import Work
from read_model import batch, projection
from simulation.mutant import Mutant
from simulation.mutants_of_shapes import OF_SHAPES


def _no_offset_check(_: Any) -> Any:
    async def look_between(self: Any, expected: int, first: int) -> None:
        return

    return look_between


def _every_record_counts(_: Any) -> Any:
    def admits(self: Any, record: Any) -> bool:
        if is_opened(record.headers):
            self.epoch = record.offset
            self._expected = b"%d" % record.offset
        return any(name == "ce_epoch" for name, _ in record.headers) or is_opened(record.headers)

    return admits


def _received_is_forgotten(original: Any) -> Any:
    def replay(self: Any, advanced: Any) -> None:
        before = dict(self.received)
        original(self, advanced)
        self.received = before

    return replay


def _input_is_skipped(original: Any) -> Any:
    def close_batch(self: Any, at_ms: int) -> Any:
        self.input_next += 1
        try:
            return original(self, at_ms)
        finally:
            self.input_next -= 1

    return close_batch


def _let_go(self: Any) -> None:
    """Send what an epoch's batch gives out, whatever became of the batch."""
    for index, place, sequence, output in self._outputs:
        at = self._next + index
        epoch.enqueue_output(self.progress, place, sequence, output, self._source, at)
    self._outputs.clear()
    self.outbox.release()


def _released_before_the_append(original: Any) -> Any:
    async def commit(self: Any, now_ms: int) -> None:
        _let_go(self)
        await original(self, now_ms)

    return commit


def _goes_on_after_doubt(original: Any) -> Any:
    async def commit(self: Any, now_ms: int) -> None:
        try:
            await original(self, now_ms)
        except AppendInDoubt:
            self._writer = self._log.writer()
            _let_go(self)

    return commit


def _snapshot_ahead(original: Any) -> Any:
    def write_snapshot(self: Any, number: int, journal_next: int, *rest: Any) -> Any:
        return original(self, number, journal_next + 2, *rest)

    return write_snapshot


def _failed_sends_are_confirmed(_: Any) -> Any:
    async def send(self: Any, writer: Any, chunks: Any) -> bool:
        for place, last, entries in chunks:
            with suppress(LogError):
                await writer.append(place, entries)
            self._progress.confirm(place, last)
        self._progressed.set()
        return False

    return send


def _duplicates_are_accepted(original: Any) -> Any:
    def judge(self: Any, source: str, sequence: int) -> Verdict:
        found = original(self, source, sequence)
        return Verdict.NEXT if found is Verdict.DUPLICATE else found

    return judge


def _effects_are_not_remembered(_: Any) -> Any:
    return lambda self, effect_id, now_ms=0: None


def _fresh_effect_id(_: Any) -> Any:
    count = iter(range(10**9))
    return lambda saga_id, step, direction: (
        f"{identity.effect_id(saga_id, step, direction)}.{next(count)}"
    )


def _overdrawn(original: Any) -> Any:
    def refusal(account: Any, command: Any, day: int) -> Any:
        found = original(account, command, day)
        return None if found == "insufficient_funds" else found

    return refusal


def _unknown_outcome_taken_for_nothing(original: Any) -> Any:
    return lambda node, step: step.state == "timed_out" or original(node, step)


def _everything_is_settled(_: Any) -> Any:
    return lambda node, step: True


def _no_order_of_compensation(original: Any) -> Any:
    def settled(node: Any, step: Any) -> bool:
        return step.state in ("succeeded", "undoing") or bool(original(node, step))

    return settled


def _timers_are_lost(_: Any) -> Any:
    return lambda self, saga_id: None


def _wrong_partition_accepted(_: Any) -> Any:
    return lambda self, key: ""


def _forgotten_epoch_in_snapshots(original: Any) -> Any:
    def save(*arguments: Any, **named: Any) -> Any:
        return original(*arguments, **{**named, "epoch": named["epoch"] + 1_000_000})

    return save


def _starts_again(original: Any) -> Any:
    def start(known: Any, *rest: Any) -> Any:
        return original(None, *rest)

    return start


def _first_outcome_wins(original: Any) -> Any:
    def outcome(self: Any, event: Any, *rest: Any, **named: Any) -> None:
        if event.saga_id not in self.outcomes:
            original(self, event, *rest, **named)

    return outcome


def _last_event_remembered(original: Any) -> Any:
    def remember(self: Any, record: Any, value: bytes) -> None:
        self.histories.pop(record.key, None)
        original(self, record, value)

    return remember


def _projector_without_epoch(original: Any) -> Any:
    def begin(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self._rule = epochs.EpochRule()

    return begin


def _anybody_approves(_: Any) -> Any:
    return lambda saga, node, who: False


def _conditions_are_not_read(_: Any) -> Any:
    return lambda self, condition: True


def _every_time_is_past(_: Any) -> Any:
    return lambda self, path: 0


def _no_last_moment(original: Any) -> Any:
    def instant_ms(self: Any, path: Any) -> int:
        return 10**15 if path[-1].endswith("ends_at") else original(self, path)

    return instant_ms


def _command_instead_of_enquiry(_: Any) -> Any:
    return lambda node, step: False


def _participant_forgets(original: Any) -> Any:
    async def open_epoch(*arguments: Any) -> Any:
        opened = await original(*arguments)
        if isinstance(opened.machine, EffectMachine):
            opened.machine.effects.known.clear()
        return opened

    return open_epoch


def _guessed(guess: Callable[[], Any], *, enquiries: bool) -> Callable[[Any], Any]:
    """What nobody knows, about an enquiry or a deed, passes for `guess`."""

    def change(original: Any) -> Any:
        def settle(self: Any, effect_id: str, run: int, outcome: Any, now_ms: int) -> Any:
            at = self.under_way.get(effect_id)
            if at is not None and at.begun.enquire == enquiries and isinstance(outcome, Unknown):
                outcome = guess()
            return original(self, effect_id, run, outcome, now_ms)

        return settle

    return change


def _fresh_name_for_a_retry(original: Any) -> Any:
    def outcome(self: Any, at: Any) -> Any:
        if at.begun.attempt == 1 or at.begun.enquire:
            return original(self, at)
        fields = msgspec.json.decode(at.begun.command)
        fields["effect_id"] += f".{at.begun.attempt}"
        command = msgspec.Raw(encode(fields))
        begun = msgspec.structs.replace(at.begun, command=command)
        return original(self, msgspec.structs.replace(at, begun=begun))

    return outcome


def _under_way_is_taken_back(original: Any) -> Any:
    def nothing_to_undo(self: Any, command: Any, *rest: Any) -> Any:
        return None if command.undoes in self.under_way else original(self, command, *rest)

    return nothing_to_undo


def _unknown_is_nothing(original: Any) -> Any:
    def nothing_to_undo(self: Any, command: Any, *rest: Any) -> Any:
        known = self.known.get(command.undoes)
        if known is None or known.outcome != "unknown":
            return original(self, command, *rest)
        del self.known[command.undoes]
        told = original(self, command, *rest)
        self.known[command.undoes] = known
        return told

    return nothing_to_undo


_ALL: Final = (
    Mutant(
        "the offset of an append is not checked", (epoch.Epoch, "_look_between", _no_offset_check)
    ),
    Mutant("records of deposed writers count", (epochs.EpochRule, "admits", _every_record_counts)),
    Mutant(
        "what a link has received is not kept over a restart",
        (progress.Progress, "replay", _received_is_forgotten),
    ),
    Mutant(
        "the input position is written one too far",
        (progress.Progress, "close_batch", _input_is_skipped),
    ),
    Mutant(
        "outputs are released before the append is acknowledged",
        (epoch.Epoch, "commit", _released_before_the_append),
    ),
    Mutant(
        "an owner goes on after an append in doubt",
        (epoch.Epoch, "commit", _goes_on_after_doubt),
    ),
    Mutant(
        "a snapshot claims more of the journal than it holds",
        (epoch.Epoch, "_write_snapshot", _snapshot_ahead),
    ),
    Mutant(
        "a snapshot forgets the epoch in force",
        (snapshots, "save", _forgotten_epoch_in_snapshots),
    ),
    Mutant(
        "a failed send passes for a confirmed one",
        (outbox.Outbox, "_send", _failed_sends_are_confirmed),
    ),
    Mutant(
        "duplicates of a link are accepted", (progress.Progress, "judge", _duplicates_are_accepted)
    ),
    Mutant(
        "accounts do not remember effects",
        (EffectMemory, "recall", _effects_are_not_remembered),
    ),
    Mutant("a retry gets a fresh effect id", (course, "effect_id", _fresh_effect_id)),
    Mutant("funds are not checked", (account, "_outgoing_refusal", _overdrawn)),
    Mutant(
        "a step without an answer passes for one that did nothing",
        (course, "_settled", _unknown_outcome_taken_for_nothing),
    ),
    Mutant("a failed saga ends without compensation", (course, "_settled", _everything_is_settled)),
    Mutant(
        "compensations do not wait for each other",
        (course, "_settled", _no_order_of_compensation),
    ),
    Mutant("timers are lost", (timers.Timers, "changed", _timers_are_lost)),
    Mutant(
        "inputs of another partition are taken",
        (epoch.Epoch, "_astray", _wrong_partition_accepted),
    ),
    Mutant(
        "of a saga's outcomes in one batch of the read model the first wins",
        (projection.Changes, "outcome", _first_outcome_wins),
    ),
    Mutant(
        "of a saga's events in one batch its history in the read model keeps the last",
        (projection.Changes, "_remember", _last_event_remembered),
    ),
    Mutant(
        "a projector that starts again forgets the epoch in force",
        (batch.Cursor, "__init__", _projector_without_epoch),
    ),
    Mutant("a repeated request starts a second saga", (saga, "start", _starts_again)),
    *OF_SHAPES,
    Mutant("who asks for a transfer approves it", (signals, "_is_barred", _anybody_approves)),
    Mutant(
        "conditions of steps are not read", (references.Facts, "meet", _conditions_are_not_read)
    ),
    Mutant(
        "a time to come passes for a past one",
        (references.Facts, "instant_ms", _every_time_is_past),
    ),
    Mutant(
        "a last moment never passes",
        (references.Facts, "instant_ms", _no_last_moment),
    ),
    Mutant(
        "a command whose outcome is unknown is sent again, and not enquired after",
        (course, "_asks_for_outcome", _command_instead_of_enquiry),
    ),
    Mutant(
        "a participant that starts again forgets its effects",
        (processor, "open_epoch", _participant_forgets),
    ),
    Mutant(
        "an enquiry that nobody can answer is answered by a guess: applied",
        (outside.Effects, "settle", _guessed(Applied, enquiries=True)),
    ),
    Mutant(
        "a deed of which nobody knows passes for one that was declined",
        (outside.Effects, "settle", _guessed(lambda: Declined("gone"), enquiries=False)),
    ),
    Mutant(
        "a participant's handler gets a fresh effect id for a retry",
        (Work, "_outcome", _fresh_name_for_a_retry),
    ),
    Mutant(
        "a participant takes back what is under way",
        (outside.Effects, "_nothing_to_undo", _under_way_is_taken_back),
    ),
    Mutant(
        "a participant takes an effect whose outcome is unknown for one that it has never seen",
        (outside.Effects, "_nothing_to_undo", _unknown_is_nothing),
    ),
)

MUTANTS: Final[Mapping[str, Mutant]] = MappingProxyType({mutant.name: mutant for mutant in _ALL})
"""By name."""
