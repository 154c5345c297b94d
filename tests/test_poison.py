"""Whatever stands in a record, nothing stops a partition but a journal that can't be trusted.

Decoders give a message or `Undecodable`. What they give, a machine takes, and what follows from it
can be written, read again and put into a snapshot: else one record would end process after process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from account_service import service as accounts
from account_service.machine import AccountMachine
from audit.journals import _CODECS as AUDITED
from claims import service as claims
from journal import snapshots
from journal.clock import SystemClock
from journal.log import Entry, Place
from journal.machine import Machine
from journal.memory_log import MemoryLog
from journal.processor import Ending, Processor
from journal.records import EPOCH, SEQUENCE, SOURCE, TYPE, RecordRejected, request_entry
from journal.service import Service, Tuning
from journal.topics import ANSWERS, DEAD_LETTERS, dead_letter_spec
from messages.account import Deposit, Hold, OpenAccount
from messages.saga import SagaCompleted, StartSaga, StepApplied
from messages.wire import Codec, Undecodable, encode, type_name
from orchestrator import service as sagas
from orchestrator.machine import SagaMachine
from read_model.batch import CODECS as PROJECTED
from tests import poison
from tests.poison import NOW_MS, PARAMS

JOURNALLED = {
    "account.journal": [*poison.ACCOUNT_EVENTS, *poison.KERNEL],
    "orchestrator.journal": [*poison.SAGA_EVENTS, *poison.KERNEL],
    "claims.journal": [*poison.EFFECT_EVENTS, *poison.KERNEL],
}
REJECTED: Codec[RecordRejected] = Codec(RecordRejected)
DECODERS: dict[str, tuple[Callable[[bytes], Any], list[bytes]]] = {
    "account.input": (accounts.INPUTS.decode, poison.COMMANDS),
    "account.journal": (accounts.EVENTS.decode, JOURNALLED["account.journal"]),
    "orchestrator.input": (sagas.INPUTS.decode, poison.INPUTS),
    "orchestrator.journal": (sagas.EVENTS.decode, JOURNALLED["orchestrator.journal"]),
    "orchestrator.answers": (sagas.ANSWERS.decode, poison.SAGA_EVENTS),
    "claims.input": (claims.INPUTS.decode, poison.CLAIM_COMMANDS),
    "claims.journal": (claims.EVENTS.decode, JOURNALLED["claims.journal"]),
    "dead letters": (REJECTED.decode, poison.KERNEL),
    "manifests": (snapshots._decode_manifest, poison.SNAPSHOTS),
    **{f"audit of {at}": (codec.decode, JOURNALLED[at]) for at, codec in AUDITED.items()},
    **{f"projection of {at}": (codec.decode, JOURNALLED[at]) for at, codec in PROJECTED.items()},
}


def fuzz(examples: int, *, shrink: bool = True) -> Any:
    """`shrink` False where a failing example may cost seconds, each of the hundreds of times."""
    phases = [phase for phase in Phase if shrink or phase not in (Phase.shrink, Phase.explain)]
    return settings(
        max_examples=examples,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )


# Decoders


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_message_is_known_to_its_decoder(decoder: str):
    decode, known = DECODERS[decoder]
    decoded = 0
    for value in known:
        try:
            message = decode(value)
        except Undecodable:
            continue
        decoded += 1
        if decoder != "api":
            assert encode(message) == value
    assert decoded >= len(known) / 3, "else there would be nothing to spoil"


@pytest.mark.parametrize("decoder", DECODERS)
def test_whatever_one_member_is_a_decoder_says_undecodable_or_can_write_it_again(decoder: str):
    decode, known = DECODERS[decoder]
    for value in known:
        for spoilt in poison.each_member_spoilt(value):
            try:
                message = decode(spoilt)
            except Undecodable:
                continue
            assert decode(encode(message)) == message


@pytest.mark.parametrize("decoder", DECODERS)
@fuzz(120)
@given(data=st.data())
def test_nothing_but_undecodable_comes_out_of_a_decoder(decoder: str, data: st.DataObject):
    decode, known = DECODERS[decoder]
    try:
        message = decode(data.draw(poison.poison(known)))
    except Undecodable as error:
        assert error.reason
        return
    assert decode(encode(message)) == message


# Machines


def account_machine() -> AccountMachine:
    """Two accounts with money, and a hold that the poison names."""
    machine = AccountMachine()
    asked: dict[str, Any] = {"issued_at_ms": NOW_MS, "currency": "EUR"}
    for name in ("alice", "bob"):
        deposit = Deposit(account_id=name, effect_id=f"d-{name}", amount_minor=1_000, **asked)
        evolve(machine, OpenAccount(account_id=name, effect_id=f"o-{name}", **asked))
        evolve(machine, deposit)
    evolve(machine, Hold(account_id="alice", effect_id="h1", amount_minor=9, **asked))
    return machine


def start(saga_id: str, **params: Any) -> StartSaga:
    return StartSaga(
        saga_id=saga_id,
        tenant="bank",
        definition="transfer",
        params={**PARAMS, **params},
        fingerprint="f",
        request_id=saga_id,
        issued_at_ms=NOW_MS,
    )


def saga_machine() -> SagaMachine:
    """A saga that waits for its first step, one that waits for its second, one that is done."""
    machine = SagaMachine()
    for saga_id, steps in (("s1", ()), ("s2", ("debit",)), ("s3", ("debit", "credit"))):
        evolve(machine, start(saga_id))
        for step in steps:
            evolve(machine, StepApplied(saga_id=saga_id, step=step, direction="do", attempt=1))
    return machine


def evolve(machine: Machine[Any, Any], message: Any, now_ms: int = NOW_MS) -> list[Any]:
    events = [*machine.decide(message, now_ms)]
    for event in events:
        machine.evolve(event)
    return events


HEARS_ACCOUNTS: Mapping[str, Codec[Any]] = {
    "orchestrator.input": sagas.INPUTS,
    ANSWERS: accounts.ANSWERS,
}
HEARS_SAGAS: Mapping[str, Codec[Any]] = {
    "account.input": accounts.INPUTS,
    "orchestrator.input": sagas.INPUTS,
    ANSWERS: sagas.ANSWERS,
}


def bears(
    machine: Machine[Any, Any],
    fresh: Machine[Any, Any],
    inputs: Codec[Any],
    events: Codec[Any],
    receivers: Mapping[str, Codec[Any]],
    values: Sequence[bytes],
) -> None:
    """Feed `machine` what can be decoded; all that follows can be written and read."""
    now_ms = NOW_MS
    for value in values:
        try:
            message = inputs.decode(value)
        except Undecodable:
            continue
        now_ms += 1
        check(machine, [*machine.decide(message, now_ms)], events, receivers, at_least=1)
        if (due_ms := machine.next_due_ms()) is not None and due_ms < now_ms + 60_000:
            now_ms = max(now_ms, due_ms)
            check(machine, [*machine.fire(now_ms)], events, receivers)
    for chunk in machine.snapshot():
        fresh.restore(chunk)
    assert [*fresh.snapshot()] == [*machine.snapshot()]


def check(
    machine: Machine[Any, Any],
    decided: list[Any],
    events: Codec[Any],
    receivers: Mapping[str, Codec[Any]],
    at_least: int = 0,
) -> None:
    assert len(decided) >= at_least
    for event in decided:
        written = encode(event)
        assert events.decode(written) == event
        assert machine.key_of(event).encode()
        machine.evolve(event)
        for output in machine.outputs(event):
            receivers[output.topic].decode(output.value)


def one_after_another(of: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    return st.lists(poison.poison(of) | st.sampled_from(of), min_size=1, max_size=8)


@fuzz(250)
@given(one_after_another(poison.COMMANDS))
def test_an_account_bears_whatever_can_be_decoded(values: list[bytes]):
    bears(
        account_machine(),
        AccountMachine(),
        accounts.INPUTS,
        accounts.EVENTS,
        HEARS_ACCOUNTS,
        values,
    )


@fuzz(250)
@given(one_after_another(poison.INPUTS))
def test_a_saga_bears_whatever_can_be_decoded(values: list[bytes]):
    bears(saga_machine(), SagaMachine(), sagas.INPUTS, sagas.EVENTS, HEARS_SAGAS, values)


def test_an_account_bears_whatever_one_member_of_a_command_is():
    for value in poison.COMMANDS:
        for spoilt in poison.each_member_spoilt(value):
            machine = account_machine()
            bears(
                machine,
                AccountMachine(),
                accounts.INPUTS,
                accounts.EVENTS,
                HEARS_ACCOUNTS,
                [spoilt],
            )


def test_a_saga_bears_whatever_one_member_of_a_message_is():
    for value in poison.INPUTS:
        for spoilt in poison.each_member_spoilt(value):
            machine = saga_machine()
            bears(machine, SagaMachine(), sagas.INPUTS, sagas.EVENTS, HEARS_SAGAS, [spoilt])


@pytest.mark.parametrize(("kind", "member"), [(StartSaga, "params"), (StepApplied, "result")])
def test_a_saga_bears_every_depth_that_can_be_decoded(kind: Any, member: str):
    # What just fits the decoder's recursion may be too deep for the encoder's.
    (value,) = (v for v in poison.INPUTS if type_name(kind).encode() in v)
    for depth in range(1, 1_001):
        deep = poison.nested(value, member, depth)
        machine = saga_machine()
        bears(machine, SagaMachine(), sagas.INPUTS, sagas.EVENTS, HEARS_SAGAS, [deep])


# Partitions

ACCOUNT_INPUT, SAGA_INPUT = Place("account.input", 0), Place("orchestrator.input", 0)
CLAIMS_INPUT = Place("claims.input", 0)
ACCOUNT_JOURNAL, SAGA_JOURNAL = Place("account.journal", 0), Place("orchestrator.journal", 0)
SERVICES = (accounts.TOPICS, sagas.TOPICS, claims.TOPICS)
HORIZON_MS = 7 * 24 * 3_600 * 1_000
QUICK = Tuning(idle_wait_ms=20, first_pause_s=0.001, max_pause_s=0.01)


def bank() -> tuple[Service[Any, Any], ...]:
    return (
        accounts.account_service(1, {SAGA_INPUT.topic: 1}, tuning=QUICK),
        sagas.orchestrator(1, {ACCOUNT_INPUT.topic: 1, CLAIMS_INPUT.topic: 1}, tuning=QUICK),
        claims.claims_service(1, {SAGA_INPUT.topic: 1}, effect_horizon_ms=HORIZON_MS, tuning=QUICK),
    )


async def empty_log() -> MemoryLog:
    log = MemoryLog()
    for topics in SERVICES:
        await log.create(topics.specs(1))
    await log.create([dead_letter_spec(1)])
    return log


@asynccontextmanager
async def at_work(log: MemoryLog) -> AsyncIterator[list[asyncio.Task[Ending]]]:
    clock = SystemClock()
    tasks = [
        asyncio.create_task(Processor(log, service, 0, "owner", clock).run()) for service in bank()
    ]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool], tasks: list[asyncio.Task[Ending]]) -> None:
    """Wait for it; whatever stops a partition before fails the test."""
    async with asyncio.timeout(20):
        while not condition():
            for task in tasks:
                assert not task.done(), task.result()
            await asyncio.sleep(0.001)


def request(message: Any, key: str) -> Entry:
    return request_entry(key, encode(message), type_name(message), "/test", "r")


def open_books(log: MemoryLog) -> None:
    """Two accounts that no poison names."""
    asked: dict[str, Any] = {"issued_at_ms": SystemClock().now_ms(), "currency": "EUR"}
    for name in ("carol", "dave"):
        opening = OpenAccount(account_id=name, effect_id=f"o-{name}", **asked)
        deposit = Deposit(account_id=name, effect_id=f"d-{name}", amount_minor=100, **asked)
        log.land(ACCOUNT_INPUT, [request(opening, name), request(deposit, name)])


def transfer(saga_id: str) -> Entry:
    asked = start(saga_id, source="carol", target="dave")
    return request(replace(asked, issued_at_ms=SystemClock().now_ms()), saga_id)


def completed(log: MemoryLog, saga_id: str) -> bool:
    kind = type_name(SagaCompleted).encode()
    return any(
        record.key == saga_id.encode() and dict(record.headers).get(TYPE) == kind
        for record in log.records[SAGA_JOURNAL]
    )


keys = st.none() | st.sampled_from([b"", b"alice", b"s1", b"\xff\xfe"]) | st.binary(max_size=8)
numbers = st.sampled_from([b"", b"0", b"1", b"2", b"-1", b"x", b"9" * 18, b"9" * 30, b"\xb2"])
sources = st.sampled_from([b"", b"away.journal/0", b"away.journal/1", b"\xff", b"a/b/c", b"/0"])
# Not the names of the bank's own links: whoever may write under these can close them.
epochs = st.sampled_from([b"", b"-1", b"x", b"9" * 18])
headers = st.lists(
    st.tuples(st.just(SOURCE), sources)
    | st.tuples(st.just(SEQUENCE), numbers)
    | st.tuples(st.just(EPOCH), epochs)
    | st.tuples(st.sampled_from([TYPE, "", "odd"]), numbers | sources),
    max_size=4,
).map(tuple)


def records(of: list[bytes]) -> st.SearchStrategy[list[Entry]]:
    values = st.none() | poison.poison(of) | st.sampled_from(of)
    return st.lists(st.builds(Entry, keys, values, headers), min_size=1, max_size=12)


@fuzz(40, shrink=False)
@given(
    records(poison.COMMANDS),
    records(poison.INPUTS),
    records(poison.CLAIM_COMMANDS),
    records(poison.EVERYTHING),
)
async def test_no_record_on_an_input_stops_a_partition(
    to_accounts: list[Entry],
    to_sagas: list[Entry],
    to_claims: list[Entry],
    anywhere: list[Entry],
):
    log = await empty_log()
    open_books(log)
    async with at_work(log) as tasks:
        log.land(ACCOUNT_INPUT, [*to_accounts, *anywhere])
        log.land(CLAIMS_INPUT, [*to_claims, *anywhere])
        log.land(SAGA_INPUT, [*to_sagas, *anywhere, transfer("first")])
        await until(lambda: completed(log, "first"), tasks)
    # Nor the next owner, who reads all of it again; nor does a stranger's record elsewhere.
    for topics in SERVICES:
        log.land(topics.journal_at(0), anywhere)
        manifests = [replace(entry, key=b"0.1/manifest") for entry in anywhere]
        log.land(Place(topics.snapshots, 0), [*manifests, *anywhere])
    async with at_work(log) as tasks:
        log.land(SAGA_INPUT, [transfer("second")])
        await until(lambda: completed(log, "second"), tasks)
    for record in log.records[Place(DEAD_LETTERS, 0)]:
        REJECTED.decode(record.value)


@fuzz(25, shrink=False)
@given(st.data())
async def test_a_journal_record_of_the_owner_that_cannot_be_decoded_halts_the_next_opening(
    data: st.DataObject,
):
    log = await empty_log()
    at = data.draw(st.sampled_from([0, 1]))
    place, codec, known = [
        (ACCOUNT_JOURNAL, accounts.EVENTS, poison.ACCOUNT_EVENTS),
        (SAGA_JOURNAL, sagas.EVENTS, poison.SAGA_EVENTS),
    ][at]
    value = data.draw(poison.poison(known).filter(lambda value: not decodes(codec, value)))
    async with at_work(log) as tasks:
        await until(lambda: bool(log.records[place]), tasks)
        epoch = log.records[place][0].offset
    log.land(place, [Entry(b"k", value, ((EPOCH, b"%d" % epoch), (TYPE, b"t")))])
    for _ in range(2):
        async with at_work(log) as tasks:
            async with asyncio.timeout(10):
                assert await asyncio.shield(tasks[at]) is Ending.HALTED
            assert not tasks[1 - at].done()


def decodes(codec: Codec[Any], value: bytes) -> bool:
    try:
        codec.decode(value)
    except Undecodable:
        return False
    return True
