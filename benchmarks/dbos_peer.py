"""The peer: the same transfer as a durable workflow of DBOS, on PostgreSQL.

It owns a database of its own on the given server, made for the run and dropped after it, and
makes DBOS go as fast as its documentation lets it. It promises that a figure is printed only
after every transfer was looked up as done, in the accounts and in DBOS's own tables, and the
money was found conserved; and that a refused credit was seen compensated and a repeated
transfer seen done once.

    python -m benchmarks.dbos_peer --database-url postgresql://... --transfers 5000 --json

Latency is what one client waits, from the call until the workflow's outcome is committed; with
`--concurrency 1` it is the latency of a lone client.
"""

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import queue
import random
import statistics
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from typing import Literal, LiteralString, NamedTuple, get_args

import asyncpg
import psycopg
import sqlalchemy as sa
import uvloop
from dbos import DBOS, DBOSConfig, SetWorkflowID, SQLAlchemyDatasource
from psycopg import sql

# step-threads        a step is one statement in autocommit, which moves the balance and inserts
#                     the entry; the entry's key makes a repeated step a no-op. Clients are
#                     threads, which call the workflow directly. The fastest.
# step-async          the same with coroutines and asyncpg. Close behind: DBOS itself talks to
#                     PostgreSQL synchronously, so each of its records hops to a thread and back.
# datasource-threads  the datasource transactions of DBOS's documentation. DBOS guards the step
#                     in the account's own transaction, and pays for it with a look-up before, an
#                     insert and an ownership check within and a delete after: half the speed.
#
# Tried and not kept: async datasource (slower than the threaded one), async workflows with
# threaded steps (as step-async), start_workflow and get_result (a hop more for the same
# records), and a queue (one more write a transfer, and a poll before the first step).
Variant = Literal["step-threads", "step-async", "datasource-threads"]
Leg = Literal["debit", "credit", "compensate"]
Outcome = Literal["done", "refused", "compensated"]

OPENING_BALANCE_MINOR = 1_000_000_000
CLOSED_ACCOUNT = -1
# PostgreSQL's default is 100 connections. Each process has two pools, and some are spare.
POOLED_CONNECTIONS = 40
READY_TIMEOUT_S = 120.0

SCHEMA = """
CREATE TABLE accounts (
    account_id bigint PRIMARY KEY,
    opening_minor bigint NOT NULL,
    balance_minor bigint NOT NULL,
    closed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE TABLE entries (
    transfer_id text NOT NULL,
    leg text NOT NULL,
    account_id bigint NOT NULL,
    amount_minor bigint NOT NULL,
    PRIMARY KEY (transfer_id, leg)
);
"""

# No row comes back when the account is closed or has not enough; neither table is changed then.
MOVE = """
WITH moved AS (
    UPDATE accounts SET balance_minor = balance_minor + {amount}
    WHERE account_id = {account} AND NOT closed AND balance_minor + {amount} >= 0
    RETURNING account_id
)
INSERT INTO entries (transfer_id, leg, account_id, amount_minor)
SELECT {transfer}, {leg}, account_id, {amount} FROM moved RETURNING account_id
"""
MOVE_PSYCOPG = MOVE.format(
    transfer="%(transfer)s::text",
    leg="%(leg)s::text",
    account="%(account)s::bigint",
    amount="%(amount)s::bigint",
)
MOVE_ASYNCPG = MOVE.format(
    transfer="$1::text", leg="$2::text", account="$3::bigint", amount="$4::bigint"
)
MOVE_SQLALCHEMY = sa.text(
    MOVE.format(
        transfer="CAST(:transfer AS text)",
        leg="CAST(:leg AS text)",
        account="CAST(:account AS bigint)",
        amount="CAST(:amount AS bigint)",
    )
)


class Transfer(NamedTuple):
    transfer_id: str
    source: int
    target: int
    amount_minor: int


@dataclass(frozen=True)
class Plan:
    """What one process has to do."""

    url: str
    variant: Variant
    transfers: int
    clients: int
    accounts: int
    pool_size: int
    synchronous_commit: str

    @property
    def session_options(self) -> str:
        return f"-c synchronous_commit={self.synchronous_commit}"


@dataclass(frozen=True)
class Share:
    """What one process did. Times are of the system's monotonic clock, in seconds."""

    started_s: float
    ended_s: float
    latencies_s: list[float]
    untimed: int  # transfers done before and after the timed ones
    compensated: int


@dataclass(frozen=True)
class Report:
    transfers_per_s: float
    p50_ms: float
    p99_ms: float
    completed: int
    variant: Variant
    concurrency: int
    processes: int
    synchronous_commit: str


class PeerError(Exception):
    """The peer did not do what it was measured for, so there is no figure."""


Move = Callable[[str, Leg, int, int], bool]
AsyncMove = Callable[[str, Leg, int, int], Awaitable[bool]]
Run = Callable[[Transfer], Outcome]
AsyncRun = Callable[[Transfer], Awaitable[Outcome]]


# --- The workflow -------------------------------------------------------------------------


def workflow(move: Move) -> Run:
    @DBOS.workflow(name="transfer")
    def transfer(transfer_id: str, source: int, target: int, amount_minor: int) -> Outcome:
        if not move(transfer_id, "debit", source, -amount_minor):
            return "refused"
        if move(transfer_id, "credit", target, amount_minor):
            return "done"
        move(transfer_id, "compensate", source, amount_minor)
        return "compensated"

    def run(order: Transfer) -> Outcome:
        with SetWorkflowID(order.transfer_id):
            return transfer(*order)

    return run


def async_workflow(move: AsyncMove) -> AsyncRun:
    @DBOS.workflow(name="transfer")
    async def transfer(transfer_id: str, source: int, target: int, amount_minor: int) -> Outcome:
        if not await move(transfer_id, "debit", source, -amount_minor):
            return "refused"
        if await move(transfer_id, "credit", target, amount_minor):
            return "done"
        await move(transfer_id, "compensate", source, amount_minor)
        return "compensated"

    async def run(order: Transfer) -> Outcome:
        with SetWorkflowID(order.transfer_id):
            return await transfer(*order)

    return run


def step_threads(plan: Plan) -> Run:
    # Last in, first out: the connection that was just used is warm in PostgreSQL's caches.
    pool: queue.LifoQueue[psycopg.Connection] = queue.LifoQueue()
    for _ in range(plan.pool_size):
        pool.put(
            psycopg.connect(
                plan.url, autocommit=True, prepare_threshold=0, options=plan.session_options
            )
        )

    @DBOS.step(name="move")
    def move(transfer_id: str, leg: Leg, account: int, amount: int) -> bool:
        facts = {"transfer": transfer_id, "leg": leg, "account": account, "amount": amount}
        connection = pool.get()
        try:
            return connection.execute(MOVE_PSYCOPG, facts).rowcount == 1
        except psycopg.errors.UniqueViolation:
            return True  # done by an earlier attempt, which died before DBOS recorded it
        finally:
            pool.put(connection)

    return workflow(move)


async def step_async(plan: Plan) -> AsyncRun:
    pool = await asyncpg.create_pool(
        plan.url,
        min_size=plan.pool_size,
        max_size=plan.pool_size,
        server_settings={"synchronous_commit": plan.synchronous_commit},
    )

    @DBOS.step(name="move")
    async def move(transfer_id: str, leg: Leg, account: int, amount: int) -> bool:
        try:
            moved = await pool.fetchval(MOVE_ASYNCPG, transfer_id, leg, account, amount)
        except asyncpg.UniqueViolationError:
            return True
        return moved is not None

    return async_workflow(move)


def datasource_threads(plan: Plan) -> Run:
    datasource = SQLAlchemyDatasource.create(
        plan.url,
        engine_kwargs={
            "pool_size": plan.pool_size,
            "max_overflow": 0,
            "connect_args": {"options": plan.session_options},
        },
    )

    # One guarded statement is right in READ COMMITTED; the default, SERIALIZABLE, is slower.
    @datasource.transaction(name="move", isolation_level="READ COMMITTED")
    def move(transfer_id: str, leg: Leg, account: int, amount: int) -> bool:
        facts = {"transfer": transfer_id, "leg": leg, "account": account, "amount": amount}
        return datasource.sql_session().execute(MOVE_SQLALCHEMY, facts).first() is not None

    return workflow(move)


# --- One process of clients ---------------------------------------------------------------


def settings(plan: Plan) -> DBOSConfig:
    return {
        "name": "dbos-peer",
        "system_database_url": plan.url,
        "sys_db_pool_size": plan.pool_size,
        "db_engine_kwargs": {
            # Saves a round trip each time a connection is taken from the pool.
            "pool_pre_ping": False,
            "connect_args": {"options": plan.session_options},
        },
        "executor_id": uuid.uuid4().hex,
        "application_version": "1",
        "log_level": "ERROR",
    }


def orders(plan: Plan, count: int) -> list[Transfer]:
    chance = random.Random()
    made: list[Transfer] = []
    for _ in range(count):
        source, target = chance.sample(range(plan.accounts), 2)
        made.append(Transfer(uuid.uuid4().hex, source, target, chance.randint(1, 1_000)))
    return made


def require(outcome: Outcome, wanted: Outcome, order: Transfer) -> None:
    if outcome != wanted:
        raise PeerError(f"transfer {order.transfer_id} is {outcome}, not {wanted}")


def drive_threads(run: Run, clients: int, todo: list[Transfer]) -> list[float]:
    latencies_s: list[float] = []
    failures: list[BaseException] = []

    def client() -> None:
        try:
            while not failures:
                try:
                    order = todo.pop()
                except IndexError:
                    return
                asked_s = time.perf_counter()
                outcome = run(order)
                latencies_s.append(time.perf_counter() - asked_s)
                require(outcome, "done", order)
        except Exception as failure:  # noqa: BLE001  raised again below, in the caller's thread
            failures.append(failure)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return latencies_s


async def drive_tasks(run: AsyncRun, clients: int, todo: list[Transfer]) -> list[float]:
    latencies_s: list[float] = []

    async def client() -> None:
        while todo:
            order = todo.pop()
            asked_s = time.perf_counter()
            outcome = await run(order)
            latencies_s.append(time.perf_counter() - asked_s)
            require(outcome, "done", order)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return latencies_s


def proofs(plan: Plan) -> tuple[Transfer, Transfer]:
    """A transfer to do twice, and one whose credit is refused."""
    repeated, refused = orders(plan, 2)
    return repeated, refused._replace(target=CLOSED_ACCOUNT)


def measure_threads(plan: Plan) -> Share:
    run = step_threads(plan) if plan.variant == "step-threads" else datasource_threads(plan)
    DBOS.launch()
    warm = orders(plan, 10 * plan.clients)
    untimed = len(warm) + 1
    drive_threads(run, plan.clients, warm)
    todo = orders(plan, plan.transfers)
    start_together()
    started_s = time.monotonic()
    latencies_s = drive_threads(run, plan.clients, todo)
    ended_s = time.monotonic()
    repeated, refused = proofs(plan)
    require(run(repeated), "done", repeated)
    require(run(repeated), "done", repeated)
    require(run(refused), "compensated", refused)
    return Share(started_s, ended_s, latencies_s, untimed, compensated=1)


async def measure_tasks(plan: Plan) -> Share:
    run = await step_async(plan)
    DBOS.launch()
    warm = orders(plan, 10 * plan.clients)
    untimed = len(warm) + 1
    await drive_tasks(run, plan.clients, warm)
    todo = orders(plan, plan.transfers)
    start_together()
    started_s = time.monotonic()
    latencies_s = await drive_tasks(run, plan.clients, todo)
    ended_s = time.monotonic()
    repeated, refused = proofs(plan)
    require(await run(repeated), "done", repeated)
    require(await run(repeated), "done", repeated)
    require(await run(refused), "compensated", refused)
    return Share(started_s, ended_s, latencies_s, untimed, compensated=1)


_ready: list[Barrier] = []


def join_start(ready: Barrier) -> None:
    _ready.append(ready)


def start_together() -> None:
    _ready[0].wait(READY_TIMEOUT_S)


def work(plan: Plan) -> Share:
    DBOS(config=settings(plan))
    try:
        if plan.variant == "step-async":
            return uvloop.run(measure_tasks(plan))
        return measure_threads(plan)
    finally:
        DBOS.destroy()


def install(plan: Plan) -> None:
    """Make DBOS's tables once, so that the processes don't queue for its migration lock."""
    DBOS(config=settings(plan))
    DBOS.launch()
    DBOS.destroy()


# --- The run ------------------------------------------------------------------------------


@contextmanager
def own_database(server_url: str) -> Iterator[str]:
    name = f"dbos_peer_{uuid.uuid4().hex[:12]}"
    server = sa.make_url(server_url).set(drivername="postgresql")
    with psycopg.connect(server.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield server.set(database=name).render_as_string(hide_password=False)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def open_accounts(url: str, accounts: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute(
            "INSERT INTO accounts SELECT n, %s, %s FROM generate_series(0, %s - 1) AS n",
            (OPENING_BALANCE_MINOR, OPENING_BALANCE_MINOR, accounts),
        )
        connection.execute("INSERT INTO accounts VALUES (%s, 0, 0, true)", (CLOSED_ACCOUNT,))
        connection.execute("VACUUM ANALYZE accounts")


def verify(url: str, accounts: int, done: int, compensated: int) -> None:
    """Raise PeerError unless all transfers are done, once each, and the money is all there."""
    wanted: dict[str, tuple[LiteralString, int]] = {
        "money in the accounts, minor units": (
            "SELECT sum(balance_minor)::bigint FROM accounts",
            accounts * OPENING_BALANCE_MINOR,
        ),
        "accounts whose entries don't explain their balance": (
            """SELECT count(*) FROM accounts LEFT JOIN (
                   SELECT account_id, sum(amount_minor) AS moved FROM entries GROUP BY 1
               ) AS moves USING (account_id)
               WHERE balance_minor <> opening_minor + coalesce(moved, 0)""",
            0,
        ),
        "transfers with a debit and a credit of one amount": (
            """SELECT count(*) FROM entries AS debit JOIN entries AS credit USING (transfer_id)
               WHERE debit.leg = 'debit' AND credit.leg = 'credit'
                   AND debit.amount_minor = -credit.amount_minor""",
            done,
        ),
        "entries": ("SELECT count(*) FROM entries", 2 * (done + compensated)),
        "workflows DBOS calls successful": (
            "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'",
            done + compensated,
        ),
        "workflows": ("SELECT count(*) FROM dbos.workflow_status", done + compensated),
        "steps DBOS recorded": (
            "SELECT count(*) FROM dbos.operation_outputs",
            2 * done + 3 * compensated,
        ),
    }
    with psycopg.connect(url) as connection:
        for what, (query, expected) in wanted.items():
            row = connection.execute(query).fetchone()
            if row is None or row[0] != expected:
                raise PeerError(f"{what}: {row and row[0]}, not {expected}")


def shares_of(count: int, parts: int) -> list[int]:
    return [count // parts + (part < count % parts) for part in range(parts)]


def percentile_ms(values_s: list[float], percent: int) -> float:
    """The value that `percent` of them don't exceed (nearest rank)."""
    ranked = sorted(values_s)
    return round(1_000 * ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)], 3)


def measure(
    server_url: str,
    *,
    transfers: int,
    concurrency: int,
    accounts: int,
    variant: Variant = "step-threads",
    processes: int | None = None,
    synchronous_commit: str = "on",
) -> Report:
    """Do `transfers` from `concurrency` clients at once, spread over `processes`.

    Python's lock bounds a process, so there is one a core unless told otherwise, which is also
    how DBOS's own benchmark scales.
    """
    parts = min(processes or os.cpu_count() or 1, concurrency, transfers)
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(parts)
    with own_database(server_url) as url:
        open_accounts(url, accounts)
        plans = [
            Plan(
                url=url,
                variant=variant,
                transfers=count,
                clients=clients,
                accounts=accounts,
                # DBOS's own threads need some too, so a lone client has more than one.
                pool_size=min(clients + 4, max(2, POOLED_CONNECTIONS // parts)),
                synchronous_commit=synchronous_commit,
            )
            for count, clients in zip(
                shares_of(transfers, parts), shares_of(concurrency, parts), strict=True
            )
        ]
        with ProcessPoolExecutor(1, mp_context=context) as one:
            one.submit(install, plans[0]).result()
        with ProcessPoolExecutor(parts, context, join_start, (ready,)) as pool:
            shares = list(pool.map(work, plans))
        latencies_s = [latency_s for share in shares for latency_s in share.latencies_s]
        if len(latencies_s) != transfers:
            raise PeerError(f"{len(latencies_s)} of {transfers} transfers were timed")
        verify(
            url,
            accounts,
            done=transfers + sum(share.untimed for share in shares),
            compensated=sum(share.compensated for share in shares),
        )
    elapsed_s = max(share.ended_s for share in shares) - min(share.started_s for share in shares)
    return Report(
        transfers_per_s=round(transfers / elapsed_s, 1),
        p50_ms=round(1_000 * statistics.median(latencies_s), 3),
        p99_ms=percentile_ms(latencies_s, 99),
        completed=transfers,
        variant=variant,
        concurrency=concurrency,
        processes=parts,
        synchronous_commit=synchronous_commit,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dbos_peer")
    parser.add_argument("--database-url", required=True, help="a role that may create databases")
    parser.add_argument("--transfers", type=int, default=5_000)
    parser.add_argument("--concurrency", type=int, default=16, help="clients at once")
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--variant", choices=get_args(Variant), default="step-threads")
    parser.add_argument("--processes", type=int, help="default: one a core")
    parser.add_argument(
        "--synchronous-commit",
        choices=["on", "off"],
        default="on",
        help="off: a commit doesn't wait for the disk, as Kafka's doesn't by default",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    asked = parser.parse_args()
    if asked.transfers < 1 or asked.concurrency < 1 or asked.accounts < 2:
        parser.error("at least 1 transfer, 1 client and 2 accounts are needed")
    report = measure(
        asked.database_url,
        transfers=asked.transfers,
        concurrency=asked.concurrency,
        accounts=asked.accounts,
        variant=asked.variant,
        processes=asked.processes,
        synchronous_commit=asked.synchronous_commit,
    )
    if asked.json:
        print(json.dumps(asdict(report)))
        return
    for name, value in asdict(report).items():
        print(f"{name:20}{value}")


if __name__ == "__main__":
    main()
