"""Payouts through the HTTP bridge as a process: the endpoint fails, the bridge is killed."""

import asyncio
import os
import random
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

import pytest
from aiohttp import web

from makegood.bank import Bank
from makegood.client import Client
from participant.signing import SIGNATURE, TIMESTAMP, is_signed
from tests.makegood.test_bank import command
from tests.participant.payments import balances, payout

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

SECRET = "0123456789abcdef0123456789abcdef"


class PaymentNetwork:
    """Pays an effect once, whatever becomes of the answer; many answers get lost."""

    def __init__(self, seed: int) -> None:
        self.paid: dict[str, bytes] = {}
        self.unsigned = 0
        self.trouble = True
        self.began = asyncio.Event()
        self._rng = random.Random(seed)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = request.headers
        signed = (headers[TIMESTAMP], headers[SIGNATURE], request.method, request.raw_path, body)
        if not is_signed(SECRET.encode(), *signed, time.time()):
            self.unsigned += 1
            return web.Response(status=401)
        effect_id = headers["Idempotency-Key"]
        if request.method == "GET":
            assert unquote(request.raw_path.rpartition("/")[2]) == effect_id
            known = effect_id in self.paid
            status = "applied" if known else "never_came"
            return web.json_response(
                {"effect_id": effect_id, "status": status}, status=200 if known else 404
            )
        luck = self._rng.random() if self.trouble else 1.0
        if luck < 0.1:
            return web.Response(status=500)
        assert self.paid.setdefault(effect_id, body) == body, "one key, one body"
        self.began.set()
        if luck < 0.2:
            await asyncio.sleep(3)
        if luck < 0.3:
            return web.Response(status=200, body=b"<html>")
        return web.json_response({"effect_id": effect_id, "status": "applied"})


@asynccontextmanager
async def serving(network: PaymentNetwork) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", network.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/payouts"
    await runner.cleanup()


async def bridge(bank: Bank, url: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "makegood", "run", "payout-bridge"),
        env={
            **os.environ,
            **bank.environment,
            "MAKEGOOD_PAYOUT_URL": url,
            "MAKEGOOD_PAYOUT_SECRET": SECRET,
            "MAKEGOOD_PAYOUT_TIMEOUT_S": "0.5",
            "MAKEGOOD_INSTANCE": "bridge",
        },
        stderr=asyncio.subprocess.DEVNULL,
    )


async def test_an_endpoint_that_fails_and_a_bridge_that_is_killed_pay_nothing_twice(bank: Bank):
    network = PaymentNetwork(7)
    async with (
        serving(network) as url,
        Client(bank.url, connections=40, patience_s=150) as client,
    ):
        before = await balances(client, bank)
        first = await bridge(bank, url)
        paying = [
            asyncio.create_task(client.transfer(f"http-{n}", payout(n + 1))) for n in range(20)
        ]
        try:
            async with asyncio.timeout(60):
                await network.began.wait()
        finally:
            first.kill()
            await first.wait()
        second = await bridge(bank, url)
        try:
            async with asyncio.timeout(90):
                while len(network.paid) < 10:
                    await asyncio.sleep(0.05)
            network.trouble = False
            ends = await asyncio.gather(*paying)
        finally:
            second.terminate()
            assert await asyncio.wait_for(second.wait(), 40) == 0
        after = await balances(client, bank)
    assert {end.state for end in ends} == {"completed"}
    assert len(network.paid) == 20
    assert network.unsigned == 0
    total = sum(range(1, 21))
    assert after == (before[0] - total, 0, before[2] + total)


async def test_a_bridge_without_an_address_says_which_setting_is_missing(bank: Bank):
    status, said = await command("run", "payout-bridge", **bank.environment)
    assert status == 2, said
    assert "MAKEGOOD_PAYOUT_URL" in said
    assert "Traceback" not in said
