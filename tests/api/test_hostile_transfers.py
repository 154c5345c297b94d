"""What must not become a transfer: every bad input gets problem details that name the place."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import Response

from tests.api.bank import Bank, new_key

GOOD = {"source": "alice", "target": "bob", "amount_minor": 100, "currency": "EUR"}


def places(answer: Response) -> set[str]:
    return {error["place"] for error in answer.json().get("errors", ())}


def assert_problem(answer: Response, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["title"] and problem["detail"] and problem["remedy"]
    assert problem["instance"] == "/transfers"


async def send(bank: Bank, content: bytes, **headers: str) -> Response:
    named = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}
    named.update({name.replace("_", "-"): value for name, value in headers.items()})
    return await bank.client.post("/transfers", content=content, headers=named)


@pytest.mark.parametrize(
    "amount",
    [0, -1, 2**63, 2**64, 2**200, 10.0, 1.5, True, False, "100", None, [100], {"minor": 100}],
    ids=lambda amount: repr(amount)[:12],
)
async def test_an_amount_that_is_no_amount_is_refused(bank: Bank, amount: Any) -> None:
    answer = await bank.post("/transfers", {**GOOD, "amount_minor": amount})
    assert_problem(answer, 400, "invalid-request")
    assert places(answer) == {"amount_minor"}
    assert answer.json()["errors"][0]["pointer"] == "#/amount_minor"


@pytest.mark.parametrize("text", ["1e2", "1E400", "100.0", "-0", "NaN", "Infinity", "0x64", "01"])
async def test_a_number_written_in_another_way_is_refused(bank: Bank, text: str) -> None:
    body = f'{{"source":"a","target":"b","amount_minor":{text},"currency":"EUR"}}'
    answer = await send(bank, body.encode())
    assert answer.status_code == 400


async def test_the_largest_amount_is_taken(bank: Bank) -> None:
    assert (await bank.post("/transfers", {**GOOD, "amount_minor": 2**63 - 1})).status_code == 202


@pytest.mark.parametrize("currency", ["EURO", "eur", "XXX", "", "EUR\n", 978, None])
async def test_a_wrong_currency_is_refused(bank: Bank, currency: Any) -> None:
    answer = await bank.post("/transfers", {**GOOD, "currency": currency})
    assert_problem(answer, 400, "invalid-request")
    assert places(answer) == {"currency"}


async def test_the_same_source_and_target_is_refused(bank: Bank) -> None:
    answer = await bank.post("/transfers", {**GOOD, "target": "alice"})
    assert_problem(answer, 400, "invalid-request")
    assert places(answer) == {"target"}


@pytest.mark.parametrize("account", ["", "a b", "-a", "a" * 65, "a\n", "ä", "../etc", 7, None])
async def test_what_is_no_account_id_is_refused(bank: Bank, account: Any) -> None:
    answer = await bank.post("/transfers", {**GOOD, "source": account})
    assert_problem(answer, 400, "invalid-request")
    assert places(answer) == {"source"}


async def test_every_wrong_place_is_listed(bank: Bank) -> None:
    answer = await bank.post("/transfers", {"source": "", "amount_minor": 0, "colour": "red"})
    assert places(answer) == {"source", "target", "amount_minor", "currency", "colour"}


async def test_an_unknown_definition_is_refused(bank: Bank) -> None:
    answer = await bank.post("/transfers", {**GOOD, "definition": "donation"})
    assert_problem(answer, 422, "definition-unknown")


@pytest.mark.parametrize("definition", [None, 1, ["transfer"], {}])
async def test_a_definition_that_is_no_name_is_refused(bank: Bank, definition: Any) -> None:
    answer = await bank.post("/transfers", {**GOOD, "definition": definition})
    assert_problem(answer, 400, "invalid-request")


@pytest.mark.parametrize("reference", ["x" * 141, "line\nbreak", "\x00", 1, None])
async def test_a_wrong_reference_is_refused(bank: Bank, reference: Any) -> None:
    answer = await bank.post("/transfers", {**GOOD, "reference": reference})
    assert_problem(answer, 400, "invalid-request")
    assert places(answer) == {"reference"}


async def test_a_missing_key_is_refused(bank: Bank) -> None:
    answer = await bank.client.post("/transfers", json=GOOD)
    assert_problem(answer, 400, "idempotency-key-missing")
    assert places(answer) == {"Idempotency-Key"}


@pytest.mark.parametrize("key", [b"", b" ", b"two words", b"x" * 201, b"\xe9", b"tab\tin it"])
async def test_a_key_that_is_not_usable_is_refused(bank: Bank, key: bytes) -> None:
    answer = await bank.client.post("/transfers", json=GOOD, headers=[(b"Idempotency-Key", key)])
    assert_problem(answer, 400, "idempotency-key-missing")


async def test_two_keys_are_refused(bank: Bank) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await bank.client.post("/transfers", json=GOOD, headers=headers)
    assert_problem(answer, 400, "idempotency-key-missing")


async def test_a_key_of_200_characters_is_taken(bank: Bank) -> None:
    assert (await bank.post("/transfers", GOOD, "!" * 168 + new_key())).status_code == 202


@pytest.mark.parametrize("tenant", ["", "a b", "-", "x" * 65, "../.."])
async def test_a_malformed_tenant_is_refused(bank: Bank, tenant: str) -> None:
    answer = await bank.post("/transfers", GOOD, Makegood_Tenant=tenant)
    assert_problem(answer, 400, "invalid-request")
    assert places(answer) == {"Makegood-Tenant"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b'{"amount_minor": 1,}',
        b'{"amount_minor": 1} {}',
        b"\xff\xfe{}",
        b'{"reference": "\xff"}',
        b'{"reference": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"source":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"amount_minor":' + b"9" * 60_000 + b"}",
    ],
    ids=lambda content: content[:14].decode("latin-1"),
)
async def test_a_broken_body_is_refused(bank: Bank, content: bytes) -> None:
    assert_problem(await send(bank, content), 400, "malformed-request")


async def test_a_member_that_is_there_twice_is_refused(bank: Bank) -> None:
    content = (
        b'{"source":"alice","target":"bob","amount_minor":1,"amount_minor":1000,"currency":"EUR"}'
    )
    answer = await send(bank, content)
    assert_problem(answer, 400, "malformed-request")
    assert "'amount_minor' twice" in answer.json()["detail"]


async def test_a_body_above_64_kib_is_refused(bank: Bank) -> None:
    answer = await send(bank, b'{"reference":"' + b"x" * 65_536 + b'"}')
    assert_problem(answer, 413, "body-too-large")


async def test_a_body_that_does_not_tell_its_size_is_cut_off_too(bank: Bank) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b" " * 1_024

    headers = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}
    answer = await bank.client.post("/transfers", content=endless(), headers=headers)
    assert_problem(answer, 413, "body-too-large")


async def test_a_body_that_comes_too_slowly_is_given_up(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setattr("api.asking.BODY_S", 0.05)
    headers = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}
    answer = await bank.client.post("/transfers", content=stalled(), headers=headers)
    assert_problem(answer, 408, "request-too-slow")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/msgpack",
        "application/json; charset=utf-16",
        "application/jsonp",
        "",
    ],
)
async def test_a_body_of_another_type_is_refused(bank: Bank, kind: str) -> None:
    answer = await send(bank, b'{"source":"a"}', Content_Type=kind)
    assert_problem(answer, 415, "media-type-unsupported")


async def test_a_compressed_body_is_refused(bank: Bank) -> None:
    answer = await send(bank, b"\x1f\x8b", Content_Encoding="gzip")
    assert_problem(answer, 415, "media-type-unsupported")


async def test_a_charset_of_utf_8_is_taken(bank: Bank) -> None:
    answer = await send(bank, b"{}", Content_Type="application/json; charset=UTF-8")
    assert_problem(answer, 400, "invalid-request")


async def test_a_refused_body_does_not_use_the_key_up(bank: Bank) -> None:
    key = new_key()
    assert (await bank.post("/transfers", {**GOOD, "amount_minor": 0}, key)).status_code == 400
    assert (await bank.post("/transfers", GOOD, key)).status_code == 202
