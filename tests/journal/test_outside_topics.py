"""A topic of somebody else's that is missing or stuck disturbs nobody but itself."""

from msgspec.structs import replace
from prometheus_client import REGISTRY

from journal.log import Place, TopicSpec
from journal.memory_log import MemoryLog
from journal.records import SEQUENCE, header
from messages.routing import partition_of
from tests.journal.toy import (
    FAR_INPUT,
    INPUT,
    PONG,
    QUICK,
    Add,
    owner,
    request,
    total,
    toy,
    toy_log,
    until,
)

AWAY = "away.input"
NARROW = replace(QUICK, max_unconfirmed=3, max_batch_records=2)
HOME = Place(AWAY, partition_of("k", 2))


def sequences(log: MemoryLog, place: Place) -> list[int]:
    return [int(header(record.headers, SEQUENCE) or b"0") for record in log.records[place]]


def labels(place: Place) -> dict[str, str]:
    return {"service": "ping", "partition": "0", "destination": str(place)}


async def test_a_missing_topic_holds_up_neither_other_topics_nor_inputs():
    log = await toy_log()
    async with owner(log, toy(tuning=NARROW)):
        log.land(INPUT, [request(Add(key="k", pass_on=AWAY))] * 20)
        log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))] * 20)
        await until(lambda: total(log) == 40 and len(log.records[FAR_INPUT]) == 20)


async def test_a_stuck_topic_holds_up_neither_other_topics_nor_inputs():
    log = await toy_log()
    await log.create([TopicSpec(AWAY, 2)])
    hold = log.hold(HOME)
    async with owner(log, toy(tuning=NARROW)):
        log.land(INPUT, [request(Add(key="k", pass_on=AWAY))])
        await hold.arrived.wait()
        log.land(INPUT, [request(Add(key="k", pass_on=AWAY))] * 20)
        log.land(INPUT, [request(Add(key="k", pass_on=PONG.input))] * 20)
        await until(lambda: total(log) == 41 and len(log.records[FAR_INPUT]) == 20)
        log.let_go(HOME)
        await until(lambda: sequences(log, HOME) == [*range(1, 22)])


async def test_what_waits_for_a_missing_topic_is_seen_and_goes_out_once_it_is_there():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k", pass_on=AWAY))] * 5)
        await until(
            lambda: REGISTRY.get_sample_value("makegood_outputs_waiting", labels(HOME)) == 5
        )
        await log.create([TopicSpec(AWAY, 2)])
        await until(lambda: sequences(log, HOME) == [1, 2, 3, 4, 5])
        await until(
            lambda: REGISTRY.get_sample_value("makegood_outputs_waiting", labels(HOME)) == 0
        )


async def test_the_partition_is_the_recorded_one_also_when_the_topic_has_grown():
    log = await toy_log()
    async with owner(log, toy()):
        log.land(INPUT, [request(Add(key="k", pass_on=AWAY))] * 5)
        await until(lambda: total(log) == 5)
    await log.create([TopicSpec(AWAY, 7)])
    async with owner(log, toy(), "second"):
        await until(lambda: len(log.records[HOME]) == 5)
    assert sum(len(log.records[Place(AWAY, p)]) for p in range(7)) == 5
