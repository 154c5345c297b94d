"""Health, metrics, the API's own description, and what is answered off the paths."""

import re
from typing import get_args

import pytest

from api.problem_kinds import KINDS, REFUSALS
from messages.account import RefusalReason
from tests.api.bank import Bank


async def test_a_bank_that_works_is_alive_and_ready(bank: Bank) -> None:
    assert (await bank.client.get("/health/live")).status_code == 200
    ready = await bank.client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert set(ready.json()["parts"]) == {"kafka", "postgresql", "answers"}


async def test_metrics_tell_how_long_answers_take(bank: Bank) -> None:
    await bank.open()
    text = (await bank.client.get("/metrics")).text
    assert 'makegood_api_answer_seconds_count{service="account"}' in text


async def test_the_pages_need_nothing_from_elsewhere(bank: Bank) -> None:
    for path in ("/docs", "/problems/no-answer"):
        page = await bank.client.get(path)
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert not re.search(r"<script|https?://|src=", page.text)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]


async def test_every_operation_is_described(bank: Bank) -> None:
    described = (await bank.client.get("/openapi.json")).json()
    start = described["paths"]["/transfers"]["post"]
    assert {p["name"] for p in start["parameters"]} == {
        "Idempotency-Key",
        "Makegood-Tenant",
        "Prefer",
        "after",
    }
    schema = start["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["amount_minor"]["maximum"] == 2**63 - 1
    assert "application/problem+json" in start["responses"]["422"]["content"]
    page = (await bank.client.get("/docs")).text
    for path in described["paths"]:
        assert path in page


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_every_kind_of_problem_is_explained(bank: Bank, kind: str) -> None:
    page = await bank.client.get(f"/problems/{kind}")
    assert page.status_code == 200
    assert KINDS[kind].meaning.partition("'")[0] in page.text


def test_every_refusal_is_a_kind_of_problem() -> None:
    assert set(REFUSALS) == set(get_args(RefusalReason))
    assert set(REFUSALS.values()) <= set(KINDS)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/transfers/a/b",
        "/docs/x",
        "/problems/x",
        "/dashboard/x",
    ],
)
async def test_an_unknown_path_is_a_problem(bank: Bank, path: str) -> None:
    answer = await bank.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["instance"] == path


async def test_a_method_that_is_not_allowed_names_those_that_are(bank: Bank) -> None:
    answer = await bank.client.delete("/accounts/a/limits")
    assert answer.status_code == 405
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Allow"] == "PUT, OPTIONS"


async def test_a_bug_tells_a_reference_and_nothing_else(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("secret of alice")

    monkeypatch.setattr("api.accounts.queries.account", broken)
    answer = await bank.client.get("/accounts/alice")
    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/internal-error"
    assert len(answer.json()["reference"]) == 32
    assert (
        "secret" not in answer.text and "Traceback" not in answer.text and ".py" not in answer.text
    )


async def test_a_database_that_is_away_is_503(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("api.accounts.queries.account", away)
    answer = await bank.client.get("/accounts/alice")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/read-model-away"
    assert answer.headers["Retry-After"]
