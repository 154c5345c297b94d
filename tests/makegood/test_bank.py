"""The whole bank as processes on the real Kafka and PostgreSQL: killed under load, then audited.

What a client was told must be what the books say, whoever died in between.
"""

import asyncio
import os
import random
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.report import Report
from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import Entry, Place
from makegood.auditing import audit_at_rest
from makegood.bank import Bank, Corner, own_database
from makegood.client import Client, Transfer
from read_model import database
from tests.conftest import Addresses

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

ACCOUNTS = [f"acc-{number}" for number in range(20)]
OPENING_MINOR = 100_000


@pytest.fixture(scope="module")
async def bank(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    corner = f"bank_{uuid.uuid4().hex[:8]}"
    url = await own_database(stack.database_url, corner)
    where = Corner(stack.bootstrap, url, f"{corner}-")
    settings = {"partitions": "2"}
    async with Bank(where, tmp_path_factory.mktemp("logs"), settings=settings) as running:
        async with Client(running.url, connections=20) as client:
            for name in ACCOUNTS:
                await client.order("/accounts", f"open-{name}", {"id": name, "currency": "EUR"})
                money = {"amount_minor": OPENING_MINOR, "currency": "EUR"}
                await client.order(f"/accounts/{name}/deposits", f"fund-{name}", money)
        yield running


async def audited(bank: Bank) -> Report:
    return await audit_at_rest(bank.corner)


async def pay(client: Client, count: int, seed: int) -> dict[str, str]:
    """Key -> the end that the client was told."""
    rng = random.Random(seed)
    told: dict[str, str] = {}
    orders = iter(range(count))

    async def one() -> None:
        for number in orders:
            source, target = rng.sample(ACCOUNTS, 2)
            amount = rng.choice((1, 50, OPENING_MINOR * 100))
            body = {
                "source": source,
                "target": target,
                "amount_minor": amount,
                "currency": "EUR",
                "definition": rng.choice(("transfer", "reserved_transfer")),
            }
            key = f"{seed}-{number}"
            transfer = await client.transfer(key, body)
            told[key] = transfer.state
            if number % 10 == 0:
                again = await client.transfer(key, body)
                assert (again.id, again.state) == (transfer.id, transfer.state)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(one())
    return told


@pytest.mark.parametrize("role", ["orchestrator", "account-service", "projector", "api"])
async def test_a_role_killed_under_load_loses_and_doubles_nothing(bank: Bank, role: str):
    name = f"{role}-0"
    async with Client(bank.url, connections=20, patience_s=90) as client:
        paying = asyncio.create_task(pay(client, 400, seed=hash_of(role)))
        await asyncio.sleep(0.4)
        assert not paying.done(), "the load must still be there when the role dies"
        await bank.kill(name)
        await asyncio.sleep(0.5)
        bank.revive(name)
        told = await paying
        assert len(told) == 400
        assert set(told.values()) <= {"completed", "compensated"}
        report = await audited(bank)
    assert report.violations == []
    assert report.counts.in_flight == 0
    assert report.totals["EUR"].balances == OPENING_MINOR * len(ACCOUNTS)


async def test_reversals_that_race_while_claims_is_killed_give_back_what_was_moved_and_no_more(
    bank: Bank,
):
    async with Client(bank.url, connections=20, patience_s=90) as client:
        money = {"amount_minor": 1_000, "currency": "EUR"}
        originals: list[Transfer] = []
        for number in range(4):
            move = {"source": ACCOUNTS[number], "target": ACCOUNTS[-1], **money}
            originals.append(await client.transfer(f"reversed-{number}", move))

        async def reverse(original: Transfer, number: int) -> tuple[Transfer, int]:
            body = {"definition": "reversal", "original": original.id, "amount_minor": 300}
            key = f"{original.id}-{number}"
            told = await client.transfer(key, body, original.as_of)
            assert (await client.transfer(key, body, original.as_of))[:3] == told[:3]
            assert told.state == "completed" or told.reason == "limit_exceeded"
            return original, 300 if told.state == "completed" else 0

        racing = [
            asyncio.create_task(reverse(original, number))
            for number in range(5)
            for original in originals
        ]
        await bank.kill("claims-0")
        await asyncio.sleep(0.5)
        bank.revive("claims-0")
        given_back = dict.fromkeys(originals, 0)
        for original, amount in await asyncio.gather(*racing):
            given_back[original] += amount
        assert set(given_back.values()) == {900}
        assert await reversed_by_hand(bank, originals[0].id, 100) == (0, "completed")
        assert await reversed_by_hand(bank, originals[0].id, 1) == (1, "limit_exceeded")
        report = await audited(bank)
    assert report.violations == []
    assert report.counts.in_flight == 0


async def reversed_by_hand(bank: Bank, transfer: str, amount_minor: int) -> tuple[int, str]:
    """The exit status, and the end or the reason that the command line tells."""
    asked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "makegood", "transfer", "reverse", transfer, str(amount_minor)),
        *("--api", bank.url),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asked.communicate()
    word = re.search(r"limit_exceeded|completed", said.decode())
    return asked.returncode or 0, word[0] if word else said.decode()


def hash_of(role: str) -> int:
    return sum(role.encode())


async def test_a_process_that_dies_by_itself_is_brought_back(bank: Bank):
    watching = asyncio.create_task(bank.watch())
    child = bank.child("orchestrator-0")
    before = child.pid
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(20):
        while not (child.running and child.pid != before):
            await asyncio.sleep(0.05)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    async with Client(bank.url, patience_s=90) as client:
        assert set((await pay(client, 5, seed=7)).values()) <= {"completed", "compensated"}


async def test_a_payroll_whose_engine_is_killed_pays_each_of_2000_legs_once(bank: Bank):
    targets = [*ACCOUNTS[1:], "nobody-there"]
    body = {
        "definition": "payroll",
        "source": ACCOUNTS[0],
        "amount_minor": 2_000,
        "currency": "EUR",
        "legs": [{"target": targets[n % 20], "amount_minor": 1} for n in range(2_000)],
    }
    async with Client(bank.url, patience_s=90) as client:
        paying = asyncio.create_task(client.transfer("payroll-2000", body))
        await asyncio.sleep(0.1)
        assert not paying.done(), "there must be legs left when the engine dies"
        await bank.kill("orchestrator-0")
        bank.revive("orchestrator-0")
        transfer = await paying
        report = await audited(bank)
        saga = await client.get(f"/sagas/{transfer.id}")
    assert (transfer.state, transfer.reason) == ("completed", "partial")
    (pay,) = (step for step in saga["steps"] if step["name"] == "pay")
    assert pay["result"] == {"applied": 1_900, "refused": 100, "refused_minor": 100}
    assert (report.violations, report.counts.in_flight) == ([], 0)
    assert report.totals["EUR"].balances == OPENING_MINOR * len(ACCOUNTS)


async def test_standing_orders_whose_engine_dies_as_they_come_due_are_each_paid_once(bank: Bank):
    due = datetime.now(UTC) + timedelta(seconds=75)
    due = due.replace(second=0, microsecond=0)
    given = ("--every", "day", "--first", f"{due:%Y-%m-%d}", "--at", f"{due:%H:%M}", "--times", "3")
    ends: list[tuple[str, str, str]] = []
    async with Client(bank.url, connections=20, patience_s=90) as client:

        async def ask(number: int) -> str:
            body = {
                "definition": "standing_order",
                "source": ACCOUNTS[number],
                "target": ACCOUNTS[number - 1],
                "amount_minor": OPENING_MINOR * 100 if number % 4 == 3 else 7,
                "currency": "EUR",
                "first": f"{due:%Y-%m-%d}",
                "every": "day",
                "at": f"{due:%H:%M}",
                "zone": "UTC",
                "times": 3,
            }
            return (await client.transfer(f"standing-{number}", body)).id

        orders = await asyncio.gather(*map(ask, range(20)))
        # The same order as that of the API: no second one.
        words = ("transfer", "standing", ACCOUNTS[0], ACCOUNTS[-1], "7", "EUR", *given)
        status, said = await command(*words, "--key", "standing-0", MAKEGOOD_API_URL=bank.url)
        assert (status, orders[0] in said, f"{due.isoformat()}: waiting" in said) == (0, True, True)
        await asyncio.sleep((due - datetime.now(UTC)).total_seconds() + 0.02)
        await bank.kill("orchestrator-0")
        bank.revive("orchestrator-0")
        for saga in orders:
            async with asyncio.timeout(60):
                while (found := await client.get(f"/sagas/{saga}"))["step"] != "pay.1":
                    await asyncio.sleep(0.1)
            (pay,) = found["steps"]
            assert pay["legs"]["applied"] + pay["legs"]["refused"] <= 1
        for saga in orders:
            word = {"who": "ann", "why": "moved out"}
            await client.order(f"/sagas/{saga}/cancel", f"cancel-{saga}", word)
        report = await audited(bank)
        for saga in orders:
            page = await client.get(f"/sagas/{saga}/legs?step=pay")
            ends.append(tuple(leg["reason"] or leg["state"] for leg in page["legs"]))
    paid, refused = ("succeeded", "cancelled", "cancelled"), "insufficient_funds"
    assert ends == [(refused, *paid[1:]) if n % 4 == 3 else paid for n in range(20)]
    assert (report.violations, report.counts.in_flight) == ([], 0)
    assert report.totals["EUR"].balances == OPENING_MINOR * len(ACCOUNTS)


async def test_two_processes_of_a_role_share_the_work(bank: Bank, tmp_path: Path):
    """A second owner of each service joins and leaves while money moves."""
    logs = {role: tmp_path / f"{role}.log" for role in ("orchestrator", "account-service")}

    def opened() -> bool:
        return all("partition_opened" in log.read_text() for log in logs.values())

    async with Client(bank.url, connections=20, patience_s=90) as client:
        children = []
        for role, log in logs.items():
            with log.open("w") as out:
                children.append(
                    await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "makegood", "run", role),
                        env={
                            **os.environ,
                            **bank.environment,
                            "MAKEGOOD_INSTANCE": f"{role}-second",
                        },
                        stderr=out,
                    )
                )
        told: dict[str, str] = {}
        async with asyncio.timeout(120):
            while not opened():
                told |= await pay(client, 100, seed=1000 + len(told))
        told |= await pay(client, 200, seed=11)
        paying = asyncio.create_task(pay(client, 200, seed=12))
        for child in children:
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 20) == 0
        told |= await paying
    assert set(told.values()) <= {"completed", "compensated"}
    assert (await audited(bank)).violations == []


async def test_records_that_are_not_ours_are_put_aside_and_nothing_stops(bank: Bank):
    log = KafkaLog(KafkaAddress(bootstrap=bank.corner.bootstrap, prefix=bank.corner.prefix))
    await log.connect(30)
    _, before = await log.bounds(Place("deadletter", 0))
    writer = log.writer()
    junk = [
        Entry(b"k", b"\xff\x00 not json"),
        Entry(None, None),
        Entry(b"k", b'{"type":"saga.Unheard.v1"}'),
        Entry(b"k", b'{"type":"account.Debit.v1","amount_minor":-5}', (("ce_sequence", b"x"),)),
    ]
    for topic in ("orchestrator.input", "account.input"):
        for partition in range(2):
            await writer.append(Place(topic, partition), junk)
    # The same on the journals: without an epoch they are void for everybody.
    for topic in ("orchestrator.journal", "account.journal"):
        await writer.append(Place(topic, 0), junk)
    await writer.close()
    async with Client(bank.url, patience_s=60) as client:
        assert set((await pay(client, 50, seed=21)).values()) <= {"completed", "compensated"}
    async with asyncio.timeout(20):
        while (await log.bounds(Place("deadletter", 0)))[1] < before + 16:
            await asyncio.sleep(0.05)
    await log.close()
    report = await audited(bank)
    assert report.violations == []
    assert report.counts.void >= 8


async def command(*arguments: str, **more: str) -> tuple[int, str]:
    """Exit status and output of `makegood ...`."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "makegood", *arguments),
        env={**os.environ, "COLUMNS": "160", **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(child.communicate(), 120)
    return child.returncode or 0, out.decode()


async def test_a_file_is_submitted_twice_and_moves_once(bank: Bank, tmp_path: Path):
    at = {"MAKEGOOD_API_URL": bank.url}
    for name in ("file-a", "file-b"):
        assert (await command("account", "open", "EUR", "--id", name, **at))[0] == 0
    assert (await command("account", "deposit", "file-a", "1000", "EUR", **at))[0] == 0
    file = tmp_path / "transfers.csv"
    file.write_text(
        "source,target,amount_minor,currency\n"
        "file-a,file-b,100,EUR\nfile-a,file-b,100,EUR\nfile-a,file-b,x,EUR\n"
        "file-a,nobody,5,EUR\nfile-a,file-a,5,EUR\n"
    )
    results = tmp_path / "results.ndjson"
    for _ in range(2):
        status, said = await command(
            "transfer", "submit", str(file), "--report", str(results), **at
        )
        assert status == 1, said
        assert "account_unknown" in said
    outcomes = [
        line.split('"outcome":"')[1].split('"')[0] for line in results.read_text().splitlines()
    ]
    assert sorted(outcomes) == ["broken", "compensated", "completed", "completed", "refused"]
    status, said = await command("account", "show", "file-b", **at)
    assert "2.00 EUR" in said, said
    status, said = await command("transfer", "start", "file-b", "file-a", "50", "EUR", **at)
    assert (status, "completed" in said) == (0, True), said
    status, said = await command("transfer", "start", "file-b", "file-a", "5000000", "EUR", **at)
    assert (status, "insufficient_funds" in said) == (1, True), said


async def test_a_saga_is_followed_to_its_end(bank: Bank):
    body = {
        "definition": "scheduled_transfer",
        "source": ACCOUNTS[0],
        "target": ACCOUNTS[1],
        "amount_minor": 1,
        "currency": "EUR",
        "execute_at": "2999-01-01T00:00:00Z",
    }
    async with Client(bank.url) as client:
        saga = await client.transfer("followed", body)
        assert saga.reason == "waiting"
        following = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "makegood", "saga", "show", saga.id, "--follow"),
            env={**os.environ, "COLUMNS": "160", "MAKEGOOD_API_URL": bank.url},
            stdout=asyncio.subprocess.PIPE,
        )
        assert following.stdout is not None
        async with asyncio.timeout(30):
            while b" waits, " not in (line := await following.stdout.readline()):
                assert line, "it ended before the saga did"
        order = {"who": "ann", "why": "ticket 7"}
        await client.order(f"/sagas/{saga.id}/cancel", "cancel-followed", order)
        rest, _ = await asyncio.wait_for(following.communicate(), 30)
    assert following.returncode == 0
    assert b"cancel by ann: ticket 7" in rest
    assert b"compensated: cancelled" in rest


async def test_the_audit_command_says_yes_and_after_tampering_no(bank: Bank):
    async with Client(bank.url) as client:
        await pay(client, 3, seed=31)
    await audited(bank)
    status, said = await command("audit", **bank.environment)
    assert status == 0, said
    assert "The books are right" in said
    engine = database.engine(bank.corner.database_url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE accounts SET balance_minor = balance_minor + 1"))
    status, said = await command("audit", **bank.environment)
    assert status == 1, said
    assert "NOT right" in said
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE accounts SET balance_minor = balance_minor - 1"))
    await engine.dispose()
    status, said = await command("audit", "--json", "--no-database", **bank.environment)
    assert (status, '"ok": true' in said) == (0, True), said


async def test_what_cannot_run_says_why_in_one_line(bank: Bank):
    nowhere = {"MAKEGOOD_KAFKA_BOOTSTRAP": "127.0.0.1:1", "MAKEGOOD_START_TIMEOUT_S": "1"}
    for arguments, environment, told in (
        (("audit",), nowhere, "MAKEGOOD_KAFKA_BOOTSTRAP"),
        (("run", "orchestrator"), nowhere, "did not answer within 1 s"),
        (("run", "api"), {"MAKEGOOD_PARTITIONS": "zero"}, "MAKEGOOD_PARTITIONS"),
        (
            ("run", "orchestrator"),
            {"MAKEGOOD_SAGA_MEMORY_DAYS": "7"},
            "MAKEGOOD_SAGA_MEMORY_DAYS",
        ),
        (
            ("run", "orchestrator"),
            {**bank.environment, "MAKEGOOD_PARTITIONS": "3"},
            "has 2 partitions instead of the 3",
        ),
        (("run", "api"), bank.environment, "MAKEGOOD_API_PORT"),
    ):
        status, said = await command(*arguments, **environment)
        assert status == 2, said
        assert told in said
        assert "Traceback" not in said
