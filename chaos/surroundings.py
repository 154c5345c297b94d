"""The bank under attack and everything around it that can be broken: three brokers behind proxies,
one of them on a small disk, PostgreSQL, the clocks of the bank's processes, and whoever carries
payouts out of it.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from chaos.clocks import Clocks, installed
from chaos.disk import SmallDisk
from chaos.payments import Payments
from chaos.proxy import Proxy
from chaos.roles import OUTSIDE, PAYMENTS_VARIABLE, PROGRAMS, SETTINGS
from devstack.stack import Stack
from makegood.bank import Bank, Corner, own_database

BROKERS: Final = 3
ON_SMALL_DISK: Final = 3
"""The node whose disk can be filled."""

_COUNTS: Final = {
    "orchestrator": 2,
    "account-service": 2,
    "claims": 2,
    "projector": 2,
    "api": 1,
    OUTSIDE: 2,
}


class Surroundings(NamedTuple):
    stack: Stack
    bank: Bank
    proxies: list[Proxy]
    """Of the brokers, in their order."""
    disk: SmallDisk
    clocks: Clocks
    payments: Payments
    """The record of whoever carries payouts out."""


@asynccontextmanager
async def surroundings(folder: Path) -> AsyncGenerator[Surroundings]:
    """Everything running. Raises DevstackError; then nothing is left running or mounted."""
    async with AsyncExitStack() as leaving:
        proxies = [await leaving.enter_async_context(Proxy()) for _ in range(BROKERS)]
        disk = SmallDisk(folder / "small-disk")
        disk.mount()
        leaving.callback(disk.unmount)
        payments = Payments.anew(folder / "payments")
        clocks = Clocks(folder / "clocks", installed())
        leaving.callback(clocks.close)
        stack = Stack(
            folder / "stack",
            brokers=BROKERS,
            kafka_heap="400m",
            kafka_gates=[proxy.port for proxy in proxies],
            kafka_disks={} if disk.missing else {ON_SMALL_DISK: disk.path / "data"},
            fresh=True,
        )
        await leaving.enter_async_context(stack)
        for proxy, broker in zip(proxies, stack.kafka.brokers, strict=True):
            proxy.broker_port = broker.gated_port
        corner = Corner(
            stack.bootstrap, await own_database(stack.database_url, "makegood_chaos"), "chaos-"
        )
        bank = Bank(
            corner,
            folder / "log",
            settings={"partitions": "4", "start_timeout_s": "180", **SETTINGS},
            count=_COUNTS,
            own=lambda name: {
                **clocks.environment(name),
                PAYMENTS_VARIABLE: str(payments.folder),
            },
            programs=PROGRAMS,
        )
        await leaving.enter_async_context(bank)
        yield Surroundings(stack, bank, proxies, disk, clocks, payments)
