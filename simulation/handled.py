"""Exactly once, from end to end: every input is handled once, every message arrives once.

Compared as multisets of the logs: what was asked for with what was decided on. While the bank is at
work a part may be under way; when it is at rest both sides must be equal.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from orchestrator.recovery import NOT_ASKED
from simulation.history import (
    ACCOUNT_INPUT,
    SAGA_INPUT,
    Fact,
    Histories,
    Journal,
    destination,
    fields_of,
    input_of,
    text_header,
)
from simulation.incidents import COPIED, FOREIGN

_DECIDED: Final = frozenset(
    (
        "saga.SagaStarted",
        "saga.StartRepeated",
        "saga.StartRefused",
        "saga.RecoveryAccepted",
        "saga.RecoveryRepeated",
        "saga.RecoveryRefused",
        "saga.SignalAccepted",
        "saga.SignalRepeated",
        "saga.SignalRefused",
    )
)
_ANSWERED: Final = frozenset(("saga.StepSucceeded", "saga.StepRefused", "saga.AnswerIgnored"))
_TAKEN_OUTSIDE: Final = frozenset(f"participant.Effect{how}" for how in ("Begun", "Joined", "Told"))
_TOLD_OUTSIDE: Final = frozenset(("participant.EffectSettled", "participant.EffectTold"))
_OWN_WORDS: Final = ("command_unresolved", "too_late")

Links = dict[tuple[str, str], int]
"""(source, destination) -> how many messages."""


def handled(histories: Histories) -> Iterator[str]:
    yield from _requests(histories)
    yield from _commands_and_answers(histories)
    sent: Links = {}
    received: Links = {}
    for journal in histories.journals:
        yield from _positions(journal, len(_input(histories, journal)))
        yield from _sent(journal, histories.partitions, sent)
        for fact in journal.facts:
            if fact.type == "journal.Advanced":
                at = str(input_of(journal.place))
                for source, number in fact.fields.get("received", {}).items():
                    received[source, at] = number
    yield from _links(sent, received)
    yield from _dead_letters(histories, sent)


def _input(histories: Histories, journal: Journal) -> list[object]:
    return list(histories.records[input_of(journal.place)])


def _positions(journal: Journal, end: int) -> Iterator[str]:
    """The input position never goes back, and nothing but duplicates lies behind the last one."""
    position = 0
    for fact in journal.facts:
        if fact.type == "journal.Advanced":
            now = fact.fields["input_next"]
            if now < position:
                yield f"handled: {journal.place} offset {fact.offset}: input back from {position}"
            position = now
    if position > end:
        yield f"handled: {journal.place} has handled {position} of {end} inputs"


def _sent(journal: Journal, partitions: int, sent: Links) -> Iterator[str]:
    """Every batch tells how many messages follow from it and those before."""
    derived: Counter[str] = Counter()
    name = str(journal.place)
    for fact in journal.facts:
        if to := destination(fact, partitions):
            derived[to] += 1
        if fact.type == "journal.Advanced":
            for to, number in fact.fields.get("sent", {}).items():
                if derived[to] != number:
                    yield (
                        f"handled: {journal.place} offset {fact.offset}: {number} sent to {to}, "
                        f"{derived[to]} follow"
                    )
    sent.update(((name, to), number) for to, number in derived.items())


def _links(sent: Links, received: Links) -> Iterator[str]:
    for (source, to), number in sent.items():
        if to.startswith("deadletter") or ".answers/" in to:
            continue
        got = received.get((source, to), 0)
        if got != number:
            yield f"handled: link {source} -> {to}: {number} sent, {got} received"
    for (source, to), got in received.items():
        if (source, to) not in sent and not source.startswith(FOREIGN):
            yield f"handled: link {source} -> {to}: none sent, {got} received"


def _requests(histories: Histories) -> Iterator[str]:
    """Every request from outside that can be decoded is decided on once per copy."""
    asked: Counter[tuple[str, str]] = Counter()
    decided: Counter[tuple[str, str]] = Counter()
    for place, records in histories.records.items():
        if place.topic in (SAGA_INPUT, ACCOUNT_INPUT):
            for record in records:
                if text_header(record, "ce_source") == "api":
                    asked[place.topic, text_header(record, "ce_id") or ""] += 1
    for journal in histories.sagas:
        for fact in journal.facts:
            if fact.type in _DECIDED and not fact.fields.get("parent"):
                decided[SAGA_INPUT, fact.fields["request_id"]] += 1
    for journal in histories.accounts:
        for fact in journal.facts:
            if fact.type.startswith("account.") and not fact.fields.get("saga_id"):
                decided[ACCOUNT_INPUT, fact.fields["effect_id"]] += 1
    yield from _compare("requests", asked, decided)


def _commands_and_answers(histories: Histories) -> Iterator[str]:
    requested: Counter[tuple[str, ...]] = Counter()
    answered: Counter[tuple[str, ...]] = Counter()
    decided: Counter[tuple[str, ...]] = Counter()
    told: Counter[tuple[str, ...]] = Counter()
    for journal in histories.sagas:
        for fact in journal.facts:
            if fact.fields.get("saga_id", FOREIGN).startswith(FOREIGN):
                continue
            if fact.type == "saga.StepRequested":
                # That commands to sagas arrive once their links' numbers tell.
                if fact.fields["topic"] != SAGA_INPUT:
                    requested[_step(fact.fields)] += 1
            elif fact.type == "saga.ParentAnswered":
                told[_step({**fact.fields["parent"]})] += 1
            elif _is_answer(fact):
                answered[_step(fact.fields)] += 1
    for topic in (ACCOUNT_INPUT, *{input_of(journal.place).topic for journal in histories.outside}):
        requested.update(map(_step, _copies(histories, topic)))
    for journal in histories.accounts:
        for fact in journal.facts:
            saga = fact.fields.get("saga_id", "")
            if fact.type.startswith("account.") and saga and not saga.startswith(FOREIGN):
                decided[_step(fact.fields)] += 1
                told[_step(fact.fields)] += 1
    for journal in histories.outside:
        for fact in journal.facts:
            if fact.type in _TAKEN_OUTSIDE:
                decided[_step(fact.fields)] += 1
            if fact.type in _TOLD_OUTSIDE:
                told[_step(fact.fields)] += 1
    yield from _compare("commands", requested, decided)
    told.update(map(_step, _copies(histories, SAGA_INPUT)))
    yield from _compare("answers", told, answered)


def _is_answer(fact: Fact) -> bool:
    """Whether it is what became of an answer, and not of the time or the engine's own decision."""
    if fact.type == "saga.StepTimedOut":
        # Only who says that nobody knows says it in words.
        return bool(fact.fields.get("detail"))
    own = fact.fields.get("reason") in _OWN_WORDS or fact.fields.get("detail") == NOT_ASKED
    return fact.type in _ANSWERED and not own


def _copies(histories: Histories, topic: str) -> Iterator[dict[str, Any]]:
    """Messages that came once more, outside their link."""
    for place, records in histories.records.items():
        for record in records if place.topic == topic else ():
            if text_header(record, "ce_source") == COPIED:
                fields = fields_of(record)
                if "child_id" in fields:
                    continue
                if not fields["saga_id"].startswith(FOREIGN):
                    yield fields


def _step(fields: dict[str, Any]) -> tuple[str, ...]:
    return (
        fields["saga_id"],
        fields["step"],
        fields.get("direction", "do"),
        str(fields.get("attempt", 1)),
    )


def _compare(
    what: str, asked: Counter[tuple[str, ...]], decided: Counter[tuple[str, ...]]
) -> Iterator[str]:
    for key in sorted({*asked, *decided}):
        if asked[key] != decided[key]:
            yield f"handled: {what} {'/'.join(key)}: {asked[key]} asked, {decided[key]} decided"


def _dead_letters(histories: Histories, sent: Links) -> Iterator[str]:
    """Every rejected input is rejected once, and its copy is in the dead-letter topic."""
    letters: set[tuple[str, str]] = set()
    for place, records in histories.records.items():
        if place.topic == "deadletter":
            letters = {
                (text_header(r, "ce_source") or "", text_header(r, "ce_sequence") or "")
                for r in records
            }
    counted = Counter(source for source, _ in letters)
    for (source, to), number in sent.items():
        if to.startswith("deadletter") and counted[source] != number:
            yield f"handled: {source}: {number} rejected, {counted[source]} dead letters"
    for journal in histories.journals:
        offsets = [
            fact.fields["offset"] for fact in journal.facts if fact.type == "journal.RecordRejected"
        ]
        if len(offsets) != len(set(offsets)):
            yield f"handled: {journal.place} rejected an input twice"
