"""What was asked of an outside participant: done once, remembered, and told as its own book says.

The participant's journal is folded a second time, in words of its own; the book is the carrier's,
who knows nothing of sagas. An outcome that nobody knew must not have been guessed.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from simulation.carrier import Entry
from simulation.courses import Course, Courses, takes_place
from simulation.history import ACCOUNT_INPUT, CLAIMS_INPUT, SAGA_INPUT, Fact, Histories, Journal

Book = Mapping[str, Entry]

_Step = tuple[str, str, str]
"""Saga, step, direction."""

_ENQUIRE: Final = "participant.Enquire.v1"
_OURS: Final = (ACCOUNT_INPUT, SAGA_INPUT, CLAIMS_INPUT)
_UNSAID: Final = ("not_now",)
"""What a handler declines with and writes into no book: it may be asked again."""


def settled(histories: Histories, courses: Courses, book: Book) -> Iterator[str]:
    asked = _asked(histories)
    yield from _once(book, asked)
    for journal in histories.carried:
        yield from _remembered(journal, book)
    for journal in histories.sagas:
        yield from _believed(journal, courses, asked, book)
        yield from _enquired(journal, courses)
    yield from _ends(courses, asked, book)


def _asked(histories: Histories) -> dict[_Step, set[str]]:
    """The effect ids under which outside steps were asked for: one each, if all is well."""
    asked: dict[_Step, set[str]] = defaultdict(set)
    for journal in histories.sagas:
        for fact in journal.facts:
            if fact.type == "saga.StepRequested" and fact.fields["topic"] not in _OURS:
                asked[_step(fact.fields)].add(fact.fields["command"]["effect_id"])
    return asked


def _step(fields: dict[str, Any]) -> _Step:
    return fields["saga_id"], fields["step"], fields["direction"]


def _once(book: Book, asked: Mapping[_Step, set[str]]) -> Iterator[str]:
    done: dict[_Step, list[str]] = defaultdict(list)
    for effect_id, entry in book.items():
        command = entry.command
        if command is None:
            continue
        step = (command.saga_id, command.step, command.direction)
        if effect_id not in asked.get(step, ()):
            yield f"settled: {'/'.join(step)}: {effect_id} is in the book, but nobody asked for it"
        if entry.state == "done":
            done[step].append(effect_id)
    for step, effects in done.items():
        if len(effects) > 1:
            yield f"settled: {'/'.join(step)} was done {len(effects)} times: {', '.join(effects)}"


class _Memory:
    """What one partition's journal says of effects. `known`: outcome, and attempt it stands for."""

    def __init__(self) -> None:
        self.under_way: set[str] = set()
        self.known: dict[str, tuple[str, int]] = {}

    def wrong_with(self, fact: Fact, book: Book) -> str:
        """Why it can't be so; empty when it can."""
        fields = fact.fields
        effect, reason = fields["effect_id"], fields.get("reason", "")
        outcome, attempt = self.known.get(effect, ("", 0))
        match fact.type.removeprefix("participant.Effect"):
            case "Begun":
                if effect in self.under_way:
                    return "is under way already"
                if fields.get("enquire"):
                    return "" if outcome == "unknown" else f"is enquired after, and was {outcome}"
                again = outcome in ("", "unknown") or (
                    outcome == "declined" and fields["attempt"] > attempt
                )
                if not again:
                    return f"is asked of the handler again, and was {outcome}"
                if fields.get("undoes") in self.under_way:
                    return "takes back what is under way"
            case "Joined":
                return "" if effect in self.under_way else "is not under way"
            case "Settled":
                if effect not in self.under_way:
                    return "is not under way"
                found = book.get(effect)
                state = "" if found is None else found.state
                said = fields["outcome"]
                if said == "applied" and state not in ("done", "undone"):
                    return f"is settled as applied, and in the book {state or 'missing'}"
                if said == "declined" and state == "done" and reason not in _UNSAID:
                    return "is settled as declined, and in the book done"
            case _:
                if not reason and not fields.get("voids") and outcome != "applied":
                    return f"is told to be applied, and was {outcome or 'never asked'}"
        return ""

    def add(self, fact: Fact) -> None:
        fields = fact.fields
        effect, undoes = fields["effect_id"], fields.get("undoes", "")
        match fact.type.removeprefix("participant.Effect"):
            case "Begun":
                self.under_way.add(effect)
            case "Settled":
                self.under_way.discard(effect)
                self.known[effect] = (fields["outcome"], fields["attempt"])
                if undoes and fields["outcome"] == "applied":
                    self.known[undoes] = ("undone", 0)
            case "Told" if fields.get("voids"):
                self.known[fields["voids"]] = ("voided", 0)
                self.known[effect] = ("applied", fields["attempt"])
            case _:
                pass


def _remembered(journal: Journal, book: Book) -> Iterator[str]:
    memory = _Memory()
    for fact in journal.facts:
        if fact.type.startswith("participant."):
            if wrong := memory.wrong_with(fact, book):
                effect = fact.fields["effect_id"]
                yield f"settled: {fact.place} offset {fact.offset}: {fact.type} {effect} {wrong}"
            memory.add(fact)
    for effect in sorted(memory.under_way):
        yield f"settled: {journal.place}: {effect} is still under way"


def _believed(
    journal: Journal, courses: Courses, asked: Mapping[_Step, set[str]], book: Book
) -> Iterator[str]:
    """What a saga takes for done is in the book; what it takes for taken back is not, any more."""
    for fact in journal.facts:
        if fact.type != "saga.StepSucceeded" or _step(fact.fields) not in asked:
            continue
        saga, step, direction = _step(fact.fields)
        states = _states(book, asked.get((saga, step, "do"), set()))
        if direction == "do" and not states & {"done", "undone"}:
            yield f"settled: {saga}: {step} passes for done; in the book: {sorted(states)}"
        if direction == "undo" and "done" in states:
            yield f"settled: {saga}: {step} passes for taken back; in the book it is done"


def _states(book: Book, effects: set[str]) -> set[str]:
    return {book[effect].state for effect in effects if effect in book}


def _enquired(journal: Journal, courses: Courses) -> Iterator[str]:
    """After a time-out a step is enquired after if its definition says so; else never."""
    unknown: set[tuple[str, str]] = set()
    for fact in journal.facts:
        fields = fact.fields
        if fields.get("direction") != "do" or fields["saga_id"] not in courses.by_id:
            continue
        name = fields["saga_id"], fields["step"]
        if fact.type == "saga.StepRequested":
            planned = courses.by_id[name[0]].step(name[1])
            due = name in unknown and planned.get("on_timeout") == "enquire"
            if due != (fields["command_type"] == _ENQUIRE):
                how = "sent again although its outcome is unknown" if due else "enquired after"
                yield f"settled: {journal.place} offset {fact.offset}: {'/'.join(name)} is {how}"
            unknown.discard(name)
        elif fact.type == "saga.StepTimedOut":
            unknown.add(name)
        elif fact.type == "saga.StepRefused":
            unknown.discard(name)


def _ends(courses: Courses, asked: Mapping[_Step, set[str]], book: Book) -> Iterator[str]:
    """A saga that has ended has all of it done, or nothing."""
    for saga, course in courses.by_id.items():
        if course.state not in ("completed", "compensated"):
            continue
        due = _outside(course) if course.state == "completed" else set[str]()
        done = {
            step
            for (owner, step, direction), effects in asked.items()
            if owner == saga and direction == "do" and "done" in _states(book, effects)
        }
        if done != due:
            yield f"settled: {course.state} saga {saga}: {sorted(done)} is done, not {sorted(due)}"


def _outside(course: Course) -> set[str]:
    """The steps that ask somebody outside the bank, and take place."""
    return {
        step["name"]
        for step in course.plan["steps"]
        if "do" in step and step["do"]["topic"] not in _OURS and takes_place(course, step)
    }
