"""A saga's steps and its timeline over HTTP; accounts listed; how the bank does at the moment."""

import asyncio

from api.kept import Kept
from tests.api.bank import Bank

BY = {"who": "ann <b>", "why": "ticket 7 & more"}


async def test_a_saga_is_shown_with_its_steps(bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    done = await bank.transfer(rich, poor, 100)
    saga = await bank.look(f"/sagas/{done.json()['id']}", done)
    debit, credit = saga["steps"]
    assert (debit["name"], debit["state"], debit["attempt"]) == ("debit", "succeeded", 1)
    assert (debit["after"], debit["pivot"], debit["reversible"]) == ([], False, True)
    assert (credit["state"], credit["after"]) == ("succeeded", ["debit"])
    assert credit["answer_due_at"] is credit["retry_at"] is None
    assert saga["params"]["amount_minor"] == 100
    assert saga["started_at"] < saga["deadline_at"]


async def test_a_timeline_tells_every_event_in_words_and_whole(bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    await bank.post(f"/accounts/{poor}/freeze", {"credits": "refuse"})
    failed = await bank.transfer(rich, poor, 100)
    saga_id = failed.json()["id"]
    timeline = await bank.look(f"/sagas/{saga_id}/timeline", failed)
    assert [(entry["type"], entry["text"]) for entry in timeline["entries"]] == [
        ("SagaStarted", "started for default"),
        ("StepRequested", "asked for debit, waits 10 s for the answer"),
        ("StepSucceeded", "debit succeeded"),
        ("StepRequested", "asked for credit, waits 10 s for the answer"),
        (
            "StepRefused",
            "credit refused: account_frozen (the account is frozen; unfreeze it first); "
            "no further try",
        ),
        ("CompensationStarted", "turned back at credit: account_frozen"),
        ("StepRequested", "asked for undo of debit, waits 10 s for the answer"),
        ("StepSucceeded", "undo of debit succeeded"),
        ("SagaCompensated", "compensated: account_frozen"),
    ]
    assert timeline["next"] is None
    refused = timeline["entries"][4]
    assert refused["event"]["reason"] == "account_frozen"
    assert refused["at"] >= timeline["started_at"]
    offsets = [entry["offset"] for entry in timeline["entries"]]
    assert offsets == sorted(set(offsets))
    path, first, paged = f"/sagas/{saga_id}/timeline", 0, timeline["entries"][:0]
    while first is not None:
        page = (await bank.client.get(path, params={"from": first, "limit": 4})).json()
        paged, first = paged + page["entries"], page["next"]
    assert paged == timeline["entries"]


async def test_who_and_why_stand_in_the_timeline(impatient: Bank) -> None:
    bank = impatient
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300)
    (debit, credit) = (await bank.client.get(f"/sagas/{saga_id}")).json()["steps"]
    assert (debit["state"], debit["reason"]) == ("refused", "effect_expired")
    assert credit["state"] == "pending"
    retried = await bank.post(f"/sagas/{saga_id}/retry", BY)
    again = await bank.post(f"/sagas/{saga_id}/retry", BY)
    assert (retried.status_code, again.status_code) == (200, 409)
    async with asyncio.timeout(10):
        told: list[str] = []
        while not any(text.endswith("nothing has changed") for text in told):
            entries = (await bank.client.get(f"/sagas/{saga_id}/timeline")).json()["entries"]
            told = [entry["text"] for entry in entries]
    assert "parked at debit, needs a person: effect_expired" in told
    assert "retry by ann <b>: ticket 7 & more" in told
    assert "goes on at debit, running: retry" in told
    assert "asked for debit (attempt 2), waits 10 s for the answer" in told
    assert (await bank.client.get(f"/sagas/{saga_id}")).json()["steps"][0]["attempt"] == 2


async def test_a_timeline_of_nothing_and_pages_that_are_none_are_refused(bank: Bank) -> None:
    for unknown in ("0" * 32, "%00", "a" * 65):
        for path in (f"/sagas/{unknown}/timeline", f"/sagas/{unknown}"):
            answer = await bank.client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (
                404,
                "/problems/saga-unknown",
            )
    for params in ({"from": "-1"}, {"from": "x"}, {"from": "9" * 40}, {"limit": "0"}):
        answer = await bank.client.get(f"/sagas/{'0' * 32}/timeline", params=params)
        assert answer.status_code == 400, (params, answer.text)


async def test_sagas_are_found_by_the_beginning_of_their_id(bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    done = await bank.transfer(rich, poor, 1)
    other = await bank.transfer(rich, poor, 1)
    saga_id = done.json()["id"]
    await bank.look(f"/sagas/{other.json()['id']}", other)
    await bank.look(f"/sagas/{saga_id}", done)
    for beginning, account in ((saga_id, None), (saga_id[:8], rich), (saga_id[:31], None)):
        params = {"id": beginning, **({"account": account} if account else {})}
        found = (await bank.client.get("/sagas", params=params)).json()["sagas"]
        assert [saga["id"] for saga in found] == [saga_id], beginning
    for none in (saga_id + "0", "%", "_", saga_id.upper() + "~"):
        assert (await bank.client.get("/sagas", params={"id": none})).json()["sagas"] == []


async def test_accounts_are_listed_by_id(bank: Bank) -> None:
    names = [f"list-{letter}" for letter in "BCab"]
    last = None
    for name in names:
        last = await bank.post("/accounts", {"id": name, "currency": "JPY"})
        await bank.look(f"/accounts/{name}", last)
    first = (await bank.client.get("/accounts", params={"id": "list-", "limit": 3})).json()
    assert [account["id"] for account in first["accounts"]] == names[:3]
    params = {"id": "list-", "limit": 3, "from": first["next"]}
    behind = (await bank.client.get("/accounts", params=params)).json()
    assert [account["id"] for account in behind["accounts"]] == names[3:]
    assert behind["next"] is None
    assert behind["accounts"][0]["balance_minor"] == 0
    for params in ({"id": "%"}, {"from": "\x00"}, {"limit": "1001"}):
        assert (await bank.client.get("/accounts", params=params)).status_code == 400


async def test_the_last_minutes_tell_how_many_and_how_long(bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    done = await bank.transfer(rich, poor, 1)
    failed = await bank.transfer(rich, poor, 100_000)
    for answer in (done, failed):
        await bank.look(f"/sagas/{answer.json()['id']}", answer)
    await asyncio.sleep(1.1)  # The answer before may still be kept.
    found = (await bank.client.get("/sagas/activity")).json()
    assert sum(minute["completed"] for minute in found["minutes"]) >= 1
    assert sum(minute["compensated"] for minute in found["minutes"]) >= 1
    assert found["sample"] >= 2
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] < 60_000


async def test_a_kept_answer_is_asked_for_once_by_many_and_again_when_it_is_old() -> None:
    asked, now_s = 0, 0.0

    async def query() -> int:
        nonlocal asked, now_s
        asked += 1
        await asyncio.sleep(0)
        now_s += 0.25
        return asked

    kept: Kept[int] = Kept(lambda: now_s)
    assert await asyncio.gather(*(kept.get(query) for _ in range(10))) == [1] * 10
    # It took a quarter of a second, so it is kept for five.
    now_s += 4.75
    assert await kept.get(query) == 1
    now_s += 0.25
    assert await kept.get(query) == 2


async def test_a_query_that_fails_is_asked_again() -> None:
    kept: Kept[int] = Kept()

    async def away() -> int:
        raise ConnectionRefusedError

    async def back() -> int:
        return 7

    for _ in range(2):
        try:
            await kept.get(away)
        except ConnectionRefusedError:
            continue
        raise AssertionError("a failure is no answer")
    assert await kept.get(back) == 7
