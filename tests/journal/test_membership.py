"""Who should own which partition, as a real broker tells it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import TopicSpec
from journal.membership import take_part
from tests.journal.toy import until

pytestmark = pytest.mark.stack

ALL = frozenset(range(4))
SETTLED_S = 30.0
AT_ONCE_S = 5.0
"""Half of the session time: whoever waits for a session to end takes longer."""


class Member:
    """What one member has been told, in order."""

    def __init__(self) -> None:
        self.told: list[frozenset[int]] = []

    @property
    def mine(self) -> frozenset[int]:
        return self.told[-1] if self.told else frozenset()


@pytest.fixture
async def topic(kafka_log: KafkaLog) -> str:
    await kafka_log.create([TopicSpec("shared", len(ALL))])
    return "shared"


@asynccontextmanager
async def member(address: KafkaAddress, topic: str, instance: str) -> AsyncGenerator[Member]:
    """A member of the group until the end of the block."""
    one = Member()
    task = asyncio.create_task(
        take_part(
            address, group="owners", topic=topic, instance=instance, on_change=one.told.append
        )
    )
    try:
        yield one
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def settled(*members: Member) -> None:
    """Wait until the members have shared all partitions evenly among themselves."""

    def shared() -> bool:
        shares = [one.mine for one in members]
        return (
            frozenset().union(*shares) == ALL
            and sum(map(len, shares)) == len(ALL)
            and all(len(share) == len(ALL) // len(members) for share in shares)
        )

    await until(shared, SETTLED_S)


async def test_two_members_share_and_one_that_is_gone_leaves_all_to_the_other(
    kafka_address: KafkaAddress, topic: str
):
    async with member(kafka_address, topic, "one") as one:
        await settled(one)
        async with member(kafka_address, topic, "two") as two:
            await settled(one, two)
        await settled(one)


class Reluctant(ConsumerRebalanceListener):
    """Holds up every rebalance: its member does not give up what it has."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.gives_way = asyncio.Event()

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        if revoked:
            self.asked.set()
            await self.gives_way.wait()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        pass


def connections() -> set[asyncio.Task[object]]:
    """The readers of all open connections to brokers."""
    return {task for task in asyncio.all_tasks() if "AIOKafkaConnection" in repr(task)}


async def test_a_member_that_is_told_to_end_while_it_joins_leaves_nothing_running(
    kafka_address: KafkaAddress, topic: str
):
    listener = Reluctant()
    stranger = AIOKafkaConsumer(
        bootstrap_servers=kafka_address.bootstrap,
        group_id=kafka_address.prefix + "owners",
        group_instance_id="stranger",
    )
    stranger.subscribe([kafka_address.prefix + topic], listener=listener)
    async with stranger:
        await until(lambda: bool(stranger.assignment()), SETTLED_S)
        before = connections()
        try:
            async with member(kafka_address, topic, "joins"):
                await asyncio.wait_for(listener.asked.wait(), SETTLED_S)
            await until(lambda: not connections() - before, AT_ONCE_S)
        finally:
            listener.gives_way.set()


@pytest.mark.parametrize("returns", ["leader", "follower"])
async def test_a_member_that_comes_back_gets_its_partitions_at_once(
    kafka_address: KafkaAddress, topic: str, returns: str
):
    members: dict[str, Member] = {}
    async with AsyncExitStack() as staying:
        async with AsyncExitStack() as leaving:
            # Who is there first leads the group: it divides the partitions.
            for name in ("leader", "follower"):
                stack = leaving if name == returns else staying
                joins = member(kafka_address, topic, name)
                members[name] = await stack.enter_async_context(joins)
                await settled(*members.values())
            gone = members.pop(returns)
            (other,) = members.values()
            told = len(other.told)
        async with member(kafka_address, topic, returns) as again:
            await until(lambda: again.mine == gone.mine, AT_ONCE_S)
            assert len(other.told) == told, "the other was not disturbed"
