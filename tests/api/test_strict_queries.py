"""What a request's query says is understood or refused: a slip never widens an answer unseen."""

import re

import pytest

from tests.api.bank import Bank

BY = {"who": "ann", "why": "ticket 7"}


async def test_every_operation_refuses_query_parameters_that_it_does_not_know(bank: Bank) -> None:
    description = (await bank.client.get("/openapi.json")).json()
    operations = [
        (method, re.sub(r"\{.*?\}", "x", path), operation)
        for path, item in description["paths"].items()
        for method, operation in item.items()
    ]
    assert len(operations) > 20
    for method, path, operation in operations:
        answer = await bank.client.request(method, path, params={"stat": "parked"})
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (400, "/problems/invalid-request"), path
        (fault,) = problem["errors"]
        assert fault["place"] == "stat"
        known = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
        assert fault["reason"].endswith(", ".join(known) if known else "it has none"), path


async def test_a_way_back_with_a_filter_in_its_query_does_nothing(impatient: Bank) -> None:
    rich, poor = await impatient.open(1_000), await impatient.open()
    parked = await impatient.park(rich, poor, 100)
    answer = await impatient.post(f"/sagas/{parked}/compensate?reason=other", BY)
    assert answer.status_code == 400, answer.text
    assert (await impatient.client.get(f"/sagas/{parked}")).json()["state"] == "parked"


async def test_a_parameter_that_comes_twice_is_refused(bank: Bank) -> None:
    answer = await bank.client.get("/sagas?state=parked&state=running")
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"] == [{"place": "state", "reason": "was given more than once"}]


@pytest.mark.parametrize("path", ["/sagas", "/sagas/counts"])
@pytest.mark.parametrize("state", ["foo", "PARKED", ""])
async def test_a_state_that_is_none_is_refused(bank: Bank, path: str, state: str) -> None:
    answer = await bank.client.get(path, params={"state": state})
    assert answer.status_code == 400, answer.text
    assert "running, compensating, completed" in answer.json()["detail"]


async def test_a_beginning_of_an_account_id_that_is_empty_is_refused(bank: Bank) -> None:
    for name in ("id", "from"):
        assert (await bank.client.get("/accounts", params={name: ""})).status_code == 400


@pytest.mark.parametrize(
    "after", ["account.journal/99@5", "orchestrator.journal/2@0", "account.input/0@0"]
)
async def test_a_position_of_nothing_that_is_folded_is_refused(bank: Bank, after: str) -> None:
    account = await bank.open()
    for path in (f"/accounts/{account}", f"/sagas/{'0' * 32}"):
        answer = await bank.client.get(path, params={"after": after})
        assert answer.status_code == 400, answer.text
        assert answer.json()["errors"][0]["place"] == "after"


async def test_pages_for_browsers_take_what_they_are_given(bank: Bank) -> None:
    for path in ("/dashboard", "/docs", "/metrics", "/problems/not-found", "/openapi.json"):
        assert (await bank.client.get(path, params={"from": "mail"})).status_code == 200, path


async def test_a_saga_id_that_is_none_is_told_what_one_looks_like(bank: Bank) -> None:
    for path in ("/sagas/zz", "/sagas/zz/timeline", "/sagas/zz/events"):
        answer = await bank.client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/saga-unknown")
        assert "32 hex digits" in answer.json()["detail"]
