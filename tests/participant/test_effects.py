"""What a participant makes of commands, enquiries and its handler's words."""

from typing import Any

import pytest

from messages.participant import Enquire, StepCommand
from messages.saga import StepApplied, StepDeclined
from messages.wire import Codec, encode
from participant.effects import MAX_SKEW_MS, EffectBegun, EffectEvent, EffectJoined, Effects, answer
from participant.outcomes import Applied, Declined, Outcome, Unknown

DAY_MS = 24 * 3_600 * 1_000
NOW_MS = 100 * DAY_MS
ANEW_MS = NOW_MS + 7 * DAY_MS + MAX_SKEW_MS
"""From then on nobody remembers what was done at `NOW_MS`."""

EVENTS: Codec[EffectEvent] = Codec(EffectEvent)
ASKED: dict[str, Any] = {
    "issued_at_ms": NOW_MS,
    "saga_id": "s1",
    "step": "book",
    "reply_to": "orchestrator.input",
}


class Book(StepCommand, frozen=True, kw_only=True, tag="trip.Book.v1"):
    seats: int = 1


class Unbook(StepCommand, frozen=True, kw_only=True, tag="trip.Unbook.v1"):
    pass


def book(attempt: int = 1, **other: Any) -> Book:
    return Book(**{**ASKED, "effect_id": "e", "attempt": attempt, **other})


def unbook(attempt: int = 1, **other: Any) -> Unbook:
    undo = {"effect_id": "u", "undoes": "e", "direction": "undo"}
    return Unbook(**{**ASKED, **undo, "attempt": attempt, **other})


def enquiry(attempt: int = 2, **other: Any) -> Enquire:
    about = {"effect_id": "e", "key": "k", "command": "trip.Book.v1", "attempt": attempt}
    return Enquire(**{**ASKED, **about, **other})


class Story:
    """Effects that are told of commands and of what the handler said; folded from the wire."""

    def __init__(self, *, max_under_way: int = 10, enquirable: bool = True) -> None:
        self.effects = Effects(7 * DAY_MS, max_under_way, lambda _: enquirable)
        self.now_ms = NOW_MS
        self.last: EffectEvent | None = None

    def given(self, *moves: StepCommand | Outcome) -> "Story":
        for move in moves:
            if isinstance(move, StepCommand):
                event = self.effects.decide(move, "k", self.now_ms)
            else:
                effect_id, at = list(self.effects.under_way.items())[-1]
                found = self.effects.settle(effect_id, at.begun.attempt, move, self.now_ms)
                assert found is not None
                event = found
            self.last = event
            self.effects.evolve(EVENTS.decode(encode(event)))
        return self

    def when(self, move: StepCommand | Outcome) -> str:
        """What follows, in a word: the answer, or what happens instead of one."""
        self.given(move)
        match self.last:
            case EffectBegun(enquire=True):
                return "the handler is asked what became of it"
            case EffectBegun():
                return "the handler is asked"
            case EffectJoined():
                return "waits with the others"
            case _:
                pass
        assert self.last is not None
        told = answer(self.last)
        assert told is not None
        assert told.attempt == self.last.attempt
        return "applied" if isinstance(told, StepApplied) else f"declined: {told.reason}"


def test_a_command_is_the_handlers_and_its_outcome_the_answer() -> None:
    story = Story()
    assert story.when(book()) == "the handler is asked"
    assert story.when(Applied({"seat": "7a"})) == "applied"
    assert story.last is not None
    assert answer(story.last) == StepApplied(
        saga_id="s1", step="book", direction="do", attempt=1, result={"seat": "7a"}
    )


def test_a_repetition_waits_while_the_handler_is_at_it_and_the_answer_names_the_last() -> None:
    story = Story().given(book())
    assert story.when(book(2)) == "waits with the others"
    assert story.when(enquiry(3)) == "waits with the others"
    story.given(Applied())
    assert story.last is not None
    assert story.last.attempt == 3


@pytest.mark.parametrize("again", [book(1), book(2), enquiry(2)])
def test_an_effect_that_is_applied_is_told_again_with_its_result(again: StepCommand) -> None:
    story = Story().given(book(), Applied({"seat": "7a"}))
    assert story.when(again) == "applied"
    told = answer(story.last) if story.last else None
    assert isinstance(told, StepApplied)
    assert told.result == {"seat": "7a"}


def test_a_refusal_stands_for_its_attempt_and_the_next_one_is_decided_anew() -> None:
    story = Story().given(book(), Declined("full"))
    assert story.when(book()) == "declined: full"
    assert story.when(enquiry(2)) == "declined: full"
    assert story.when(book(3)) == "the handler is asked"


def test_a_refusal_that_an_enquiry_was_told_holds_for_commands_that_it_has_overtaken() -> None:
    story = Story().given(book(), Declined("full"))
    assert story.when(enquiry(3)) == "declined: full"
    assert story.when(book(2)) == "declined: full"
    assert story.when(book(4)) == "the handler is asked"


def test_an_unknown_outcome_is_said_to_be_unknown_and_a_new_attempt_asks_the_handler() -> None:
    story = Story().given(book())
    assert story.when(Unknown("no line")) == "declined: outcome_unknown"
    assert story.when(book()) == "declined: outcome_unknown"
    assert story.when(book(2)) == "the handler is asked"


def test_an_enquiry_after_an_unknown_outcome_asks_what_became_of_the_command_itself() -> None:
    story = Story().given(book(seats=3), Unknown())
    assert story.when(enquiry()) == "the handler is asked what became of it"
    assert isinstance(story.last, EffectBegun)
    assert Codec[Any](Book).decode(bytes(story.last.command)).seats == 3
    assert story.when(Applied()) == "applied"


def test_an_enquiry_that_finds_that_it_never_came_lets_it_be_sent() -> None:
    story = Story().given(book(), Unknown(), enquiry())
    assert story.when(Unknown(never_came=True)) == "declined: effect_unknown"
    assert story.when(book(3)) == "the handler is asked"


def test_that_it_never_came_can_only_be_found_by_an_enquiry() -> None:
    story = Story().given(book())
    assert story.when(Unknown(never_came=True)) == "declined: outcome_unknown"


def test_without_a_way_to_enquire_an_unknown_outcome_stays_unknown() -> None:
    story = Story(enquirable=False).given(book(), Unknown())
    assert story.when(enquiry()) == "declined: outcome_unknown"


def test_an_enquiry_after_what_never_came_does_nothing() -> None:
    story = Story()
    assert story.when(enquiry()) == "declined: effect_unknown"
    assert not story.effects.known
    assert not story.effects.under_way


def test_a_compensation_of_what_was_done_is_the_handlers() -> None:
    story = Story().given(book(), Applied())
    assert story.when(unbook()) == "the handler is asked"
    assert story.when(Applied()) == "applied"
    assert story.when(unbook(2)) == "applied"
    assert story.when(book(2)) == "declined: effect_voided"
    assert story.when(enquiry(3)) == "declined: effect_voided"


def test_a_compensation_of_what_may_have_been_done_is_the_handlers() -> None:
    assert Story().given(book(), Unknown()).when(unbook()) == "the handler is asked"


@pytest.mark.parametrize("before", [(), (book(), Declined("full"))])
def test_a_compensation_that_finds_nothing_voids_what_may_come_late(before: Any) -> None:
    story = Story().given(*before)
    assert story.when(unbook()) == "applied"
    assert not story.effects.under_way
    assert story.when(book(5)) == "declined: effect_voided"
    assert story.when(unbook(2)) == "applied"


def test_what_is_under_way_is_not_taken_back_before_its_outcome_is_known() -> None:
    story = Story().given(book())
    assert story.when(unbook()) == "declined: effect_in_progress"
    story.given(Applied())
    assert story.when(unbook(2)) == "the handler is asked"


def test_another_request_under_the_same_name_is_refused() -> None:
    story = Story().given(book(seats=1))
    assert story.when(book(2, seats=2)) == "declined: effect_reused"
    story.given(Applied())
    assert story.when(book(2, seats=2)) == "declined: effect_reused"


def test_what_is_too_old_to_be_remembered_is_never_done() -> None:
    story = Story().given(book(), Applied())
    story.now_ms += 8 * DAY_MS
    assert story.when(book(2)) == "declined: effect_expired"
    assert story.when(enquiry(3)) == "declined: effect_expired"
    assert story.when(unbook()) == "declined: effect_expired"


@pytest.mark.parametrize(
    "anew",
    [
        (book(issued_at_ms=ANEW_MS),),
        (book(issued_at_ms=ANEW_MS), Applied()),
        (book(issued_at_ms=ANEW_MS), Declined("full")),
        (book(issued_at_ms=ANEW_MS), Unknown()),
        (book(issued_at_ms=ANEW_MS + MAX_SKEW_MS + 1),),
        (unbook(effect_id="v", issued_at_ms=ANEW_MS),),
        (
            book(issued_at_ms=ANEW_MS),
            Applied(),
            unbook(effect_id="v", issued_at_ms=ANEW_MS),
            Applied(),
        ),
    ],
    ids=["under way", "applied", "declined", "unknown", "turned away", "voided", "undone"],
)
def test_what_has_the_name_of_a_forgotten_effect_is_not_taken_for_it(anew: Any) -> None:
    """The first effect can't be judged any more: neither is the second taken back in its place, nor
    is the first one called void."""
    story = Story().given(book(), Applied())
    story.now_ms = ANEW_MS
    story.given(*anew)
    before = (dict(story.effects.under_way), dict(story.effects.known))
    assert story.when(unbook()) == "declined: effect_expired"
    assert (story.effects.under_way, dict(story.effects.known)) == before


@pytest.mark.parametrize("outcome", [Unknown(), Declined("full")])
def test_an_effect_that_is_tried_again_late_is_still_that_effect(outcome: Outcome) -> None:
    story = Story().given(book(), outcome)
    story.now_ms = ANEW_MS - 1
    assert story.when(book(2)) == "the handler is asked"
    assert story.when(unbook()) == "declined: effect_in_progress"
    story.given(Applied())
    assert story.when(unbook(2)) == "the handler is asked"


def test_an_effect_is_remembered_as_long_as_its_command_may_come() -> None:
    """Applied as late as a wrong clock allows: it must outlive every command that names it."""
    story = Story()
    story.given(book(issued_at_ms=NOW_MS + MAX_SKEW_MS), Applied())
    story.now_ms += 7 * DAY_MS + MAX_SKEW_MS - 1
    assert story.when(book(2, issued_at_ms=NOW_MS + MAX_SKEW_MS)) == "applied"
    story.now_ms += 1
    again = book(3, issued_at_ms=NOW_MS + MAX_SKEW_MS)
    assert story.when(again) == "declined: effect_expired"


def test_a_command_from_the_future_is_refused() -> None:
    assert Story().when(book(issued_at_ms=NOW_MS + MAX_SKEW_MS + 1)) == "declined: clock_ahead"


@pytest.mark.parametrize("ahead_ms", [MAX_SKEW_MS + 1, 700 * DAY_MS])
def test_a_copy_of_a_command_from_the_future_is_not_done_later(ahead_ms: int) -> None:
    story = Story().given(early := book(issued_at_ms=NOW_MS + ahead_ms))
    story.now_ms += ahead_ms + 7 * DAY_MS - 1
    assert story.given(book(effect_id="f")).when(early) == "declined: clock_ahead"
    assert story.when(book(2, issued_at_ms=early.issued_at_ms)) == "the handler is asked"


def test_an_early_command_under_a_forgotten_name_is_not_done_later_either() -> None:
    story = Story()
    for number in range(20):
        story.given(book(effect_id=f"before-{number}"), Applied())
    story.given(book(), Unknown())
    story.now_ms = ANEW_MS
    early = book(2, issued_at_ms=ANEW_MS + MAX_SKEW_MS + 1)
    assert story.when(early) == "declined: clock_ahead"
    story.now_ms += 1
    assert story.when(early) == "declined: clock_ahead"


def test_an_outcome_that_is_unknown_stays_so_when_there_is_no_room_for_a_new_attempt() -> None:
    story = Story(max_under_way=1).given(book(), Unknown(), book(effect_id="f"))
    # Not busy: that would say that it is not done, and its saga would end without taking it back.
    assert story.when(book(2)) == "declined: outcome_unknown"
    story.given(Applied())
    assert story.when(enquiry(3)) == "the handler is asked what became of it"


def test_effects_are_forgotten_in_time_although_one_from_the_future_came_first() -> None:
    story = Story().given(book(issued_at_ms=NOW_MS + 700 * DAY_MS))
    for number in range(20):
        story.given(book(effect_id=f"before-{number}"), Applied())
    story.now_ms += 7 * DAY_MS + MAX_SKEW_MS
    for number in range(20):
        story.given(book(effect_id=f"after-{number}", issued_at_ms=story.now_ms), Applied())
    assert not [effect for effect in story.effects.known if effect.startswith("before-")]


def test_more_than_can_be_under_way_is_declined_and_may_be_asked_again() -> None:
    story = Story(max_under_way=1).given(book())
    assert story.when(book(effect_id="f")) == "declined: participant_busy"
    story.given(Applied())
    # Its saga may have ended with that: a copy is not done, only a new attempt.
    assert story.when(book(effect_id="f")) == "declined: participant_busy"
    assert story.when(book(2, effect_id="f")) == "the handler is asked"


def test_what_a_handler_says_about_an_older_run_is_not_heard() -> None:
    story = Story().given(book(), Unknown(), book(2))
    assert story.effects.settle("e", 1, Applied(), NOW_MS) is None
    assert story.effects.settle("other", 1, Applied(), NOW_MS) is None


def test_nobody_is_answered_who_does_not_wait() -> None:
    story = Story().given(book(reply_to=""), Applied())
    assert story.last is not None
    assert answer(story.last) is None


def test_a_restored_state_is_the_same_whatever_the_order_of_its_chunks() -> None:
    story = Story(max_under_way=10_000)
    for number in range(600):
        story.given(book(effect_id=f"e{number}", step="x" * 60))
        if number % 2:
            story.now_ms += 1
            story.given(Applied({"n": number}) if number % 3 else Unknown("?" * 100))
    chunks = [*story.effects.snapshot()]
    assert len(chunks) > 2
    restored = Story().effects
    for chunk in reversed(chunks):
        restored.restore(chunk)
    assert restored.under_way == story.effects.under_way
    assert restored.known == dict(story.effects.known)
    story.now_ms += 8 * DAY_MS
    told = story.effects.decide(enquiry(effect_id="zz"), "k", story.now_ms)
    for _ in range(200):
        restored.evolve(told)
    assert not restored.known, "the oldest are forgotten first"


@pytest.mark.parametrize("reason", ["", "No", "effect_expired", "outcome_unknown", "x" * 101])
def test_a_reason_that_would_be_misunderstood_is_refused_in_the_handler(reason: str) -> None:
    with pytest.raises(ValueError, match="no reason to decline with"):
        Declined(reason)


def test_declined_carries_its_detail() -> None:
    story = Story().given(book(), Declined("full", "no seat left"))
    told = answer(story.last) if story.last else None
    assert isinstance(told, StepDeclined)
    assert told.detail == "no seat left"
