"""The command `makegood`. Every command's work is elsewhere; here are names, options and exits.

Exit status: 0 all well; 1 it ran, and what it found is bad; 2 it could not run.
"""

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console

app = App(
    name="makegood",
    help="A bank's transfer service that can be trusted with money.",
    version_flags=["--version"],
)
# By name, so that a command loads no more than it needs: importing all of it takes 2 s.
app.command("makegood.account_commands:app", name="account")
app.command("makegood.transfer_commands:app", name="transfer")
app.command("makegood.saga_commands:app", name="saga")
app.command("makegood.deadletter_commands:app", name="deadletter")
app.command("makegood.definition_commands:app", name="definitions")

console = Console()


@app.command
def up(
    *,
    api_port: int = 8080,
    brokers: Literal[1, 3] = 1,
    data_dir: Path | None = None,
    fresh: bool = False,
) -> None:
    """Start the whole bank on this machine and keep it running until Ctrl-C.

    Kafka and PostgreSQL run as child processes, or are those that MAKEGOOD_KAFKA_BOOTSTRAP and
    MAKEGOOD_DATABASE_URL name.

    Parameters
    ----------
    api_port
        Where the API listens on 127.0.0.1; another free port is taken if this one is not.
    brokers
        Kafka brokers: 1, or 3 with every record on three of them.
    data_dir
        Where Kafka and PostgreSQL keep their data; default: .makegood/devstack
    fresh
        Delete the data first.
    """
    from makegood.roles import until_stopped
    from makegood.up import run_up

    _logs("warning")
    _run(until_stopped(run_up(console, data_dir, api_port=api_port, brokers=brokers, fresh=fresh)))


@app.command
def demo(*, data_dir: Path = Path(".makegood/demo")) -> None:
    """Run the whole bank for a minute: 5,000 transfers, failures, a crash, and the audit.

    Parameters
    ----------
    data_dir
        Where the demo's Kafka and PostgreSQL keep their data; it is deleted first.
    """
    from makegood.demo import run_demo

    _logs("error")
    sys.exit(0 if _run(run_demo(console, data_dir)) else 1)


@app.command
def run(
    role: Literal["orchestrator", "account-service", "claims", "projector", "api", "payout-bridge"],
    /,
) -> None:
    """Run one role of the bank as this process, until SIGTERM; settings come from MAKEGOOD_*."""
    from makegood.logs import configure_logs
    from makegood.roles import ROLES, until_stopped
    from makegood.settings import load_settings

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    _run(until_stopped(ROLES[role](settings)))


@app.command
def migrate() -> None:
    """Bring the read model's schema up to date (the roles do it at their start, too)."""
    import migrations
    from makegood.logs import configure_logs
    from makegood.settings import load_settings

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    _run(migrations.upgrade(settings.database_url, wait_s=settings.start_timeout_s))


@app.command
def audit(*, json: bool = False, database: bool = True, data_dir: Path | None = None) -> None:
    """Prove from the journals that the books are right: double entry, conservation, one effect a
    step, and that the read model equals the fold.

    Parameters
    ----------
    json
        The whole report as JSON.
    database
        Compare the read model, too.
    data_dir
        Of the bank that `makegood up` runs, if MAKEGOOD_KAFKA_BOOTSTRAP is not set.
    """
    from makegood.auditing import run_audit

    _logs("error")
    sys.exit(_run(run_audit(console, json=json, database=database, data_dir=data_dir)))


@app.command
def asyncapi(participant: Literal["account", "payout"] = "payout", /) -> None:
    """Print the contract of a participant as an AsyncAPI 3.0 document (JSON): what a service in any
    language has to know to take a saga's commands and to answer.
    """
    import msgspec

    from makegood.asyncapi import PARTICIPANTS, document
    from makegood.settings import load_settings

    text = msgspec.json.encode(document(PARTICIPANTS[participant], load_settings().topic_prefix))
    print(msgspec.json.format(text, indent=2).decode())


@app.command
def simulate(
    *,
    runs: int = 1000,
    first: int | None = None,
    seed: int | None = None,
    trace: bool = False,
    scenario: str = "",
    transfers: int = 50,
    shrink_s: float = 60.0,
    jobs: Annotated[int, Parameter(alias="-j")] = os.cpu_count() or 1,
) -> None:
    """Simulate days of the bank with faults of every kind, and check the invariants.

    Parameters
    ----------
    runs
        How many runs, each decided by one seed.
    first
        The first seed; drawn and printed when left out.
    seed
        Run this one seed.
    trace
        With --seed: tell the story; of a run that fails, what concerns the failure.
    scenario
        With --seed: only this part of it, as a failed seed prints it.
    transfers
        Transfers in a run.
    shrink_s
        After a failure look for a smaller run that fails alike, for so many seconds of CPU time;
        0: don't.
    jobs
        Processes to run in.
    """
    from makegood.simulating import run_simulation, tell_seed
    from simulation.scenario import parse

    if seed is not None:
        part = parse(scenario)
        sys.exit(tell_seed(console, seed, part, transfers, trace=trace, shrink_s=shrink_s))
    sys.exit(run_simulation(console, runs, first, transfers, jobs, shrink_s))


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    import uvloop

    return uvloop.run(main)


def _logs(level: str) -> None:
    from makegood.logs import configure_logs

    configure_logs("console", os.environ.get("MAKEGOOD_LOG_LEVEL", level))


def _api_behind(words: list[str]) -> list[str]:
    """`--api` before the command, where many look for it, moved behind it: a command that has no
    such option still refuses it."""
    count = 2 if words[:1] == ["--api"] else 1 if words and words[0].startswith("--api=") else 0
    return words[count:] + words[:count]


def main() -> None:
    """The entry point: what is known to go wrong becomes one line on standard error."""
    try:
        app(_api_behind(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from makegood.troubles import told

        text = told(error)
        if text is None:
            raise
        print(f"makegood: {text}", file=sys.stderr)
        sys.exit(2)
