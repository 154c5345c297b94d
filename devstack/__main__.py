"""`python -m devstack`: start Kafka and PostgreSQL, print their addresses, stop on Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from devstack.errors import DevstackError
from devstack.stack import DATABASE_VARIABLE, KAFKA_VARIABLE, Stack


async def serve(stack: Stack) -> None:
    """Run the stack until SIGINT or SIGTERM, also when that comes during the start."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    running = asyncio.ensure_future(_run(stack))
    stopping = asyncio.ensure_future(asked_to_stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    stopping.cancel()
    [outcome, _] = await asyncio.gather(running, stopping, return_exceptions=True)
    await stack.stop()
    if not isinstance(outcome, asyncio.CancelledError):
        raise outcome


async def _run(stack: Stack) -> None:
    await stack.start()
    print(f"{KAFKA_VARIABLE}={stack.bootstrap}")
    print(f"{DATABASE_VARIABLE}={stack.database_url}", flush=True)
    print("Ctrl-C stops both.", file=sys.stderr)
    await stack.watch()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="default: .makegood/devstack")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--kafka-heap", default="512m", help="of each broker, as Java writes it")
    parser.add_argument("--fresh", action="store_true", help="delete the data first")
    options = parser.parse_args()
    stack = Stack(
        options.data_dir,
        brokers=options.brokers,
        kafka_heap=options.kafka_heap,
        lasting=True,
        fresh=options.fresh,
        announce=lambda text: print(text, file=sys.stderr, flush=True),
    )
    try:
        asyncio.run(serve(stack))
    except DevstackError as failed:
        sys.exit(f"devstack: {failed}")


if __name__ == "__main__":
    main()
