"""The dashboard in a real browser: what operators see and do, and what strangers can't.

Needs Chromium or Chrome on the machine, or what `playwright install chromium` brings; skipped where
there is neither.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import uvicorn
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from api.streams import Streams
from saga_definitions.timetable import Timetable
from tests.api.bank import Bank

HOSTILE = "\"'><img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A page that is slow asks rarely, and so may a busy machine.
expect.set_options(timeout=20_000)
_time = re.compile(r"\d{4}-\d\d-\d\dT")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = next(filter(None, map(shutil.which, _BROWSERS)), None)
        path = found or playwright.chromium.executable_path
        if shutil.which(path) is None:
            pytest.skip(
                "no browser: install Chromium (apt-get install chromium, playwright install "
                "chromium) to test the dashboard"
            )
        running = await playwright.chromium.launch(executable_path=path)
        yield running
        await running.close()


@asynccontextmanager
async def opened(
    browser: Browser, bank: Bank, path: str = "", *, expected: str = "-"
) -> AsyncGenerator[Page]:
    """The dashboard of `bank` at `#path`; fails when the browser complains of anything but what is
    `expected`."""
    server = uvicorn.Server(uvicorn.Config(bank.app, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    page = await browser.new_page(base_url=f"http://127.0.0.1:{port}")
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    try:
        await page.goto(f"/dashboard#{path}")
        await expect(page.locator("h1")).to_be_visible()
        yield page
        assert [text for text in complaints if expected not in text] == []
        assert await page.evaluate("window.pwned") is None
    finally:
        await page.close()
        server.should_exit = True
        await serving


async def axe_finds_nothing(page: Page) -> None:
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


async def test_the_browser_is_led_to_the_page_and_may_load_nothing_else(bank: Bank) -> None:
    home = await bank.client.get("/")
    assert home.headers["Location"] == "/dashboard"
    page = await bank.client.get("/dashboard")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    parts = re.findall(r'(?:src|href)="(/dashboard/[^"]+)"', page.text)
    assert len(parts) == 2
    for path in (*parts, "/dashboard/saga.js", "/dashboard/currencies.json"):
        part = await bank.client.get(path)
        assert part.status_code == 200
        # A namespace is a name, not an address that is loaded.
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", part.text)
        again = await bank.client.get(path, headers={"If-None-Match": part.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_the_overview_counts_and_leads_to_the_sagas_counted(
    browser: Browser, bank: Bank
) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    failed = await bank.transfer(rich, poor, 100_000)
    await bank.look(f"/sagas/{failed.json()['id']}", failed)
    async with opened(browser, bank) as page:
        tile = page.get_by_role("link", name=re.compile(r"\d+ compensated$"))
        await expect(tile).to_have_text(re.compile(r"^[1-9]"))
        await axe_finds_nothing(page)
        await tile.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("Sagas")
        await expect(page.get_by_label("State")).to_have_value("compensated")
        await expect(page.locator("tbody tr").first).to_contain_text("compensated")


async def test_new_sagas_appear_and_the_focus_stays(browser: Browser, bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    first = (await bank.transfer(rich, poor, 1)).json()["id"]
    async with opened(browser, bank, f"/sagas?account={rich}") as page:
        link = page.get_by_role("link", name=first)
        await link.focus()
        second = (await bank.transfer(rich, poor, 2)).json()["id"]
        await expect(page.get_by_role("link", name=second)).to_be_visible()
        await expect(page.locator("tbody tr")).to_have_count(2)
        await expect(link).to_be_focused()
        await page.get_by_role("button", name="Pause updates").click()
        third = (await bank.transfer(rich, poor, 3)).json()["id"]
        await asyncio.sleep(3)
        assert await page.get_by_role("link", name=third).count() == 0
        await page.get_by_role("button", name="Resume updates").click()
        await expect(page.get_by_role("link", name=third)).to_be_visible()


async def test_the_list_is_filtered_and_paged(browser: Browser, bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    ids = [(await bank.transfer(rich, poor, 1)).json()["id"] for _ in range(52)]
    async with opened(browser, bank, "/sagas") as page:
        await page.get_by_label("Account").fill(rich)
        await page.keyboard.press("Enter")
        await expect(page.locator("tbody tr")).to_have_count(50)
        await page.get_by_role("link", name="Older").click()
        await expect(page.locator("tbody tr")).to_have_count(2)
        await expect(page.get_by_role("link", name=ids[0])).to_be_visible()
        await page.get_by_role("link", name="Newest").click()
        await page.get_by_label("Id begins with").fill(ids[7][:20])
        await page.get_by_role("button", name="Show").click()
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.get_by_role("link", name=ids[7]).click()
        await expect(page.locator("h1")).to_have_text(f"Saga {ids[7]}")
        await page.go_back()
        await expect(page.get_by_label("Account")).to_have_value(rich)


async def test_an_operator_retries_a_parked_saga_with_the_keyboard_alone(
    browser: Browser, impatient: Bank
) -> None:
    bank = impatient
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300, reference=HOSTILE)
    async with opened(browser, bank, f"/sagas/{saga_id}") as page:
        await expect(page.locator("dl")).to_contain_text("effect expired at debit")
        await expect(page.locator("dl")).to_contain_text(HOSTILE)
        await expect(page.get_by_role("img")).to_have_accessible_name(
            "Steps: debit refused, credit pending"
        )
        await axe_finds_nothing(page)
        await page.get_by_role("button", name="Retry …").focus()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Retry this saga?")
        await expect(dialog).to_be_visible()
        await axe_finds_nothing(page)
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        assert "RecoveryAccepted" not in await page.locator("main").inner_text()
        await page.keyboard.press("Enter")
        await page.keyboard.type(f"ann {HOSTILE}")
        await page.keyboard.press("Tab")
        await page.keyboard.type(f"ticket 7 {HOSTILE}")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#news")).to_have_text(re.compile("Retry accepted"))
        told = page.get_by_text(f"retry by ann {HOSTILE}: ticket 7 {HOSTILE}")
        await expect(told).to_be_visible()
        bank.accounts.own(frozenset((0, 1)))
        await expect(page.locator("dl")).to_contain_text("completed")
        await expect(page.get_by_role("button", name="Retry …")).to_be_disabled()
        await expect(page.get_by_text("asked for debit (attempt 2)")).to_be_visible()
    assert (await bank.client.get(f"/accounts/{poor}")).json()["balance_minor"] == 300


async def test_legs_are_shown_some_at_a_time_and_by_their_state(
    browser: Browser, bank: Bank
) -> None:
    source, target = await bank.open(1_000), await bank.open()
    legs = [{"target": target if n % 20 else "nobody", "amount_minor": 5} for n in range(60)]
    body = {"definition": "payroll", "source": source, "currency": "EUR", "legs": legs}
    paid = await bank.post("/transfers", {**body, "amount_minor": 300}, Prefer="wait=20")
    saga_id = paid.json()["id"]
    await bank.look(f"/sagas/{saga_id}", paid)
    async with opened(browser, bank, f"/sagas/{saga_id}") as page:
        sheet = page.get_by_role("region", name="Legs of pay")
        rows = sheet.locator("tbody tr")
        await expect(rows).to_have_count(50)
        await expect(rows.first).to_have_text(re.compile("^0nobody0.05 EURrefusedaccount unknown$"))
        said = page.locator("dl")
        await expect(said).to_contain_text("legs60, listed below")
        await expect(said).not_to_contain_text("nobody")
        await axe_finds_nothing(page)
        await sheet.get_by_role("button", name="More legs").click()
        await expect(rows).to_have_count(60)
        await expect(sheet.get_by_role("button", name="More legs")).to_be_hidden()
        await sheet.get_by_label("State").select_option("refused")
        await expect(rows).to_have_count(3)
        await expect(sheet.get_by_text("3 of 60 legs")).to_be_visible()

    answers = 0

    async def away_at_first(route: Route) -> None:
        nonlocal answers
        answers += 1
        await (route.fulfill(status=503, json={}) if answers == 1 else route.continue_())

    async with opened(browser, bank, "/sagas", expected="503") as page:
        await page.route("**/legs*", away_at_first)
        await page.goto(f"/dashboard#/sagas/{saga_id}")
        await expect(page.locator("section[aria-label^=Legs] tbody tr")).to_have_count(50)


async def test_an_amount_is_told_in_its_own_currency_or_in_none(
    browser: Browser, bank: Bank
) -> None:
    source, target = await bank.open(1_000), await bank.open(currency="JPY")
    ours, theirs = await bank.open(), await bank.open(9_000, currency="JPY")
    body = {"definition": "fx_transfer", "source": source, "amount_minor": 1_000, "currency": "EUR"}
    body |= {"target": target, "target_amount_minor": 1_624, "target_currency": "JPY"}
    body |= {
        "rate": "162.35",
        "quote_ends_at": f"{datetime.now(UTC) + timedelta(minutes=1):%FT%TZ}",
    }
    body |= {"source_liquidity": ours, "target_liquidity": theirs}
    changed = await bank.post("/transfers", body, Prefer="wait=20")
    await bank.look(f"/sagas/{changed.json()['id']}", changed)
    async with opened(browser, bank, f"/sagas/{changed.json()['id']}") as page:
        said = page.locator("dl")
        await expect(said).to_contain_text(f"10.00 EUR from {source} to {target}")
        await expect(said).to_contain_text("target amount1,624 JPY")

    paid = await bank.transfer(await bank.open(500), await bank.open(), 400)
    body = {"definition": "reversal", "original": paid.json()["id"], "amount_minor": 150}
    back = await bank.post(f"/transfers?after={paid.json()['as_of']}", body, Prefer="wait=20")
    await bank.look(f"/sagas/{back.json()['id']}", back)
    async with opened(browser, bank, f"/sagas/{back.json()['id']}") as page:
        await expect(page.locator("dl")).to_contain_text("total400 minor units")


async def test_the_payments_of_a_standing_order_lead_to_their_transfers(
    browser: Browser, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = [f"{datetime.now(UTC) + timedelta(milliseconds=300):%FT%T.%f}Z", "2099-02-28T08:00:00Z"]
    due.append("2099-03-31T07:00:00Z")
    monkeypatch.setattr(Timetable, "instants", lambda *_: due)
    source, target = await bank.open(1_000), await bank.open()
    body = {"definition": "standing_order", "source": source, "target": target, "currency": "EUR"}
    body |= {"first": "2099-01-31", "every": "month", "at": "09:00", "zone": "Europe/Berlin"}
    order = await bank.post("/transfers", {**body, "amount_minor": 5, "times": 3}, Prefer="wait=20")
    saga_id = order.json()["id"]
    await bank.look(f"/sagas/{saga_id}", order)
    async with opened(browser, bank, f"/sagas/{saga_id}") as page:
        rows = page.get_by_role("region", name="Legs of pay").locator("tbody tr")
        await expect(rows).to_have_count(3)
        await expect(rows.first).to_contain_text("succeeded")
        await expect(rows.nth(1)).to_contain_text("waiting")
        await expect(rows.last).to_contain_text("pending")
        assert await rows.last.locator("time").get_attribute("datetime") == due[2]
        await rows.first.get_by_role("link").click()
        await expect(page.get_by_text(", as pay.0")).to_be_visible()
        await expect(page.get_by_role("link", name=saga_id)).to_be_visible()


async def test_a_saga_page_is_told_the_news_and_asks_for_them_where_it_is_not(
    browser: Browser, impatient: Bank
) -> None:
    bank = impatient
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300)
    asked: list[str] = []
    async with opened(browser, bank) as page:
        page.on("request", lambda request: asked.append(request.url))
        async with page.expect_response(re.compile("/events")):
            await page.evaluate("id => { location.hash = `#/sagas/${id}` }", saga_id)
        await expect(page.get_by_text("SagaParked", exact=True)).to_be_visible()
        asked.clear()
        await bank.post(f"/sagas/{saga_id}/compensate", {"who": "ann", "why": "ticket 7"})
        await expect(page.get_by_text("compensate by ann: ticket 7")).to_be_visible()
        assert not any("/timeline" in url for url in asked), "pushed, not asked for"
        bank.accounts.own(frozenset((0, 1)))
        await expect(page.locator("dl")).to_contain_text("compensated")
        entries = (await bank.client.get(f"/sagas/{saga_id}/timeline")).json()["entries"]
        await expect(page.locator("main details")).to_have_count(len(entries))
    monitored = await bank.park(rich, poor, 200)
    bank.app.state.streams = Streams(0)
    async with opened(browser, bank, f"/sagas/{monitored}", expected="503 (Service") as page:
        await expect(page.get_by_text("SagaParked", exact=True)).to_be_visible()
        await bank.post(f"/sagas/{monitored}/compensate", {"who": "ann", "why": "ticket 8"})
        await expect(page.get_by_text("compensate by ann: ticket 8")).to_be_visible()


async def test_a_refused_action_says_why_and_what_to_do(browser: Browser, impatient: Bank) -> None:
    bank = impatient
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300)
    async with opened(browser, bank, f"/sagas/{saga_id}", expected="409 (Conflict)") as page:
        await expect(page.locator("dl")).to_contain_text("parked")
        await bank.post(f"/sagas/{saga_id}/retry", {"who": "bob", "why": "first"})
        await page.get_by_role("button", name="Retry …").click()
        await page.get_by_label("Who asks").fill("ann")
        await page.get_by_label("Why").fill("second")
        async with page.expect_response(re.compile("/retry$")) as answer:
            await page.get_by_role("button", name="Retry it").click()
        assert (await answer.value).status == 409
        complaint = page.get_by_role("alert")
        await expect(complaint).to_contain_text("it is running. Look at the saga again")
        await page.get_by_role("button", name="Leave it").click()
        await expect(page.get_by_text("retry by ann (second) refused")).to_be_visible()


async def test_accounts_show_exact_amounts_of_any_size(browser: Browser, bank: Bank) -> None:
    # Not a double: 2**53 + 1.
    account = await bank.open(9_007_199_254_740_993, currency="KWD")
    yen = await bank.open(1_234, currency="JPY")
    async with opened(browser, bank, f"/accounts?id={account}") as page:
        await expect(page.locator("tbody").first).to_contain_text("9,007,199,254,740.993 KWD")
        await axe_finds_nothing(page)
        await page.get_by_label("Id begins with").fill(yen)
        await page.keyboard.press("Enter")
        await expect(page.locator("tbody").first).to_contain_text("1,234 JPY")


@pytest.mark.parametrize("policy", ["enforced", "absent"])
async def test_whatever_the_api_says_is_shown_as_text(
    browser: Browser, bank: Bank, policy: str
) -> None:
    """Every text in every answer is hostile: names, states, reasons, keys. The page must stand it
    without its policy too."""
    rich, poor = await bank.open(1_000), await bank.open()
    failed = await bank.transfer(rich, poor, 100_000, reference="x")
    saga_id = failed.json()["id"]
    await bank.look(f"/sagas/{saga_id}", failed)

    async def spoil(route: Route) -> None:
        answer = await route.fetch()
        if "json" in answer.headers["content-type"] and "/dashboard/" not in route.request.url:
            spoilt = msgspec.json.encode(_hostile(await answer.json()))
            await route.fulfill(response=answer, body=spoilt)
        else:
            headers = {**answer.headers}
            if policy == "absent":
                # A stream of events has none.
                headers.pop("content-security-policy", None)
            await route.fulfill(response=answer, headers=headers)

    async with opened(browser, bank) as page:
        await page.route("**/*", spoil)
        for path in ("", f"/sagas/{saga_id}", "/sagas", "/accounts"):
            await page.goto("about:blank")
            await page.goto(f"/dashboard#{path}")
            await expect(page.get_by_text(HOSTILE).first).to_be_visible()
            assert await page.locator("img, main script, body script").count() == 0


def _hostile(answer: Any) -> Any:
    match answer:
        case str() if _time.match(answer):
            return answer
        case str():
            return HOSTILE + answer
        case list():
            return [_hostile(one) for one in answer]
        case dict():
            # The members that the API itself names stay; a stranger's are spoilt as well.
            spoilt = {name: _hostile(value) for name, value in answer.items()}
            for members in ("params", "result", "balances_minor"):
                if isinstance(spoilt.get(members), dict):
                    spoilt[members] |= {HOSTILE: HOSTILE if members != "balances_minor" else 1}
            return spoilt
        case _:
            return answer
