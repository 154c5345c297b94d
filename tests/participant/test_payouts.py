"""Participants on the real stack: the bank as processes, and a participant beside it or in the
engine's own process."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from devstack import ports
from journal.kafka_log import KafkaAddress
from makegood.bank import Bank
from makegood.client import ApiError, Client
from makegood.engine import InProcess, run_engine
from makegood.settings import Settings
from messages.participants import PAYOUTS
from messages.payout import SendPayout
from participant import Applied, Declined, Outcome, Unknown, serve
from participant.serving import HandlersIncomplete
from tests.participant.payments import balances, payout

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

DOCS = Path(__file__).parents[2] / "docs" / "participants.md"
BESIDE, IN_PROCESS = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


@contextlib.asynccontextmanager
async def provider(
    bank: Bank,
    send: Callable[[SendPayout], Awaitable[Outcome]],
    enquire: Callable[[SendPayout], Awaitable[Outcome]] | None = None,
) -> AsyncIterator[None]:
    kafka = KafkaAddress(bootstrap=bank.corner.bootstrap, prefix=bank.corner.prefix)
    enquiries = {SendPayout: enquire} if enquire else None
    serving = asyncio.create_task(
        serve(kafka, PAYOUTS, {SendPayout: send}, enquiries, instance="provider")
    )
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_an_applied_payout_moves_the_money_to_the_settlement_account_once(bank: Bank):
    sent: list[str] = []

    async def send(command: SendPayout) -> Outcome:
        sent.append(command.effect_id)
        return Applied({"network_reference": f"N{len(sent)}"})

    async with Client(bank.url, connections=20, patience_s=90) as client:
        before = await balances(client, bank)
        async with provider(bank, send):
            ends = await asyncio.gather(
                *(client.transfer(f"applied-{n}", payout()) for n in range(20))
            )
        assert {end.state for end in ends} == {"completed"}
        assert len(sent) == len(set(sent)) == 20
        after = await balances(client, bank)
    assert after == (before[0] - 20_000, 0, before[2] + 20_000)


async def test_a_declined_payout_gives_the_money_back(bank: Bank):
    async def send(command: SendPayout) -> Outcome:
        return Declined("creditor_account_closed")

    async with Client(bank.url, patience_s=90) as client:
        before = await balances(client, bank)
        async with provider(bank, send):
            end = await client.transfer("declined", payout())
        assert (end.state, end.reason) == ("compensated", "creditor_account_closed")
        assert await balances(client, bank) == before


async def test_an_unknown_outcome_is_enquired_after_and_the_payout_is_not_sent_again(bank: Bank):
    sent: list[int] = []
    asked: list[int] = []

    async def send(command: SendPayout) -> Outcome:
        sent.append(command.attempt)
        return Unknown("the line went dead")

    async def enquire(command: SendPayout) -> Outcome:
        asked.append(command.attempt)
        return Unknown("still being looked for") if len(asked) == 1 else Applied()

    async with Client(bank.url, patience_s=90) as client:
        before = await balances(client, bank)
        async with provider(bank, send, enquire):
            end = await client.transfer("unknown", payout())
        assert end.state == "completed"
        assert (len(sent), len(asked)) == (1, 2)
        after = await balances(client, bank)
    assert after == (before[0] - 1_000, 0, before[2] + 1_000)


async def test_a_participant_that_is_away_delays_payouts_and_nothing_else(bank: Bank):
    async def send(command: SendPayout) -> Outcome:
        return Applied()

    async with Client(bank.url, connections=20, patience_s=90) as client:
        before = await balances(client, bank)
        waiting = asyncio.create_task(client.transfer("away", payout()))
        transfer = {
            "source": "alice",
            "target": "settlement-eur",
            "amount_minor": 1,
            "currency": "EUR",
        }
        async with asyncio.timeout(20):
            end = await client.transfer("beside", transfer)
        assert end.state == "completed"
        assert not waiting.done()
        async with provider(bank, send):
            assert (await waiting).state == "completed"
        after = await balances(client, bank)
    assert after == (before[0] - 1_001, 0, before[2] + 1_001)


async def test_a_currency_without_a_settlement_account_is_refused_before_anything_moves(bank: Bank):
    async with Client(bank.url) as client:
        with pytest.raises(ApiError, match="must be one of EUR"):
            await client.transfer("usd", payout(currency="USD"))


async def started(script: Path, environment: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", script),
        env={**os.environ, "PYTHONPATH": str(DOCS.parents[1]), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # Who started these tests in the background may ignore it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def test_the_participant_in_the_docs_does_what_it_says(bank: Bank, tmp_path: Path):
    address = 'bootstrap="127.0.0.1:9092"'
    assert address in BESIDE
    corner = bank.corner
    script = tmp_path / "provider.py"
    script.write_text(
        BESIDE.replace(address, f'bootstrap="{corner.bootstrap}", prefix="{corner.prefix}"')
    )
    child = await started(script, {})
    try:
        async with Client(bank.url, patience_s=90) as client:
            assert (await client.transfer("docs", payout())).state == "completed"
            abroad = await client.transfer("docs-abroad", payout(creditor_account="FR7630006"))
            assert (abroad.state, abroad.reason) == ("compensated", "country_not_served")
    finally:
        child.send_signal(signal.SIGINT)
        said, _ = await asyncio.wait_for(child.communicate(), 40)
    assert said.count(b"paying 1000 EUR") == 1


async def test_handlers_that_do_not_fit_end_the_engine_at_its_start(bank: Bank):
    corner = bank.corner
    settings = Settings(
        kafka_bootstrap=corner.bootstrap, topic_prefix=corner.prefix, partitions=2, instance="none"
    )
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(30):
            await run_engine(settings, [InProcess(PAYOUTS, {})])
    assert raised.group_contains(HandlersIncomplete, match="no handler for SendPayout")


async def test_a_program_that_dies_in_its_handler_hears_the_same_effect_again_and_pays_once(
    bank: Bank, tmp_path: Path
):
    """The program in the docs takes the orchestrator's place."""
    reply = "    return Applied()\n"
    assert reply in IN_PROCESS
    # The deed is done, and the outcome never told.
    (dies := tmp_path / "dies.py").write_text(
        IN_PROCESS.replace(reply, "    await asyncio.Event().wait()\n" + reply)
    )
    (lives := tmp_path / "lives.py").write_text(IN_PROCESS)
    (port,) = ports.choose(1)
    own = {"MAKEGOOD_API_PORT": str(port), "MAKEGOOD_INSTANCE": "orchestrator-0"}
    purchase = {
        "definition": "purchase",
        "source": "alice",
        "target": "settlement-eur",
        "amount_minor": 250,
        "currency": "EUR",
    }
    async with (
        Client(bank.url, patience_s=90) as bank_client,
        Client(f"http://127.0.0.1:{port}", patience_s=90) as client,
    ):
        before = await balances(bank_client, bank)
        await bank.kill("orchestrator-0")
        first = await started(dies, {**bank.environment, **own})
        assert first.stdout is not None
        paying = asyncio.create_task(client.transfer("purchase", purchase))
        async with asyncio.timeout(60):
            while b" points for " not in (deed := await first.stdout.readline()):
                assert deed, "the program ended"
        first.kill()
        await first.wait()
        second = await started(lives, {**bank.environment, **own})
        end = await paying
        again = await client.transfer("purchase", purchase)
        second.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(second.communicate(), 40)
        bank.revive("orchestrator-0")
        after = await balances(bank_client, bank)
    assert (end.state, again.id, second.returncode) == ("completed", end.id, 0)
    assert deed.startswith(b"250 points for alice as ")
    assert said.count(b" points for ") == said.count(deed) == 1, "again, under the same effect id"
    assert after == (before[0] - 250, 0, before[2] + 250)
