"""Transfers over HTTP: what moves, what is answered, what a repetition gets."""

import asyncio
import re

from messages.identity import saga_id
from tests.api.bank import Bank, new_key


async def test_a_transfer_that_is_waited_for_tells_that_it_is_completed(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open()
    answer = await bank.transfer(source, target, 300)
    assert answer.status_code == 200
    assert answer.json()["state"] == "completed"
    assert answer.json()["reason"] == ""
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert "Idempotency-Replayed" not in answer.headers


async def test_the_read_model_shows_a_transfer_as_of_its_answer(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open()
    answer = await bank.transfer(source, target, 300, reference="rent")
    seen = (await bank.client.get(answer.headers["Location"])).json()
    assert seen["state"] == "completed"
    assert seen["definition"] == "transfer"
    assert seen["params"]["reference"] == "rent"
    assert seen["finished_at"].endswith("Z")


async def test_the_balances_follow(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open()
    await bank.transfer(source, target, 300)
    # An account's own answer carries a position of its journal.
    for account, balance in ((source, 700), (target, 300)):
        after = await bank.post(f"/accounts/{account}/freeze")
        seen = await bank.look(f"/accounts/{account}", after)
        assert seen["balance_minor"] == balance


async def test_without_preference_the_answer_is_202_with_a_location(bank: Bank) -> None:
    source, target, key = await bank.open(1_000), await bank.open(), new_key()
    body = {"source": source, "target": target, "amount_minor": 1, "currency": "EUR"}
    answer = await bank.post("/transfers", body, key)
    assert answer.status_code == 202
    assert answer.json()["state"] == "running"
    assert answer.json()["id"] == saga_id("default", key)
    assert re.fullmatch(
        rf"/transfers/{saga_id('default', key)}\?after=orchestrator\.journal/\d+@\d+",
        answer.headers["Location"],
    )
    assert (await bank.client.get(answer.headers["Location"])).status_code == 200


async def test_a_transfer_without_cover_is_compensated_with_the_reason(bank: Bank) -> None:
    source, target = await bank.open(10), await bank.open()
    answer = await bank.transfer(source, target, 300)
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["reason"]) == (
        "compensated",
        "insufficient_funds",
    )


async def test_a_transfer_to_an_unknown_account_is_compensated(bank: Bank) -> None:
    source = await bank.open(1_000)
    answer = await bank.transfer(source, "nobody", 300)
    assert (answer.json()["state"], answer.json()["reason"]) == ("compensated", "account_unknown")
    seen = await bank.look(f"/accounts/{source}", await bank.post(f"/accounts/{source}/freeze"))
    assert seen["balance_minor"] == 1_000


async def test_a_transfer_between_currencies_is_compensated(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open(currency="USD")
    answer = await bank.transfer(source, target, 300)
    assert (answer.json()["state"], answer.json()["reason"]) == ("compensated", "currency_mismatch")


async def test_a_reserved_transfer_moves_money_too(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open()
    answer = await bank.transfer(source, target, 300, definition="reserved_transfer")
    assert (answer.json()["state"], answer.json()["definition"]) == (
        "completed",
        "reserved_transfer",
    )


async def test_the_same_key_and_body_is_the_same_transfer(bank: Bank) -> None:
    source, target, key = await bank.open(1_000), await bank.open(), new_key()
    first = await bank.transfer(source, target, 300, key)
    again = await bank.transfer(source, target, 300, key)
    assert again.status_code == first.status_code == 200
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["state"] == "completed"
    seen = await bank.look(f"/accounts/{source}", await bank.post(f"/accounts/{source}/freeze"))
    assert seen["balance_minor"] == 700


async def test_a_repetition_without_preference_is_202_with_the_state_of_now(bank: Bank) -> None:
    source, target, key = await bank.open(1_000), await bank.open(), new_key()
    body = {"source": source, "target": target, "amount_minor": 1, "currency": "EUR"}
    await bank.post("/transfers", body, key, Prefer="wait=10")
    again = await bank.post("/transfers", body, key)
    assert (again.status_code, again.json()["state"]) == (202, "completed")


async def test_a_default_that_is_written_out_is_the_same_body(bank: Bank) -> None:
    source, target, key = await bank.open(1_000), await bank.open(), new_key()
    await bank.transfer(source, target, 300, key)
    again = await bank.transfer(source, target, 300, key, definition="transfer")
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_the_same_key_with_another_body_is_refused(bank: Bank) -> None:
    source, target, key = await bank.open(1_000), await bank.open(), new_key()
    await bank.transfer(source, target, 300, key)
    answer = await bank.transfer(source, target, 301, key)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-key-reused"
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_same_key_of_another_tenant_is_another_transfer(bank: Bank) -> None:
    source, target, key = await bank.open(1_000), await bank.open(), new_key()
    body = {"source": source, "target": target, "amount_minor": 1, "currency": "EUR"}
    ours = await bank.post("/transfers", body, key)
    theirs = await bank.post("/transfers", body, key, Makegood_Tenant="other")
    assert theirs.status_code == 202
    assert theirs.json()["id"] != ours.json()["id"]


async def test_many_at_once_under_one_key_move_the_money_once(bank: Bank) -> None:
    source, target, key = await bank.open(1_000), await bank.open(), new_key()
    answers = await asyncio.gather(*(bank.transfer(source, target, 300, key) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["state"] for answer in answers} == {"completed"}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    seen = await bank.look(f"/accounts/{source}", await bank.post(f"/accounts/{source}/freeze"))
    assert seen["balance_minor"] == 700


async def test_a_malformed_preference_is_ignored(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open()
    body = {"source": source, "target": target, "amount_minor": 1, "currency": "EUR"}
    for preference in ("wait=soon", "wait=-1", "wait", "wait=1.5", "respond-async"):
        answer = await bank.post("/transfers", body, Prefer=preference)
        assert answer.status_code == 202
        assert "Preference-Applied" not in answer.headers


async def test_a_long_wait_is_cut_to_30_seconds_and_the_first_wait_counts(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open()
    body = {"source": source, "target": target, "amount_minor": 1, "currency": "EUR"}
    answer = await bank.post("/transfers", body, Prefer="respond-async, wait=9999, wait=1")
    assert answer.headers["Preference-Applied"] == "wait=30"


async def test_an_unknown_transfer_is_404_with_a_hint(bank: Bank) -> None:
    answer = await bank.client.get(f"/transfers/{'0' * 32}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/transfer-unknown"
    assert "after" in answer.json()["remedy"]


async def test_a_position_that_is_none_is_refused(bank: Bank) -> None:
    for after in ("soon", "orchestrator.journal/0@-1", "orchestrator.input/0@1", "x" * 1_000):
        answer = await bank.client.get(f"/transfers/{'0' * 32}", params={"after": after})
        assert answer.status_code == 400, after
        assert answer.json()["errors"][0]["place"] == "after"


async def test_a_position_that_is_not_reached_is_waited_for_2_seconds_at_most(bank: Bank) -> None:
    began = asyncio.get_running_loop().time()
    after = f"orchestrator.journal/0@{2**62}"
    answer = await bank.client.get(f"/transfers/{'0' * 32}", params={"after": after})
    assert answer.status_code == 404
    assert "not come as far" in answer.json()["detail"]
    assert 1.9 <= asyncio.get_running_loop().time() - began < 4
