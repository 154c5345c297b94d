"""How far a partition has come is the same for who did the work and for who reads it again."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from journal.log import Entry, Place
from journal.progress import Progress, ProgressState, SentMismatch, Verdict
from journal.records import Advanced
from messages.wire import encode

HERE = Place("ping.journal", 0)
NEAR, FAR = Place("pong.input", 0), Place("pong.input", 1)
DOTTED = Place("a.b/c", 12)


def entry(number: int) -> Entry:
    return Entry(b"k", b"%d" % number, (("ce_sequence", b"%d" % number),))


def sent(progress: Progress, destination: Place, times: int = 1) -> None:
    """Give out outputs as an event does."""
    for _ in range(times):
        sequence = progress.next_sequence(destination)
        progress.enqueue(destination, sequence, entry(sequence))


def waiting(progress: Progress, destination: Place) -> list[int]:
    """The numbers that wait for their confirmation."""
    return [sequence for sequence, _ in progress.waiting.get(destination, ())]


# Receiving


@pytest.mark.parametrize(
    ("sequence", "verdict"),
    [
        (1, Verdict.DUPLICATE),
        (4, Verdict.DUPLICATE),
        (5, Verdict.DUPLICATE),
        (6, Verdict.NEXT),
        (7, Verdict.GAP),
        (10**18, Verdict.GAP),
    ],
)
def test_a_number_is_judged_by_the_last_one_of_its_source(sequence: int, verdict: Verdict):
    progress = Progress(HERE)
    for number in range(1, 6):
        progress.accept("away/0", number)
    assert progress.judge("away/0", sequence) is verdict


@pytest.mark.parametrize(("sequence", "verdict"), [(1, Verdict.NEXT), (2, Verdict.GAP)])
def test_a_source_begins_with_1(sequence: int, verdict: Verdict):
    progress = Progress(HERE)
    progress.accept("away/0", 1)
    assert progress.judge("away/1", sequence) is verdict


def test_to_judge_is_not_to_accept():
    progress = Progress(HERE)
    assert [progress.judge("away/0", 1) for _ in range(2)] == [Verdict.NEXT, Verdict.NEXT]
    assert not progress.changed


# Sending


def test_every_destination_is_numbered_from_1():
    progress = Progress(HERE)
    numbers = [progress.next_sequence(place) for place in (NEAR, NEAR, FAR, NEAR, FAR)]
    assert numbers == [1, 2, 1, 3, 2]


def test_a_confirmation_covers_everything_up_to_its_number():
    progress = Progress(HERE)
    sent(progress, NEAR, 4)
    sent(progress, FAR, 1)
    progress.confirm(NEAR, 3)
    assert (waiting(progress, NEAR), waiting(progress, FAR)) == ([4], [1])
    assert sum(map(len, progress.waiting.values())) == 2


def test_an_older_confirmation_takes_nothing_back():
    progress = Progress(HERE)
    sent(progress, NEAR, 4)
    progress.confirm(NEAR, 3)
    progress.confirm(NEAR, 2)
    assert waiting(progress, NEAR) == [4]
    assert progress.close_batch(0).released == {"pong.input/0": 3}


def test_a_confirmation_from_where_nothing_was_sent_is_harmless():
    progress = Progress(HERE)
    progress.confirm(NEAR, 3)
    assert sum(map(len, progress.waiting.values())) == 0


# The record that closes a batch


def test_the_closing_record_lists_what_is_new():
    progress = Progress(HERE)
    progress.input_next = 7
    progress.accept("away/0", 1)
    progress.accept("away/0", 2)
    sent(progress, NEAR, 3)
    progress.confirm(NEAR, 2)
    assert progress.close_batch(1_000) == Advanced(
        input_next=7,
        at_ms=1_000,
        received={"away/0": 2},
        sent={"pong.input/0": 3},
        released={"pong.input/0": 2},
    )


def test_the_next_closing_record_does_not_list_it_again():
    progress = Progress(HERE)
    progress.input_next = 7
    progress.accept("away/0", 1)
    sent(progress, NEAR, 3)
    progress.confirm(NEAR, 2)
    progress.close_batch(1_000)
    assert progress.close_batch(2_000) == Advanced(input_next=7, at_ms=2_000)


def test_only_the_links_that_moved_are_listed():
    progress = Progress(HERE)
    for source, destination in (("away/0", NEAR), ("away/1", FAR)):
        progress.accept(source, 1)
        sent(progress, destination)
        progress.confirm(destination, 1)
    progress.close_batch(0)
    progress.accept("away/1", 2)
    sent(progress, FAR)
    progress.confirm(FAR, 2)
    advanced = progress.close_batch(0)
    assert advanced.received == {"away/1": 2}
    assert advanced.sent == advanced.released == {"pong.input/1": 2}


def test_a_confirmation_that_says_nothing_new_is_not_listed():
    progress = Progress(HERE)
    sent(progress, NEAR)
    progress.confirm(NEAR, 1)
    progress.close_batch(0)
    progress.confirm(NEAR, 1)
    assert progress.close_batch(0).released == {}


def test_a_closing_record_keeps_what_it_said_when_the_work_goes_on():
    progress = Progress(HERE)
    progress.accept("away/0", 1)
    sent(progress, NEAR)
    advanced = progress.close_batch(0)
    before = encode(advanced)
    progress.accept("away/0", 2)
    sent(progress, NEAR)
    progress.confirm(NEAR, 1)
    assert encode(advanced) == before


def moves_the_input(progress: Progress) -> None:
    progress.input_next += 1


def receives(progress: Progress) -> None:
    progress.accept("away/0", 1)


def sends(progress: Progress) -> None:
    sent(progress, NEAR)


@pytest.mark.parametrize("does", [moves_the_input, receives, sends])
def test_what_a_reader_after_a_crash_has_to_know_is_a_change_until_the_batch_is_closed(
    does: Callable[[Progress], None],
):
    progress = Progress(HERE)
    assert not progress.changed
    does(progress)
    assert progress.changed
    progress.close_batch(0)
    assert not progress.changed


def test_a_confirmation_alone_is_no_change():
    # Else every confirmation would cost a batch, and two idle services would never be silent.
    progress = Progress(HERE)
    sent(progress, NEAR)
    progress.close_batch(0)
    progress.confirm(NEAR, 1)
    assert not progress.changed


# Reading it again


def test_a_replayed_closing_record_moves_input_time_and_links():
    progress = Progress(HERE)
    sent(progress, NEAR, 3)
    progress.replay(
        Advanced(
            input_next=7,
            at_ms=1_000,
            received={"away/0": 4},
            sent={"pong.input/0": 3},
            released={"pong.input/0": 2},
        )
    )
    assert (progress.input_next, progress.at_ms) == (7, 1_000)
    assert progress.judge("away/0", 5) is Verdict.NEXT
    assert waiting(progress, NEAR) == [3]


def test_after_a_replay_nothing_is_new():
    progress = Progress(HERE)
    sent(progress, NEAR, 3)
    advanced = Advanced(
        input_next=7,
        at_ms=1_000,
        received={"away/0": 4},
        sent={"pong.input/0": 3},
        released={"pong.input/0": 2},
    )
    progress.replay(advanced)
    assert not progress.changed
    assert progress.close_batch(2_000) == Advanced(input_next=7, at_ms=2_000)


def test_time_does_not_run_backwards_when_a_journal_says_so():
    progress = Progress(HERE)
    progress.replay(Advanced(input_next=1, at_ms=5_000))
    progress.replay(Advanced(input_next=2, at_ms=4_000))
    assert progress.at_ms == 5_000


@pytest.mark.parametrize(
    ("derived", "recorded", "text"),
    [
        (2, {"pong.input/0": 3}, "records 3 messages sent to pong.input/0, but .* derives 2"),
        (3, {"pong.input/0": 2}, "records 2 messages sent to pong.input/0, but .* derives 3"),
        (1, {}, "records 0 messages sent to pong.input/0, but .* derives 1"),
        (0, {"pong.input/0": 1}, "records 1 messages sent to pong.input/0, but .* derives 0"),
        (
            1,
            {"pong.input/0": 1, "pong.input/1": 1},
            "records 1 messages sent to pong.input/1, but .* derives 0",
        ),
    ],
    ids=["fewer", "more", "where there were none", "none", "to fewer destinations"],
)
def test_other_outputs_than_those_recorded_are_a_mismatch(
    derived: int, recorded: dict[str, int], text: str
):
    progress = Progress(HERE)
    sent(progress, NEAR, derived)
    with pytest.raises(SentMismatch, match=text) as raised:
        progress.replay(Advanced(input_next=1, at_ms=0, sent=recorded))
    assert raised.value.place == HERE


def test_a_batch_without_outputs_is_no_mismatch_after_one_with_some():
    progress = Progress(HERE)
    sent(progress, NEAR)
    progress.replay(Advanced(input_next=1, at_ms=0, sent={"pong.input/0": 1}))
    progress.replay(Advanced(input_next=2, at_ms=0))
    assert progress.input_next == 2


# Snapshots


def worked() -> Progress:
    """With something in every corner."""
    progress = Progress(HERE)
    progress.input_next = 7
    progress.accept("away/0", 4)
    sent(progress, NEAR, 3)
    progress.confirm(NEAR, 1)
    headers = (("twice", b"1"), ("twice", b"\xff"), ("empty", b""))
    for destination, given in (
        (FAR, Entry(None, b"no key", headers)),
        (FAR, Entry(b"no value", None)),
        (FAR, Entry(b"", b"")),
        (DOTTED, Entry("Zoë".encode(), b"\x00\xff")),
    ):
        progress.enqueue(destination, progress.next_sequence(destination), given)
    progress.close_batch(1_000)
    return progress


def test_a_state_read_back_from_a_snapshot_is_the_state():
    state = worked().state()
    assert msgspec.json.decode(encode(state), type=ProgressState) == state


def test_a_progress_made_of_a_state_has_that_state():
    state = worked().state()
    assert Progress.of(HERE, state).state() == state


def test_outputs_wait_on_in_a_progress_made_of_a_state():
    before = worked()
    wire = encode(before.state())
    progress = Progress.of(HERE, msgspec.json.decode(wire, type=ProgressState))
    assert {place: list(queue) for place, queue in progress.waiting.items()} == {
        place: list(queue) for place, queue in before.waiting.items()
    }
    assert sum(map(len, progress.waiting.values())) == 6


def test_a_progress_made_of_a_state_goes_on_counting():
    progress = Progress.of(HERE, worked().state())
    assert progress.judge("away/0", 4) is Verdict.DUPLICATE
    assert progress.judge("away/0", 5) is Verdict.NEXT
    assert progress.next_sequence(NEAR) == 4
    assert (progress.input_next, progress.at_ms) == (7, 1_000)


def test_in_a_progress_made_of_a_state_nothing_is_new():
    progress = Progress.of(HERE, worked().state())
    assert not progress.changed
    assert progress.close_batch(2_000) == Advanced(input_next=7, at_ms=2_000)


def test_a_progress_made_of_a_state_knows_what_was_confirmed():
    progress = Progress.of(HERE, worked().state())
    progress.confirm(NEAR, 1)
    assert progress.close_batch(2_000).released == {}


def test_a_state_does_not_change_when_the_work_goes_on():
    progress = worked()
    state = progress.state()
    before = encode(state)
    progress.accept("away/0", 5)
    sent(progress, NEAR)
    progress.confirm(NEAR, 4)
    progress.close_batch(2_000)
    assert encode(state) == before


# Whoever did the work and whoever reads it again


class Batch(NamedTuple):
    """What a journal holds of one batch: to whom its events send, and its closing record."""

    destinations: list[Place]
    advanced: Advanced


def replayed(progress: Progress, batches: list[Batch]) -> Progress:
    for batch in batches:
        for destination in batch.destinations:
            sent(progress, destination)
        # A reader has it from the wire.
        progress.replay(msgspec.json.decode(encode(batch.advanced), type=Advanced))
    return progress


def comparable(progress: Progress) -> dict[str, Any]:
    """The state; which destination was first sent to does not matter."""
    state = msgspec.structs.asdict(progress.state())
    return {**state, "waiting": sorted(state["waiting"], key=lambda output: output[:2])}


sources = st.sampled_from(["away/0", "away/1"])
destinations = st.sampled_from([NEAR, FAR, DOTTED])


class Work(RuleBasedStateMachine):
    """One owner at work; after every commit, readers come to the same from what it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.live = Progress(HERE)
        self.journal: list[Batch] = []
        self.batch: list[Place] = []
        self.committed: dict[Place, int] = {}
        self.snapshots: list[tuple[int, bytes]] = []
        self.now_ms = 0
        self.at_rest = True

    @rule(source=sources, sequence=st.integers(1, 6))
    def take_an_input(self, source: str, sequence: int) -> None:
        self.at_rest = False
        self.live.input_next += 1
        if self.live.judge(source, sequence) is Verdict.NEXT:
            self.live.accept(source, sequence)

    @rule(destination=destinations)
    def send(self, destination: Place) -> None:
        self.at_rest = False
        sent(self.live, destination)
        self.batch.append(destination)

    @precondition(lambda self: self.committed)
    @rule(destination=destinations, up_to=st.integers(1, 10))
    def confirm(self, destination: Place, up_to: int) -> None:
        """Only what was committed has been sent."""
        if self.committed.get(destination, 0) >= up_to:
            self.at_rest = False
            self.live.confirm(destination, up_to)

    @rule(passes_ms=st.integers(0, 5))
    def commit(self, passes_ms: int) -> None:
        self.now_ms += passes_ms
        self.journal.append(Batch(self.batch, self.live.close_batch(self.now_ms)))
        for destination in self.batch:
            self.committed[destination] = self.committed.get(destination, 0) + 1
        self.batch = []
        self.at_rest = True

    @precondition(lambda self: not self.batch and not self.live.changed)
    @rule()
    def take_a_snapshot(self) -> None:
        """Right after a commit; confirmations may have come since."""
        self.snapshots.append((len(self.journal), encode(self.live.state())))

    @invariant()
    def every_reader_comes_to_the_same(self) -> None:
        if not self.at_rest:
            return
        expected = comparable(self.live)
        fresh = replayed(Progress(HERE), self.journal)
        assert comparable(fresh) == expected
        assert not fresh.changed
        for position, wire in self.snapshots:
            restored = Progress.of(HERE, msgspec.json.decode(wire, type=ProgressState))
            assert comparable(replayed(restored, self.journal[position:])) == expected

    @invariant()
    def what_is_committed_and_not_confirmed_waits(self) -> None:
        for destination, numbered in self.live.sent.items():
            topic, _, partition = destination.rpartition("/")
            place = Place(topic, int(partition))
            confirmed = self.live.confirmed.get(destination, 0)
            assert waiting(self.live, place) == list(range(confirmed + 1, numbered + 1))


class TestWork(Work.TestCase):
    settings = settings(deadline=None, max_examples=100, stateful_step_count=30)
