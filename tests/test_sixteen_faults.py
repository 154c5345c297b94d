"""Sixteen faults that an older saga library has, each shown not to happen here.

The number in a test's name is the row of the table in docs/correctness.md; its docstring says what
went wrong there. Everything runs in memory: on the aggregates alone, or with both services on the
kernel where the fault needs processes that die.
"""

import asyncio
from collections.abc import Iterable
from itertools import permutations
from typing import Any, Final

import msgspec
import pytest

from account_service.answers import answer
from account_service.ledger import Ledger
from account_service.service import TOPICS as ACCOUNTS
from account_service.service import account_service
from journal.log import Place
from journal.memory_log import FairWeather, Weather
from journal.records import request_entry
from journal.topics import dead_letter_spec
from messages.account import AccountCommand, Capture, Debited, EffectRepeated
from messages.plan import Retry
from messages.saga import (
    AnswerIgnored,
    SagaAnswer,
    SagaCompensated,
    SagaCompleted,
    SagaEvent,
    SagaParked,
    StartRepeated,
    StepApplied,
    StepDeclined,
)
from messages.wire import Codec, encode, type_name
from orchestrator.machine import SagaMachine
from orchestrator.progress import evolve
from orchestrator.saga import next_due_ms
from orchestrator.service import TOPICS as SAGAS
from orchestrator.service import orchestrator
from participant.outcomes import Applied, Outcome
from read_model.batch import Batch, Cursor
from read_model.history import decode_event, decode_piece, encode_piece
from read_model.position import Position
from read_model.telling import tell
from saga_definitions.dsl import Definition, DefinitionError, command, result_of
from saga_definitions.registry import Registry
from simulation.loop import SimulatedLoop, run
from tests.account_service.statement import deposit, open_account, withdraw
from tests.journal.toy import SetClock, ToyLog, owner, until
from tests.orchestrator.graphs import graph, node
from tests.orchestrator.saga_scenario import (
    PARAMS,
    SAGA,
    START_MS,
    Move,
    Scenario,
    applied,
    declined,
    given,
    operator,
    passes,
    start,
    undo_applied,
    undo_declined,
)
from tests.participant.test_effects import NOW_MS, Book, book
from tests.participant.test_work import answers, ask, at_work, trip_log
from tests.read_model.history import PARTITIONS, Journals
from tests.read_model.history import SAGAS as SAGAS_READ
from tests.saga_definitions.bank import Bank

COMMANDS: Final[Codec[AccountCommand]] = Codec(AccountCommand)
EVENTS: Final[Codec[SagaEvent]] = Codec(SagaEvent)
TOLD: Final[Codec[SagaAnswer]] = Codec(SagaAnswer)

SAGA_INPUT, SAGA_JOURNAL = Place(SAGAS.input, 0), Place(SAGAS.journal, 0)
ACCOUNT_INPUT, ACCOUNT_JOURNAL = Place(ACCOUNTS.input, 0), Place(ACCOUNTS.journal, 0)
SAGA_ANSWERS = Place(SAGAS.answers, 0)

FROM_OUTSIDE: Final = {"issued_at_ms": START_MS, "saga_id": "", "step": "", "reply_to": ""}


class Books:
    """Accounts without a kernel: `alice` has 1000, and the commands of a scenario reach her."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.events: list[Any] = []
        self.take(open_account(effect_id="open", issued_at_ms=START_MS))
        self.take(deposit(1_000, effect_id="salary", issued_at_ms=START_MS))

    def take(self, wanted: AccountCommand) -> StepApplied | StepDeclined | None:
        event = self.ledger.decide(wanted, START_MS)
        self.ledger.evolve(event)
        self.events.append(event)
        return answer(event)

    @property
    def balance_minor(self) -> int:
        account = self.ledger.account("alice")
        assert account is not None
        return account.balance_minor


def told(events: Iterable[SagaEvent]) -> list[SagaAnswer]:
    """What goes to whoever asked, because of these events."""
    machine = SagaMachine()
    return [
        TOLD.decode(output.value)
        for event in events
        for output in machine.outputs(event)
        if output.topic == "answers"
    ]


def work(machine: SagaMachine, *moves: Any, now_ms: int = START_MS) -> list[SagaEvent]:
    """Decide and fold each message; gives all events."""
    events: list[SagaEvent] = []
    for move in moves:
        for event in machine.decide(move, now_ms):
            machine.evolve(event)
            events.append(event)
    return events


async def bank_log(weather: Weather | None = None) -> ToyLog:
    """Both services' topics, and accounts with 1000 (alice) and nothing (bob) on the input."""
    log = ToyLog(weather)
    await log.create([*ACCOUNTS.specs(1), *SAGAS.specs(1), dead_letter_spec(1)])
    for account_id in ("alice", "bob"):
        send(log, open_account(**FROM_OUTSIDE, account_id=account_id, effect_id=account_id))
    send(log, deposit(1_000, **FROM_OUTSIDE, effect_id="salary"))
    return log


def send(log: ToyLog, message: Any) -> None:
    of_saga = type_name(message).startswith("saga.")
    place, key = (SAGA_INPUT, SAGA) if of_saga else (ACCOUNT_INPUT, message.account_id)
    log.land(place, [request_entry(key, encode(message), type_name(message), "/test", "r")])


def accounts(log: ToyLog, name: str = "accounts") -> Any:
    service = account_service(1, {SAGAS.input: 1})
    return owner(log, service, name, clock=SetClock(START_MS))


def sagas(log: ToyLog, name: str = "sagas") -> Any:
    service = orchestrator(1, {ACCOUNTS.input: 1})
    return owner(log, service, name, clock=SetClock(START_MS))


def projected(log: ToyLog) -> Batch:
    """What the journals say, as the read model folds them."""
    batch = Batch()
    for place in (SAGA_JOURNAL, ACCOUNT_JOURNAL):
        Cursor(place, Position(), 1).fold(log.records[place], batch)
    return batch


def balance(log: ToyLog, account_id: str) -> int | None:
    change = projected(log).changes.account_changes.get(account_id)
    return None if change is None else change.balance_minor


def state_of(log: ToyLog) -> str:
    outcome = projected(log).changes.outcomes.get(SAGA)
    return "" if outcome is None else outcome.state


def test_01_a_retry_is_the_same_effect_and_happens_once() -> None:
    """A retry went out under a fresh command id, so the effect could happen twice."""
    books = Books()
    # Nobody answers in time, though the account has done it.
    scenario = given(start(), passes(s=11))
    replies = [books.take(COMMANDS.decode(bytes(r.command))) for r in scenario.requests("debit")]
    assert [type(event) for event in books.events[2:]] == [Debited, EffectRepeated]
    assert books.balance_minor == 500
    assert isinstance(replies[1], StepApplied)
    scenario.when(replies[1]).then("debit applied", "credit asked (1)")
    # The same holds on the way back.
    scenario.given(declined("credit", "account_closed"), passes(s=11))
    for asked in scenario.requests("debit", "undo"):
        books.take(COMMANDS.decode(bytes(asked.command)))
    assert len(books.events) == 6
    assert books.balance_minor == 1_000


@pytest.mark.parametrize("source", ["journal", "snapshot"])
def test_02_a_crash_of_the_coordinator_forgets_no_retry(source: str) -> None:
    """A crash of the coordinator lost the retries that were pending."""
    registry = Registry((graph(node("a")),))
    machine = SagaMachine(registry)
    events = work(machine, start("graph"), declined("a", "account_frozen"))
    due_ms = machine.next_due_ms()
    assert due_ms is not None
    successor = SagaMachine(registry)
    if source == "journal":
        for event in events:
            successor.evolve(EVENTS.decode(encode(event)))
    else:
        for chunk in machine.snapshot():
            successor.restore(chunk)
    assert successor.next_due_ms() == due_ms
    assert not successor.fire(due_ms - 1)
    (asked,) = successor.fire(due_ms)
    assert [asked] == list(machine.fire(due_ms))
    assert successor.outputs(asked)[0].topic == ACCOUNTS.input


def _with_a_failed_undo() -> Scenario:
    definition = graph(node("a"), node("b", "a"))
    scenario = given(start("graph"), applied("a"), using=[definition])
    scenario.given(declined("b", "account_closed"))
    for attempt, reason in enumerate(("account_frozen", "balance_overflow", "account_closed"), 1):
        refusal = undo_declined("a", reason, attempt)
        said = msgspec.structs.replace(refusal, detail=f"said at attempt {attempt}")
        scenario.given(said, passes(s=1))
    return scenario


def test_03_every_error_of_an_undo_is_told() -> None:
    """The error of an undo was missing from the saga's response."""
    scenario = _with_a_failed_undo()
    parked = told(scenario.events)[-1]
    assert isinstance(parked, SagaParked)
    assert (parked.step, parked.reason, parked.detail) == (
        "a",
        "compensation_failed",
        "account_closed",
    )
    history = [tell(msgspec.json.decode(encode(event))) for event in scenario.events]
    refusals = [line.partition(";")[0] for line in history if line.startswith("undo of a ")]
    assert refusals == [
        "undo of a refused: account_frozen (said at attempt 1)",
        "undo of a (attempt 2) refused: balance_overflow (said at attempt 2)",
        "undo of a (attempt 3) refused: account_closed (said at attempt 3)",
    ]


def test_04_a_failed_undo_waits_for_a_person_who_can_settle_it() -> None:
    """A saga whose undo had failed ended as plain "failed", with no way back."""
    scenario = _with_a_failed_undo()
    assert scenario.state == "parked"
    assert not any(isinstance(event, SagaCompensated) for event in scenario.events)
    scenario.when(passes(days=30)).then()
    scenario.when(start("graph")).then("repeated: parked, compensation_failed")
    scenario.when(operator("compensate")).then(
        "compensate accepted: ann, ticket 7", "resumed: compensating", "a undo asked (4)"
    )
    scenario.when(undo_applied("a", 4)).then("a undo applied", "compensated: account_closed")


@pytest.mark.parametrize(
    "order",
    [
        *permutations(
            (declined("a", "account_closed"), declined("b", "insufficient_funds"), applied("c"))
        )
    ],
    ids=lambda order: "-".join(answered.step for answered in order),
)
def test_05_two_parallel_failures_end_the_saga_once(order: tuple[Move, ...]) -> None:
    """A saga hung when two of its parallel actions failed."""
    definition = graph(node("a"), node("b"), node("c"))
    scenario = given(start("graph"), *order, undo_applied("c"), using=[definition])
    assert scenario.state == "compensated"
    for late in (*order, undo_applied("c")):
        scenario.given(late)
        assert [type(event) for event in scenario.last] == [AnswerIgnored]
    assert sum(isinstance(event, SagaCompensated) for event in scenario.events) == 1
    assert scenario.saga is not None
    assert next_due_ms(scenario.saga) is None


def test_06_the_order_of_undoing_holds_while_an_undo_awaits_its_retry() -> None:
    """The order of undoing broke while an undo waited for its retry."""
    definition = graph(node("a"), node("b", "a"), node("c", "b"), node("d", "c"))
    done = (applied("a"), applied("b"), applied("c"))
    scenario = given(start("graph"), *done, declined("d", "account_closed"), using=[definition])
    for name, following in (
        ("c", "b undo asked (1)"),
        ("b", "a undo asked (1)"),
        ("a", "compensated: account_closed"),
    ):
        scenario.when(undo_declined(name, "account_frozen")).then(
            f"{name} undo refused: account_frozen, again later"
        )
        scenario.when(passes(ms=100)).then(f"{name} undo asked (2)")
        scenario.when(undo_applied(name, 2)).then(f"{name} undo applied", following)


def test_07_circles_and_empty_sagas_are_refused_at_load_with_the_place() -> None:
    """Circles and empty sagas were accepted, and hung."""
    with pytest.raises(DefinitionError, match=r"^graph\.steps: .*at least one step"):
        graph()
    with pytest.raises(DefinitionError, match=r"^graph\.steps\.a\.after: .*a after b after a$"):
        graph(node("s"), node("a", "b"), node("b", "a"))


def test_08_a_late_failure_is_recorded_and_changes_nothing() -> None:
    """A failure that came late flipped an action that had completed."""
    scenario = given(start(), passes(s=11), applied("debit", 2))
    saga = scenario.saga
    late = declined("debit", "insufficient_funds", 2)
    scenario.when(late).then("ignored: debit declined: insufficient_funds (succeeded_before)")
    assert scenario.saga == saga
    scenario.when(applied("credit")).then("credit applied", "completed")
    scenario.when(late).then("ignored: debit declined: insufficient_funds (saga_finished)")
    assert scenario.state == "completed"


@pytest.mark.parametrize(
    ("ends", "state", "reason"),
    [
        ((applied("debit"), applied("credit")), "completed", ""),
        ((declined("debit", "insufficient_funds"),), "compensated", "insufficient_funds"),
    ],
    ids=["completed", "compensated"],
)
def test_09_a_duplicate_after_the_end_is_told_the_first_outcome(
    ends: tuple[Any, ...], state: str, reason: str
) -> None:
    """A request that was sent again after the saga's completion got no answer."""
    machine = SagaMachine()
    work(machine, start(), *ends)
    successor = SagaMachine()
    for chunk in machine.snapshot():
        successor.restore(chunk)
    again = msgspec.structs.replace(start(), request_id="r2")
    for one in (machine, successor):
        (repeated,) = told(work(one, again, now_ms=START_MS + 60_000))
        assert isinstance(repeated, StartRepeated)
        assert (repeated.request_id, repeated.state, repeated.reason) == ("r2", state, reason)


@pytest.mark.parametrize(
    "definition",
    [
        graph(node("a"), node("b", "a")),
        graph(node("a", on_timeout="compensate")),
        graph(node("a"), node("b"), node("c", "a", "b")),
        graph(node("p", pivot=True), node("z", "p", irreversible=True)),
    ],
    ids=["retry", "compensate", "parallel", "pivot"],
)
def test_10_nobody_answers_and_yet_the_saga_comes_to_an_end(definition: Definition) -> None:
    """An action could wait for its answer for ever."""
    scenario = given(start("graph"), passes(days=1), using=[definition])
    assert scenario.state == "parked"
    (*_, last) = told(scenario.events)
    assert isinstance(last, SagaParked)
    assert last.reason == "outcome_unknown"


def test_10_a_saga_has_a_deadline_of_its_own() -> None:
    """There was no deadline for a whole saga."""
    slow = graph(node("a"), node("b", "a", timeout_ms=3_600_000), deadline_ms=5_000)
    scenario = given(start("graph"), applied("a"), using=[slow])
    scenario.when(passes(ms=4_990)).then()
    scenario.when(passes(ms=10)).then("turned back: deadline_exceeded")
    scenario.given(applied("b"), undo_applied("b"), undo_applied("a"))
    assert scenario.state == "compensated"


async def test_11_what_dies_with_its_process_is_done_by_the_next_one() -> None:
    """An asynchronous action was lost when its process crashed."""
    log, asked = await trip_log(), []
    forever = asyncio.Event()

    async def dies(wanted: Book) -> Outcome:
        asked.append(wanted.effect_id)
        await forever.wait()
        raise AssertionError

    async def lives(wanted: Book) -> Outcome:
        asked.append(wanted.effect_id)
        return Applied()

    handlers, service = at_work(dies, max_concurrent=1)
    async with owner(log, service, "first", clock=SetClock(NOW_MS)):
        ask(log, book(), book(effect_id="behind"))
        await until(lambda: asked == ["e"])
    await handlers.drain(0)
    assert not answers(log)
    handlers, service = at_work(lives)
    async with owner(log, service, "second", clock=SetClock(NOW_MS)):
        await until(lambda: len(answers(log)) == 2)
        await handlers.drain(1)
    assert asked == ["e", "e", "behind"]
    assert all(isinstance(told_to_saga, StepApplied) for told_to_saga in answers(log))


async def test_12_a_stale_owner_overwrites_nothing() -> None:
    """After a rebalance a stale aggregate could overwrite a newer one."""
    log = await bank_log()
    async with accounts(log, "stale"):
        await until(lambda: balance(log, "alice") == 1_000)
        hold = log.hold(ACCOUNT_JOURNAL)
        send(log, withdraw(300, **FROM_OUTSIDE, effect_id="rent"))
        await hold.arrived.wait()
        # It has decided on 1000, and hangs; another process takes the partition over.
        del log.holds[ACCOUNT_JOURNAL]
        async with accounts(log, "next"):
            send(log, withdraw(600, **FROM_OUTSIDE, effect_id="car"))
            await until(lambda: balance(log, "alice") == 100)
            end = len(log.records[ACCOUNT_JOURNAL])
            hold.let_go()
            await until(lambda: len(log.records[ACCOUNT_JOURNAL]) > end)
            assert balance(log, "alice") == 100
    async with accounts(log, "third"):
        send(log, withdraw(101, **FROM_OUTSIDE, effect_id="too much"))
        send(log, withdraw(100, **FROM_OUTSIDE, effect_id="the rest"))
        await until(lambda: balance(log, "alice") == 0)


def test_13_a_saga_can_be_cancelled() -> None:
    """A saga could not be cancelled."""
    scenario = given(start("reserved_transfer"))
    scenario.when(operator("cancel")).then(
        "cancel accepted: ann, ticket 7", "turned back: cancelled"
    )
    scenario.given(applied("hold", hold_id="h"), undo_applied("hold"))
    assert scenario.state == "compensated"


def test_13_whoever_asked_hears_how_the_saga_goes_on() -> None:
    """There was no stream of a saga's progress."""
    moves = (start(), applied("debit"), declined("credit", "account_closed"), undo_applied("debit"))
    heard = [type(news).__name__ for news in told(given(*moves).events)]
    assert heard == ["SagaAccepted", "CompensationStarted", "SagaCompensated"]


@pytest.mark.parametrize("sent", [False, True], ids=["before sending", "after sending"])
async def test_13_a_dead_coordinators_sagas_are_finished_by_the_next_one(sent: bool) -> None:
    """What a coordinator had begun stayed open when it failed."""
    log = await bank_log()
    async with sagas(log, "first"):
        place = ACCOUNT_INPUT if sent else SAGA_JOURNAL
        hold = log.hold(place, until_acknowledged=True)
        send(log, start())
        await hold.landed.wait()
    log.let_go(place)
    async with accounts(log), sagas(log, "second"):
        await until(lambda: state_of(log) == "completed")
    assert (balance(log, "alice"), balance(log, "bob")) == (500, 500)


def test_13_a_step_may_be_a_saga_and_its_compensation_compensates_it() -> None:
    """Sagas could not be nested."""
    bank = Bank(alice=(1_000, "EUR"), bob=(0, "EUR"), fees=(0, "EUR"))
    bank.close("bob")
    fee = {"fee_account": "fees", "fee_minor": 3}
    bank.start("transfer_with_fee", **{**PARAMS, "source": "alice", "target": "bob"}, **fee)
    assert bank.state == ("compensated", "account_closed")
    assert bank.balances == {"alice": 1_000, "bob": 0, "fees": 0}
    ends = [type(event).__name__ for event in bank.events if isinstance(event, SagaCompleted)]
    assert ends == ["SagaCompleted"], "the fee was charged, then given back"


def test_14_a_step_uses_what_an_earlier_one_was_answered_with() -> None:
    """Steps could not use the results of earlier ones."""
    use = command(Capture, account_id=PARAMS["source"], hold_id=result_of("a", "hold_id"))
    definition = graph(node("a"), node("b", "a", pivot=True, do=use, retry=Retry(attempts=2)))
    scenario = given(start("graph"), applied("a", hold_id="h7"), using=[definition])
    scenario.given(passes(s=11))
    wanted = [COMMANDS.decode(bytes(asked.command)) for asked in scenario.requests("b")]
    assert [(type(one), one.hold_id) for one in wanted] == [(Capture, "h7")] * 2


class OneMsAnAppend(FairWeather):
    """An append takes 1 ms of the loop's time; nothing else takes any."""

    def append_s(self, place: Place) -> float:
        return 0.001

    def now_ms(self) -> int:
        return round(asyncio.get_running_loop().time() * 1_000)


def test_15_a_transfer_takes_ten_hops_and_waits_for_nothing_else() -> None:
    """A debit and a credit took 27 hops in a row, each waiting for a commit."""

    async def transfer() -> int:
        log = await bank_log(OneMsAnAppend())
        async with accounts(log), sagas(log):
            await until(lambda: balance(log, "alice") == 1_000)
            # Long enough for what goes on in the background to come to rest.
            await asyncio.sleep(5)
            send(log, start())
            await until(lambda: len(log.records[SAGA_ANSWERS]) == 2)
            assert (state_of(log), balance(log, "bob")) == ("completed", 500)
            return log.records[SAGA_ANSWERS][-1].timestamp - log.records[SAGA_INPUT][0].timestamp

    assert run(SimulatedLoop(), transfer()) == 10


@pytest.mark.parametrize(
    ("moves", "state", "reason"),
    [
        ((applied("debit"),), "running", ""),
        ((applied("debit"), applied("credit")), "completed", ""),
        (
            (applied("debit"), declined("credit", "account_closed")),
            "compensating",
            "account_closed",
        ),
        ((declined("debit", "insufficient_funds"),), "compensated", "insufficient_funds"),
        ((declined("debit", "effect_expired"),), "parked", "effect_expired"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_16_a_saga_is_listed_shown_and_told_whatever_its_state(
    moves: tuple[Move, ...], state: str, reason: str
) -> None:
    """A saga's status could not be queried."""
    scenario, journals = given(start(), *moves), await Journals().create()
    journals.write(SAGAS_READ, *scenario.events)
    batch = Batch()
    Cursor(SAGAS_READ, Position(), PARTITIONS).fold(journals.log.records[SAGAS_READ], batch)
    # The row of the list,
    listed, stands = batch.changes.new_sagas[SAGA], batch.changes.outcomes[SAGA]
    assert (listed.definition, listed.source, listed.amount_minor) == ("transfer", "alice", 500)
    assert (stands.state, stands.reason) == (state, reason)
    # the saga with its steps, folded from what is stored of its history,
    (items,) = batch.changes.histories.values()
    stored = decode_piece(encode_piece(items))
    saga = None
    for _, event in stored:
        saga = evolve(saga, decode_event(event, batch.changes.plans))
    assert saga == scenario.saga
    # and that history in words.
    lines = [tell(msgspec.json.decode(event)) for _, event in stored]
    assert len(lines) == len(scenario.events)
    assert lines[:2] == ["started for bank", "asked for debit, waits 10 s for the answer"]
    if reason:
        assert reason in " ".join(lines[2:])
