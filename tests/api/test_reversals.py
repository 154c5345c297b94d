"""Reversals over HTTP: a transfer is given back whole or in parts, and never more than it was."""

import asyncio
from typing import Any

import pytest
from httpx import Response

from tests.api.bank import Bank

pytestmark = pytest.mark.stack


class Paid:
    """A transfer of 1,000 from `source` to `target`, which has nothing else."""

    def __init__(self, bank: Bank, source: str, target: str, told: Response) -> None:
        self._bank = bank
        self.source = source
        self.target = target
        self.id: str = told.json()["id"]
        self.as_of: str = told.json()["as_of"]

    async def reverse(self, key: str | None = None, **body: Any) -> Response:
        return await self._bank.post(
            f"/transfers?after={self.as_of}",
            {"definition": "reversal", "original": self.id, **body},
            key,
            Prefer="wait=10",
        )

    async def balances(self, answer: Response) -> tuple[int, int]:
        """Of source and target, as of the answer."""
        found: list[int] = []
        for account in (self.source, self.target):
            seen = await self._bank.look(f"/accounts/{account}", answer)
            found.append(seen["balance_minor"])
        return found[0], found[1]


async def paid(bank: Bank, *, spend_minor: int = 0) -> Paid:
    source, target = await bank.open(1_000), await bank.open()
    told = await bank.transfer(source, target, 1_000)
    assert told.json()["state"] == "completed", told.text
    if spend_minor:
        spent = await bank.transfer(target, await bank.open(), spend_minor)
        assert spent.json()["state"] == "completed"
    return Paid(bank, source, target, told)


def end(answer: Response) -> tuple[str, str]:
    assert answer.status_code == 200, answer.text
    return answer.json()["state"], answer.json()["reason"]


async def test_a_reversal_without_an_amount_gives_all_of_it_back_and_refers_to_the_original(
    bank: Bank,
) -> None:
    original = await paid(bank)
    told = await original.reverse(reference="sorry")
    assert end(told) == ("completed", "")
    assert await original.balances(told) == (1_000, 0)
    seen = await bank.look(f"/transfers/{told.json()['id']}", told)
    assert seen["params"] == {
        "original": original.id,
        "source": original.target,
        "target": original.source,
        "amount_minor": 1_000,
        "total_minor": 1_000,
        "currency": "EUR",
        "reference": "sorry",
    }


async def test_parts_are_given_back_up_to_the_total_and_not_a_cent_more(bank: Bank) -> None:
    original = await paid(bank)
    assert end(await original.reverse(amount_minor=600)) == ("completed", "")
    assert end(await original.reverse(amount_minor=401)) == ("compensated", "limit_exceeded")
    assert end(await original.reverse()) == ("compensated", "limit_exceeded")
    told = await original.reverse(amount_minor=400)
    assert end(told) == ("completed", "")
    assert end(await original.reverse(amount_minor=1)) == ("compensated", "limit_exceeded")
    assert await original.balances(told) == (1_000, 0)


async def test_of_reversals_that_race_for_more_than_the_total_only_so_many_win(bank: Bank) -> None:
    original = await paid(bank)
    # The target could pay all of them.
    await bank.transfer(await bank.open(10_000), original.target, 10_000)
    answers = await asyncio.gather(*(original.reverse(amount_minor=300) for _ in range(8)))
    ends = sorted(end(answer) for answer in answers)
    assert ends == [("compensated", "limit_exceeded")] * 5 + [("completed", "")] * 3
    settled = await original.reverse(amount_minor=100)
    assert end(settled) == ("completed", "")
    assert await original.balances(settled) == (1_000, 10_000)


async def test_the_same_reversal_twice_is_one(bank: Bank) -> None:
    original = await paid(bank)
    first = await original.reverse("the-same-" + original.id, amount_minor=250)
    again = await original.reverse("the-same-" + original.id, amount_minor=250)
    assert end(first) == end(again) == ("completed", "")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await original.balances(again) == (250, 750)
    other = await original.reverse("the-same-" + original.id, amount_minor=251)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


async def test_a_reversal_that_nobody_can_pay_for_leaves_everything_to_be_reversed_later(
    bank: Bank,
) -> None:
    original = await paid(bank, spend_minor=500)
    assert end(await original.reverse()) == ("compensated", "insufficient_funds")
    told = await original.reverse(amount_minor=500)
    assert end(told) == ("completed", "")
    assert await original.balances(told) == (500, 0)


async def test_a_reversal_itself_is_not_reversed(bank: Bank) -> None:
    original = await paid(bank)
    told = await original.reverse()
    again = Paid(bank, original.target, original.source, told)
    answer = await again.reverse()
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/not-reversible")
    assert "it is a reversal" in answer.json()["detail"]


@pytest.mark.parametrize("amount", [1_001, 0, -1, "5", 1.5, None])
async def test_an_amount_that_is_none_or_above_the_total_is_refused_before_anything_starts(
    bank: Bank, amount: Any
) -> None:
    answer = await (await paid(bank)).reverse(amount_minor=amount)
    assert answer.status_code == 400, answer.text
    assert [error["place"] for error in answer.json()["errors"]] == ["amount_minor"]


@pytest.mark.parametrize("given", ["source", "target", "currency", "total_minor"])
async def test_what_the_original_says_the_caller_does_not(bank: Bank, given: str) -> None:
    answer = await (await paid(bank)).reverse(**{given: "EUR"})
    assert answer.status_code == 400
    assert [error["place"] for error in answer.json()["errors"]] == [given]


async def test_what_is_not_completed_is_not_reversed(bank: Bank) -> None:
    source, target = await bank.open(10), await bank.open()
    told = await bank.transfer(source, target, 11)
    assert told.json()["state"] == "compensated"
    answer = await Paid(bank, source, target, told).reverse()
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-completed")
    assert "compensated" in answer.json()["detail"]


async def test_what_nobody_knows_or_what_belongs_to_another_tenant_is_not_found(
    bank: Bank,
) -> None:
    original = await paid(bank)
    body = {"definition": "reversal", "original": "0" * 32}
    for told in (
        await bank.post("/transfers", body),
        await bank.post(
            f"/transfers?after={original.as_of}",
            {**body, "original": original.id},
            **{"Makegood-Tenant": "other"},
        ),
    ):
        assert (told.status_code, told.json()["type"]) == (404, "/problems/transfer-unknown")
    malformed = await bank.post("/transfers", {**body, "original": "../" + original.id})
    assert malformed.status_code == 400


async def test_what_the_read_model_can_not_see_yet_is_asked_for_again_and_not_refused(
    bank: Bank,
) -> None:
    original = await paid(bank)
    place, _, _ = original.as_of.partition("@")
    ahead = f"{place}@{10**9}"
    source, target = await bank.open(10), await bank.open()
    due = {"definition": "scheduled_transfer", "execute_at": "2100-01-01T00:00:00+00:00"}
    money = {"source": source, "target": target, "amount_minor": 1, "currency": "EUR"}
    running = (await bank.post("/transfers", {**due, **money})).json()["id"]
    for unsure in ("0" * 32, running):
        body = {"definition": "reversal", "original": unsure}
        answer = await bank.post(f"/transfers?after={ahead}", body)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/read-model-behind")
        assert answer.headers["Retry-After"] == "2"
    # What is completed stays so, whatever else is not seen.
    body = {"definition": "reversal", "original": original.id}
    told = await bank.post(f"/transfers?after={ahead}", body, Prefer="wait=10")
    assert end(told) == ("completed", "")


async def test_a_claims_service_that_dies_in_between_loses_nothing(bank: Bank) -> None:
    original = await paid(bank)
    assert end(await original.reverse(amount_minor=700)) == ("completed", "")
    every = frozenset(bank.claims.working)
    bank.claims.own(frozenset())
    while bank.claims.working:
        await asyncio.sleep(0.01)
    asked = asyncio.create_task(original.reverse(amount_minor=301))
    await asyncio.sleep(0)
    bank.claims.own(every)
    assert end(await asked) == ("compensated", "limit_exceeded")
    told = await original.reverse(amount_minor=300)
    assert end(told) == ("completed", "")
    assert await original.balances(told) == (1_000, 0)
