"""`makegood up`: the bank runs until it is told to stop, and tells where everything is."""

import asyncio
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from devstack import ports
from devstack.directory import default_data_dir
from makegood.bank import Bank
from makegood.embedded import embedded_bank
from makegood.running import STATE_FILE, Running


async def run_up(
    console: Console, data_dir: Path | None, *, api_port: int, brokers: int, fresh: bool
) -> None:
    """Raises DevstackError, also when Kafka or PostgreSQL ends by itself. Cancelled: stops all
    of it in order."""
    directory = data_dir or default_data_dir()
    (port,) = ports.choose(1, preferred=(api_port,))
    if port != api_port:
        console.print(f"[yellow]Port {api_port} is taken; the API takes {port} instead.")
    async with embedded_bank(
        directory,
        brokers=brokers,
        lasting=True,
        fresh=fresh,
        api_port=port,
        announce=lambda text: console.print(f"[dim]{text}"),
    ) as bank:
        state = directory / STATE_FILE
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_bytes(msgspec.json.encode(_running(bank)))
        try:
            _tell(console, bank)
            await bank.watch()
        except asyncio.CancelledError:
            console.print("Stopping ...")
            raise
        finally:
            state.unlink(missing_ok=True)


def _running(bank: Bank) -> Running:
    corner = bank.corner
    return Running(bank.url, corner.bootstrap, corner.database_url, corner.prefix)


def _tell(console: Console, bank: Bank) -> None:
    table = Table(show_header=False, box=None)
    for name, value in (
        ("API", bank.url),
        ("API page", f"{bank.url}/docs"),
        ("ready?", f"{bank.url}/health/ready"),
        ("Kafka", bank.corner.bootstrap),
        ("PostgreSQL", bank.corner.database_url),
        ("logs", str(bank.log_dir)),
    ):
        table.add_row(f"[bold]{name}", value)
    console.print("[bold green]The bank is up.[/] Ctrl-C stops it.")
    console.print(table, soft_wrap=True)
