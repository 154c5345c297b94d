"""When a part is away: what is answered, and that asking again is safe."""

import asyncio

from tests.api.bank import PARTITIONS, Bank, new_key

BODY = {"source": "alice", "target": "bob", "amount_minor": 1, "currency": "EUR"}


async def test_no_answer_is_503_and_the_repetition_is_answered(impatient: Bank) -> None:
    key = new_key()
    impatient.sagas.own(frozenset())
    answer = await impatient.post("/transfers", BODY, key)
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/no-answer"
    assert "same Idempotency-Key" in answer.json()["remedy"]
    assert int(answer.headers["Retry-After"]) > 0
    impatient.sagas.own(frozenset(range(PARTITIONS)))
    async with asyncio.timeout(10):
        while (answer := await impatient.post("/transfers", BODY, key)).status_code == 503:
            await asyncio.sleep(0.05)
    assert answer.status_code == 202
    assert answer.headers["Idempotency-Replayed"] == "true"


async def test_a_silent_account_service_is_503_and_money_moves_once(impatient: Bank) -> None:
    account, key = await impatient.open(), new_key()
    path, order = f"/accounts/{account}/deposits", {"amount_minor": 5, "currency": "EUR"}
    impatient.accounts.own(frozenset())
    assert (await impatient.post(path, order, key)).status_code == 503
    impatient.accounts.own(frozenset(range(PARTITIONS)))
    async with asyncio.timeout(10):
        while (answer := await impatient.post(path, order, key)).status_code == 503:
            await asyncio.sleep(0.05)
    seen = await impatient.look(f"/accounts/{account}", answer)
    assert seen["balance_minor"] == 5


async def test_a_transfer_that_does_not_end_in_time_is_202(impatient: Bank) -> None:
    source, target, key = await impatient.open(10), await impatient.open(), new_key()
    impatient.accounts.own(frozenset())
    body = {**BODY, "source": source, "target": target}
    answer = await impatient.post("/transfers", body, key, Prefer="wait=1")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.headers["Preference-Applied"] == "wait=1"
    impatient.accounts.own(frozenset(range(PARTITIONS)))
    again = await impatient.post("/transfers", body, key, Prefer="wait=10")
    assert (again.status_code, again.json()["state"]) == (200, "completed")


async def test_answers_that_are_not_followed_are_503_and_not_ready(impatient: Bank) -> None:
    impatient.following.cancel()
    async with asyncio.timeout(5):
        while impatient.follower.status == "ok":
            await asyncio.sleep(0.01)
    answer = await impatient.post("/transfers", BODY)
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/not-ready"
    ready = await impatient.client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["parts"]["answers"] == "the answers are not followed"
    assert ready.json()["parts"]["postgresql"] == "ok"
