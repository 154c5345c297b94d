"""`make bench`: Makegood, DBOS and the limit, measured in turn on one machine in one run.

Rounds are interleaved, so that whatever else the machine does falls on all alike. Our median is
compared with DBOS's best round and with the limit's median. A figure is only given when its work
was checked: every transfer completed, the books audited, the money conserved.

Writes `benchmarks/results/latest.json`.

- throughput: Makegood as it runs in production (all roles as processes, the read model kept up),
  transfers started through Kafka; DBOS, its fastest variant, called in its own processes;
- the limit: the same records, in number and size, through bare aiokafka in one process;
- over HTTP, with `Prefer: wait`: many clients; and the latency of one alone, from the request to
  the answer.
"""

import argparse
import asyncio
import logging
import platform
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from account_service.service import TOPICS as ACCOUNT
from benchmarks.limit import RecordShape
from benchmarks.load import account_names, gateway, open_accounts, over_http, through_kafka
from devstack.stack import Stack
from journal.kafka_log import KafkaAddress, KafkaLog
from journal.log import Place
from makegood.auditing import audit_at_rest
from makegood.bank import Bank, Corner, own_database
from makegood.roles import collect_rarely
from orchestrator.service import TOPICS as ORCHESTRATOR

RESULTS = Path(__file__).parent / "results" / "latest.json"
PARTITIONS = 2
CONCURRENCY = 2048
# As the limit does, before a clock is started: until Java has compiled the broker's code, which
# takes an eighth of both cores.
WARM_UP_TRANSFERS = 60_000
ACCOUNTS = 1_000
HTTP_CLIENTS = 256

console = Console()


class Wrong(Exception):
    """What was measured is not right, so there is no figure."""


async def main(rounds: int, transfers: int, dbos_transfers: int, alone: int) -> None:
    began = time.monotonic()
    data = Path(__file__).parent.parent / ".makegood" / "bench"
    async with Stack(data, lasting=True, fresh=True, announce=console.print) as stack:
        url = await own_database(stack.database_url, "makegood_bench")
        corner = Corner(stack.bootstrap, url, "bench-")
        settings = {"partitions": str(PARTITIONS)}
        ours: list[float] = []
        theirs: list[float] = []
        limits: list[float] = []
        https: list[float] = []
        p50s: list[float] = []
        p99s: list[float] = []
        names = account_names(ACCOUNTS)
        shape: list[RecordShape] = []
        async with Bank(corner, stack.data_dir / "log", settings=settings) as bank:
            async with gateway(corner, PARTITIONS) as gate:
                await open_accounts(gate, names)
                before = await _ends(corner)
                await through_kafka(gate, names, WARM_UP_TRANSFERS, CONCURRENCY, seed=0)
                shape = await _shape(corner, before, WARM_UP_TRANSFERS)
                for clients in (1, HTTP_CLIENTS):
                    await over_http(bank.url, names, alone, 0, clients=clients)
            console.print("warmed up")
            for number in range(1, rounds + 1):
                async with gateway(corner, PARTITIONS) as gate:
                    load = await through_kafka(gate, names, transfers, CONCURRENCY, number)
                ours.append(load.transfers_per_s)
                single = await over_http(bank.url, names, alone, number)
                p50s.append(single.percentile_ms(50))
                p99s.append(single.percentile_ms(99))
                many = await over_http(
                    bank.url, names, transfers // 4, number, clients=HTTP_CLIENTS
                )
                https.append(many.transfers_per_s)
                # The bank's processes are at rest meanwhile, waiting in a poll.
                theirs.append(await _dbos(stack.database_url, dbos_transfers))
                limits.append(await _limit(stack.bootstrap, transfers, shape, data))
                console.print(
                    f"round {number}: Makegood {ours[-1]:,.0f}/s, DBOS {theirs[-1]:,.0f}/s, limit "
                    f"{limits[-1]:,.0f}/s; over HTTP {https[-1]:,.0f}/s, "
                    f"one client p50 {p50s[-1]:.1f} ms, p99 {p99s[-1]:.1f} ms"
                )
            await _proved(corner)
    result = {
        "transfers_per_s": round(statistics.median(ours), 1),
        "dbos_transfers_per_s": round(statistics.median(theirs), 1),
        "limit_transfers_per_s": round(statistics.median(limits), 1),
        # Against its best round: what slowed it in the others is not its fault.
        "ratio_to_dbos": round(statistics.median(ours) / max(theirs), 2),
        "ratio_to_limit": round(statistics.median(ours) / statistics.median(limits), 3),
        "http_transfers_per_s": round(statistics.median(https), 1),
        "p50_ms_one_client": round(statistics.median(p50s), 2),
        "p99_ms_one_client": round(statistics.median(p99s), 2),
        "rounds": {
            "transfers_per_s": [round(x, 1) for x in ours],
            "dbos_transfers_per_s": [round(x, 1) for x in theirs],
            "limit_transfers_per_s": [round(x, 1) for x in limits],
            "http_transfers_per_s": [round(x, 1) for x in https],
            "p50_ms_one_client": [round(x, 2) for x in p50s],
            "p99_ms_one_client": [round(x, 2) for x in p99s],
        },
        "how": {
            "transfers": transfers,
            "clients": CONCURRENCY,
            "http_clients": HTTP_CLIENTS,
            "partitions": PARTITIONS,
            "accounts": ACCOUNTS,
            "dbos_transfers": dbos_transfers,
            "one_client_transfers": alone,
            "records_per_transfer": round(sum(kind["per_transfer"] for kind in shape), 2),
            "python": platform.python_version(),
            "took_s": round(time.monotonic() - began),
        },
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    _show(result)


async def _dbos(server_url: str, transfers: int) -> float:
    url = server_url.replace("+asyncpg", "")
    found = await _peer("dbos_peer", "--transfers", str(transfers), "--database-url", url)
    return found["transfers_per_s"]


async def _limit(bootstrap: str, transfers: int, shape: list[RecordShape], folder: Path) -> float:
    file = folder / "shape.json"
    file.write_bytes(msgspec.json.encode(shape))
    found = await _peer(
        "limit",
        *("--bootstrap", bootstrap, "--transfers", str(transfers), "--shape", str(file)),
        *("--partitions", str(PARTITIONS), "--rounds", "1"),
    )
    return found["limit_transfers_per_s"]


async def _peer(module: str, *arguments: str) -> dict[str, Any]:
    """In a process of its own: its threads and locks would be in our way, and what we do to our
    Kafka client in its."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"benchmarks.{module}", "--json", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    if child.returncode != 0:
        raise Wrong(f"{module} ended with status {child.returncode}")
    return msgspec.json.decode(out.splitlines()[-1], type=dict[str, Any])


async def _ends(corner: Corner) -> dict[Place, int]:
    log = KafkaLog(KafkaAddress(bootstrap=corner.bootstrap, prefix=corner.prefix))
    await log.connect(30)
    try:
        places = [
            Place(topic, partition)
            for topic in (
                *(ACCOUNT.input, ACCOUNT.journal, ACCOUNT.answers),
                *(ORCHESTRATOR.input, ORCHESTRATOR.journal, ORCHESTRATOR.answers),
            )
            for partition in range(PARTITIONS)
        ]
        return {place: (await log.bounds(place))[1] for place in places}
    finally:
        await log.close()


async def _shape(corner: Corner, since: dict[Place, int], transfers: int) -> list[RecordShape]:
    """The records that the transfers cost, by topic and size: what the limit is measured with."""
    until = await _ends(corner)
    log = KafkaLog(KafkaAddress(bootstrap=corner.bootstrap, prefix=corner.prefix))
    seen: Counter[tuple[str, int, int, tuple[tuple[str, int], ...]]] = Counter()
    reader = log.reader(since)
    left = sum(until[place] - since[place] for place in since)
    try:
        while left > 0:
            for place, records in (await reader.read(5000, 1000)).items():
                for record in records:
                    if record.offset >= until[place]:
                        continue
                    left -= 1
                    # To the nearest 16 bytes: sizes differ with the digits of numbers.
                    size = (len(record.value or b"") + 8) // 16 * 16
                    headers = tuple((name, len(value)) for name, value in record.headers)
                    seen[place.topic, len(record.key or b""), size, headers] += 1
    finally:
        await reader.close()
    return [
        RecordShape(
            topic=topic,
            key_bytes=key,
            value_bytes=value,
            headers=list(headers),
            per_transfer=count / transfers,
        )
        for (topic, key, value, headers), count in seen.items()
    ]


async def _proved(corner: Corner) -> None:
    """Raises Wrong unless the audit finds nothing, the read model included."""
    report = await audit_at_rest(corner, wait_s=60)
    if not report.ok or report.counts.in_flight:
        raise Wrong(f"the audit found {report.violation_count} violations")
    console.print(f"audited: {report.counts.records:,} records, {report.counts.sagas}")


def _show(result: dict[str, Any]) -> None:
    table = Table(title="Medians", title_justify="left", show_header=False)
    for name in (
        "transfers_per_s",
        "dbos_transfers_per_s",
        "limit_transfers_per_s",
        "ratio_to_dbos",
        "ratio_to_limit",
        "http_transfers_per_s",
        "p50_ms_one_client",
        "p99_ms_one_client",
    ):
        table.add_row(name, f"{result[name]:,}")
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transfers", type=int, default=40_000)
    parser.add_argument("--dbos-transfers", type=int, default=3_000)
    parser.add_argument("--alone", type=int, default=1_000, help="transfers of the lone client")
    asked = parser.parse_args()
    # A topic just made has no leader for a moment; what does not mend ends in an error of its own.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # As the API's process does, whose place the clients take.
    collect_rarely()
    uvloop.run(main(asked.rounds, asked.transfers, asked.dbos_transfers, asked.alone))
