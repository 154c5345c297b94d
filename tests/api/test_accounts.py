"""Accounts over HTTP: orders, refusals, repetitions."""

import asyncio
from typing import Any

import pytest
from httpx import Response

from messages import identity
from tests.api.bank import Bank, new_key


def assert_refused(answer: Response, status: int, reason: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["reason"] == reason
    assert answer.json()["type"] == f"/problems/{reason.replace('_', '-')}"


def euros(amount_minor: Any) -> dict[str, Any]:
    return {"amount_minor": amount_minor, "currency": "EUR"}


async def test_an_account_is_named_by_its_key(bank: Bank) -> None:
    key = new_key()
    answer = await bank.post("/accounts", {"currency": "EUR"}, key)
    assert answer.status_code == 201
    assert answer.json()["account_id"] == identity.account_id("default", key)
    seen = (await bank.client.get(answer.headers["Location"])).json()
    assert (seen["id"], seen["status"], seen["balance_minor"]) == (
        answer.json()["account_id"],
        "open",
        0,
    )


async def test_an_account_can_have_a_chosen_id_and_limits(bank: Bank) -> None:
    chosen = f"shop:{new_key()}"
    limits = {
        "overdraft_limit_minor": 50,
        "transfer_limit_minor": 100,
        "daily_limit_minor": 1_000,
    }
    answer = await bank.post("/accounts", {"id": chosen, "currency": "JPY", **limits})
    seen = await bank.look(f"/accounts/{chosen}", answer)
    assert {name: seen[name] for name in limits} == limits
    assert seen["available_minor"] == 50
    assert seen["currency"] == "JPY"


async def test_opening_twice_under_one_key_opens_one(bank: Bank) -> None:
    key = new_key()
    first = await bank.post("/accounts", {"currency": "EUR"}, key)
    again = await bank.post("/accounts", {"currency": "EUR"}, key)
    assert again.status_code == first.status_code == 201
    assert again.json()["account_id"] == first.json()["account_id"]
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_opening_with_another_body_under_one_key_is_refused(bank: Bank) -> None:
    key = new_key()
    await bank.post("/accounts", {"currency": "EUR"}, key)
    answer = await bank.post("/accounts", {"currency": "USD"}, key)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-key-reused"


async def test_an_id_that_is_taken_is_refused(bank: Bank) -> None:
    taken = await bank.open()
    answer = await bank.post("/accounts", {"id": taken, "currency": "EUR"})
    assert_refused(answer, 409, "account_exists")


async def test_a_deposit_tells_the_balance(bank: Bank) -> None:
    account = await bank.open(100)
    answer = await bank.post(f"/accounts/{account}/deposits", euros(50))
    assert answer.status_code == 201
    assert answer.json()["balance_minor"] == 150
    assert (await bank.look(f"/accounts/{account}", answer))["balance_minor"] == 150


async def test_a_repeated_deposit_is_applied_once(bank: Bank) -> None:
    account, key = await bank.open(), new_key()
    first = await bank.post(f"/accounts/{account}/deposits", euros(50), key)
    again = await bank.post(f"/accounts/{account}/deposits", euros(50), key)
    assert "Idempotency-Replayed" not in first.headers
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert (again.json()["amount_minor"], again.json()["balance_minor"]) == (50, None)
    assert (await bank.look(f"/accounts/{account}", again))["balance_minor"] == 50


async def test_deposits_at_once_under_one_key_are_applied_once(bank: Bank) -> None:
    account, key = await bank.open(), new_key()
    path = f"/accounts/{account}/deposits"
    answers = await asyncio.gather(*(bank.post(path, euros(50), key) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    last = await bank.post(path, euros(1))
    assert last.json()["balance_minor"] == 51


async def test_at_once_under_one_key_another_body_is_refused(bank: Bank) -> None:
    account, key = await bank.open(), new_key()
    path = f"/accounts/{account}/deposits"
    answers = await asyncio.gather(*(bank.post(path, euros(amount), key) for amount in (50, 60)))
    assert sorted(answer.status_code for answer in answers) == [201, 422]
    applied = next(answer for answer in answers if answer.status_code == 201).json()
    assert applied["balance_minor"] == applied["amount_minor"]


async def test_a_refused_withdrawal_is_refused_again_under_its_key(bank: Bank) -> None:
    account, key = await bank.open(10), new_key()
    path = f"/accounts/{account}/withdrawals"
    assert_refused(await bank.post(path, euros(11), key), 409, "insufficient_funds")
    await bank.post(f"/accounts/{account}/deposits", euros(100))
    again = await bank.post(path, euros(11), key)
    assert_refused(again, 409, "insufficient_funds")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await bank.post(path, euros(11))).status_code == 201


async def test_the_world_pays_for_deposits(bank: Bank) -> None:
    account = await bank.open(currency="NZD")
    paid = await bank.post(f"/accounts/{account}/deposits", {"amount_minor": 70, "currency": "NZD"})
    out = await bank.post(
        f"/accounts/{account}/withdrawals", {"amount_minor": 20, "currency": "NZD"}
    )
    assert paid.status_code == out.status_code == 201
    await bank.look(f"/accounts/{account}", out)
    assert (await bank.client.get("/world")).json()["balances_minor"]["NZD"] == -50


async def test_limits_are_kept(bank: Bank) -> None:
    account = await bank.open(1_000, transfer_limit_minor=100, daily_limit_minor=150)
    path = f"/accounts/{account}/withdrawals"
    assert_refused(await bank.post(path, euros(101)), 422, "transfer_limit_exceeded")
    assert (await bank.post(path, euros(100))).status_code == 201
    assert_refused(await bank.post(path, euros(51)), 409, "daily_limit_exceeded")
    limits = {"overdraft_limit_minor": 7, "transfer_limit_minor": None}
    changed = await bank.client.put(
        f"/accounts/{account}/limits", json=limits, headers={"Idempotency-Key": new_key()}
    )
    assert changed.status_code == 200
    seen = await bank.look(f"/accounts/{account}", changed)
    assert (seen["overdraft_limit_minor"], seen["daily_limit_minor"]) == (7, None)


async def test_a_frozen_account_pays_nothing_until_it_is_unfrozen(bank: Bank) -> None:
    account = await bank.open(100)
    frozen = await bank.post(f"/accounts/{account}/freeze", {"credits": "accept"})
    assert (await bank.look(f"/accounts/{account}", frozen))["status"] == "frozen"
    path = f"/accounts/{account}/withdrawals"
    assert_refused(await bank.post(path, euros(1)), 409, "account_frozen")
    assert (await bank.post(f"/accounts/{account}/deposits", euros(1))).status_code == 201
    assert (await bank.post(f"/accounts/{account}/unfreeze")).status_code == 200
    assert_refused(await bank.post(f"/accounts/{account}/unfreeze"), 409, "account_not_frozen")
    assert (await bank.post(path, euros(1))).status_code == 201


async def test_only_an_empty_account_can_be_closed(bank: Bank) -> None:
    account = await bank.open(1)
    assert_refused(await bank.post(f"/accounts/{account}/close"), 409, "account_not_empty")
    await bank.post(f"/accounts/{account}/withdrawals", euros(1))
    closed = await bank.post(f"/accounts/{account}/close")
    assert closed.status_code == 200
    assert (await bank.look(f"/accounts/{account}", closed))["status"] == "closed"
    refused = await bank.post(f"/accounts/{account}/deposits", euros(1))
    assert_refused(refused, 409, "account_closed")


async def test_another_currency_is_refused(bank: Bank) -> None:
    account = await bank.open()
    order = {"amount_minor": 1, "currency": "USD"}
    answer = await bank.post(f"/accounts/{account}/deposits", order)
    assert_refused(answer, 422, "currency_mismatch")


async def test_a_balance_does_not_overflow(bank: Bank) -> None:
    account = await bank.open(2**63 - 1)
    answer = await bank.post(f"/accounts/{account}/deposits", euros(1))
    assert_refused(answer, 409, "balance_overflow")


@pytest.mark.parametrize("order", ["deposits", "withdrawals"])
async def test_an_order_to_an_unknown_account_is_404(bank: Bank, order: str) -> None:
    assert_refused(await bank.post(f"/accounts/nobody/{order}", euros(1)), 404, "account_unknown")


@pytest.mark.parametrize("order", ["freeze", "unfreeze", "close"])
async def test_what_can_be_no_account_is_unknown(bank: Bank, order: str) -> None:
    for name in ("-a", "a" * 65, "a%0A", "%F0%9F%92%B0", "a%20b"):
        assert_refused(await bank.post(f"/accounts/{name}/{order}"), 404, "account_unknown")


async def test_an_unknown_account_is_404(bank: Bank) -> None:
    for name in ("nobody", "a" * 65, "a%0A"):
        answer = await bank.client.get(f"/accounts/{name}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/account-unknown"


@pytest.mark.parametrize("amount", [0, -1, 2**63, 10.0, True, "1", None])
async def test_an_amount_that_is_no_amount_is_refused(bank: Bank, amount: Any) -> None:
    answer = await bank.post("/accounts/nobody/deposits", euros(amount))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/amount_minor"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"currency": "XXX"},
        {"currency": "EUR\n"},
        {"currency": "EUR", "id": "a\n"},
        {"currency": "EUR", "id": "a b"},
        {"currency": "EUR", "id": ""},
        {"currency": "EUR", "owner": "me"},
        {"currency": "EUR", "overdraft_limit_minor": -1},
        {"currency": "EUR", "overdraft_limit_minor": 0.0},
        {"currency": "EUR", "daily_limit_minor": 2**63},
    ],
)
async def test_an_account_that_can_not_be_is_refused(bank: Bank, body: dict[str, Any]) -> None:
    answer = await bank.post("/accounts", body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/invalid-request"
    assert answer.json()["errors"]


async def test_every_order_needs_a_key(bank: Bank) -> None:
    for path in ("", "/a/deposits", "/a/withdrawals", "/a/freeze", "/a/unfreeze", "/a/close"):
        answer = await bank.client.post(f"/accounts{path}")
        assert answer.json()["type"] == "/problems/idempotency-key-missing"
    answer = await bank.client.put("/accounts/a/limits")
    assert answer.json()["type"] == "/problems/idempotency-key-missing"
