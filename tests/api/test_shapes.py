"""Every definition that ships is started with POST /transfers; signals come over HTTP too."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx import Response

from audit.auditor import audit
from saga_definitions.approved_transfer import FREE_UP_TO_MINOR
from saga_definitions.timetable import Timetable
from tests.api.bank import Bank, new_key

LARGE = FREE_UP_TO_MINOR + 1
BEA = {"verdict": "approve", "who": "bea", "why": "ticket 7"}


def soon(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


async def start(bank: Bank, definition: str, key: str | None = None, **params: Any) -> Response:
    body = {"definition": definition, "currency": "EUR", **params}
    return await bank.post("/transfers", body, key, Prefer="wait=10")


async def balance(bank: Bank, account: str) -> int:
    # An account's own answer carries a position of its journal.
    after = await bank.post(f"/accounts/{account}/freeze")
    found: int = (await bank.look(f"/accounts/{account}", after))["balance_minor"]
    return found


async def approved(bank: Bank, key: str | None = None) -> tuple[Response, str]:
    source, target = await bank.open(2 * LARGE), await bank.open()
    ann = {"source": source, "target": target, "initiator": "ann"}
    return await start(bank, "approved_transfer", key, amount_minor=LARGE, **ann), target


async def test_a_transfer_that_waits_for_a_person_is_told_at_once_and_listed(bank: Bank) -> None:
    answer, _ = await approved(bank)
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["reason"] == "waiting"
    seen = await bank.look(f"/sagas/{answer.json()['id']}", answer)
    assert (seen["state"], seen["reason"], seen["step"]) == ("running", "waiting", "approval")
    found = await bank.client.get("/sagas", params={"reason": "waiting"})
    assert answer.json()["id"] in [saga["id"] for saga in found.json()["sagas"]]


async def test_a_transfer_that_is_asked_for_again_while_it_waits_is_told_so(bank: Bank) -> None:
    source, target, key = await bank.open(2 * LARGE), await bank.open(), new_key()
    ann = {"source": source, "target": target, "initiator": "ann", "amount_minor": LARGE}
    await start(bank, "approved_transfer", key, **ann)
    again = await start(bank, "approved_transfer", key, **ann)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.json()["state"], again.json()["reason"]) == ("running", "waiting")


async def test_an_approval_completes_the_transfer_and_is_repeated_safely(bank: Bank) -> None:
    answer, target = await approved(bank)
    path, key = f"/sagas/{answer.json()['id']}/signals/approval", new_key()
    given = await bank.post(path, BEA, key)
    assert (given.status_code, given.json()["state"]) == (200, "running")
    again = await bank.post(path, BEA, key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    other = await bank.post(path, {**BEA, "verdict": "reject"}, key)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    late = await bank.post(path, BEA)
    assert (late.status_code, late.json()["type"]) == (409, "/problems/signal-refused")
    assert late.json()["reason"] in ("not_waiting", "saga_finished")
    ended = await wait_for_the_end(bank, answer)
    assert ended["state"] == "completed"
    assert await balance(bank, target) == LARGE


async def wait_for_the_end(bank: Bank, started: Response) -> dict[str, Any]:
    """The saga's last word: its record comes behind those that were seen."""
    after = started
    for _ in range(100):
        seen = await bank.look(f"/sagas/{started.json()['id']}", after)
        if seen["finished_at"]:
            return seen
        place, _, offset = seen["as_of"].partition("@")
        after = Response(200, json={"as_of": f"{place}@{int(offset) + 1}"})
    raise AssertionError(seen)


async def test_who_asked_for_a_transfer_does_not_approve_it(bank: Bank) -> None:
    answer, target = await approved(bank)
    path = f"/sagas/{answer.json()['id']}/signals/approval"
    refused = await bank.post(path, {**BEA, "who": "ANN"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "same_person")
    rejected = await bank.post(path, {**BEA, "verdict": "reject"})
    assert rejected.status_code == 200
    ended = await wait_for_the_end(bank, answer)
    assert (ended["state"], ended["reason"]) == ("compensated", "rejected")
    assert await balance(bank, target) == 0


async def test_a_signal_that_is_none_is_refused(bank: Bank) -> None:
    answer, _ = await approved(bank)
    path = f"/sagas/{answer.json()['id']}/signals"
    for bad in (
        {"verdict": "maybe", "who": "bea"},
        {"verdict": "approve"},
        {"verdict": "approve", "who": "a b"},
        {**BEA, "payload": {"deep": {"er": 1}}},
        {**BEA, "payload": {str(n): n for n in range(21)}},
        {**BEA, "more": 1},
    ):
        refused = await bank.post(f"{path}/approval", bad)
        assert refused.status_code == 400, refused.text
    unknown = await bank.post(f"{path}/nobody", BEA)
    assert (unknown.status_code, unknown.json()["reason"]) == (409, "signal_unknown")
    odd = await bank.post(f"{path}/A%20b", BEA)
    assert (odd.status_code, odd.json()["reason"]) == (409, "signal_unknown")
    nobody = await bank.post(f"/sagas/{'0' * 32}/signals/approval", BEA)
    assert (nobody.status_code, nobody.json()["reason"]) == (409, "saga_unknown")


async def test_a_split_transfer_pays_all(bank: Bank) -> None:
    source, one, other = await bank.open(100), await bank.open(), await bank.open()
    legs = [{"target": one, "amount_minor": 10}, {"target": other, "amount_minor": 20}]
    answer = await start(bank, "split_transfer", source=source, amount_minor=30, legs=legs)
    assert answer.json()["state"] == "completed", answer.text
    assert [await balance(bank, account) for account in (source, one, other)] == [70, 10, 20]


async def test_an_fx_transfer_pays_in_another_currency(bank: Bank) -> None:
    source, target = await bank.open(1_000), await bank.open(currency="JPY")
    ours, theirs = await bank.open(), await bank.open(9_000, currency="JPY")
    answer = await start(
        bank,
        "fx_transfer",
        source=source,
        amount_minor=1_000,
        target=target,
        target_amount_minor=1_624,
        target_currency="JPY",
        rate="162.35",
        quote_ends_at=soon(minutes=1),
        source_liquidity=ours,
        target_liquidity=theirs,
    )
    assert answer.json()["state"] == "completed", answer.text
    assert [await balance(bank, account) for account in (target, theirs)] == [1_624, 7_376]


async def test_a_scheduled_transfer_waits_and_is_carried_out(bank: Bank) -> None:
    source, target = await bank.open(100), await bank.open()
    money = {"source": source, "target": target, "amount_minor": 30}
    far = await start(bank, "scheduled_transfer", execute_at=soon(days=400), **money)
    assert (far.json()["state"], far.json()["reason"]) == ("running", "waiting")
    near = await start(bank, "scheduled_transfer", execute_at=soon(milliseconds=200), **money)
    assert (await wait_for_the_end(bank, near))["state"] == "completed"
    cancelled = await bank.post(
        f"/sagas/{far.json()['id']}/cancel", {"who": "ann", "why": "ticket 7"}
    )
    assert cancelled.status_code == 200, cancelled.text
    assert await balance(bank, target) == 30


async def test_a_standing_order_pays_one_after_the_other_until_it_is_cancelled(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = [soon(milliseconds=300), soon(milliseconds=600), soon(days=30), soon(days=60)]
    monkeypatch.setattr(Timetable, "instants", lambda *_: due)
    source, target, key = await bank.open(50), await bank.open(), new_key()
    order = {
        "source": source,
        "target": target,
        "amount_minor": 30,
        "first": "2026-01-31",
        "every": "month",
        "at": "09:00",
        "zone": "Europe/Berlin",
        "times": 4,
    }
    answer = await start(bank, "standing_order", key, **order)
    assert (answer.json()["state"], answer.json()["reason"]) == ("running", "waiting")
    path = f"/sagas/{answer.json()['id']}"
    assert (await bank.look(path, answer))["params"]["due"] == due
    async with asyncio.timeout(10):
        while (await bank.client.get(path)).json()["step"] != "pay.2":
            await asyncio.sleep(0.05)
    again = await start(bank, "standing_order", key, **order)
    assert again.headers["Idempotency-Replayed"] == "true"
    cancelled = await bank.post(f"{path}/cancel", {"who": "ann", "why": "moved out"})
    assert cancelled.status_code == 200, cancelled.text
    ended = await wait_for_the_end(bank, answer)
    assert (ended["state"], ended["reason"]) == ("completed", "partial")
    legs = (await bank.client.get(f"{path}/legs", params={"step": "pay"})).json()["legs"]
    assert [(leg["element"], leg["state"], leg["reason"]) for leg in legs] == [
        (due[0], "succeeded", ""),
        (due[1], "refused", "insufficient_funds"),
        (due[2], "refused", "cancelled"),
        (due[3], "refused", "cancelled"),
    ]
    payments = [(await bank.client.get(f"/sagas/{leg['saga']}")).json() for leg in legs[:2]]
    assert [(one["parent"]["step"], one["state"]) for one in payments] == [
        ("pay.0", "completed"),
        ("pay.1", "compensated"),
    ]
    assert [leg["saga"] for leg in legs[2:]] == [None, None]
    assert [await balance(bank, one) for one in (source, target)] == [20, 30]
    report = await audit(bank.log, bank.app.state.engine)
    assert report.violations == []
    assert report.database


async def test_a_standing_order_that_makes_no_sense_is_refused_with_its_place(bank: Bank) -> None:
    order = {"source": "a", "target": "b", "amount_minor": 30, "first": "2026-02-30", "at": "9"}
    refused = await start(bank, "standing_order", **order, every="month", zone="UTC", times=4)
    assert refused.status_code == 400
    assert "must be a day" in refused.text and "must be a time of day" in refused.text


async def test_params_of_another_shape_are_refused_with_their_place(bank: Bank) -> None:
    source = await bank.open(100)
    refused = await start(bank, "split_transfer", source=source, amount_minor=1, legs=[])
    assert refused.status_code == 400
    assert "must be a list of 1 to 10 legs" in refused.text


async def test_a_payroll_pays_300_and_tells_whom_it_could_not_pay(bank: Bank) -> None:
    """More legs than a plan may have steps; for a quarter of them there is no account."""
    source, targets = await bank.open(1_000_000), [await bank.open() for _ in range(3)]
    targets.append("nobody-there")
    legs = [{"target": targets[n % 4], "amount_minor": n + 1} for n in range(300)]
    total, lost = sum(range(1, 301)), sum(range(4, 301, 4))
    answer = await start(bank, "payroll", source=source, amount_minor=total, legs=legs)
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    assert answer.json()["reason"] == "partial"
    assert await balance(bank, source) == 1_000_000 - total + lost
    assert sum([await balance(bank, target) for target in targets[:3]]) == total - lost

    path = f"/sagas/{answer.json()['id']}"
    saga = await bank.look(path, answer)
    assert (saga["state"], saga["reason"]) == ("completed", "partial")
    assert (len(saga["params"]["legs"]), saga["params"]["legs.left_out"]) == (20, 280)
    (pay,) = (step for step in saga["steps"] if step["name"] == "pay")
    assert (pay["state"], pay["legs"]["applied"], pay["legs"]["refused"]) == ("succeeded", 225, 75)
    refused = {"step": "pay", "state": "refused", "limit": 50}
    page = (await bank.client.get(f"{path}/legs", params=refused)).json()
    assert [(leg["leg"], leg["reason"]) for leg in page["legs"][:2]] == [
        (3, "account_unknown"),
        (7, "account_unknown"),
    ]
    assert page["legs"][0]["element"] == {"target": "nobody-there", "amount_minor": 4}
    assert page["legs"][0]["saga"] is None
    rest = await bank.client.get(f"{path}/legs", params={**refused, "from": page["next"]})
    assert (len(page["legs"]), len(rest.json()["legs"]), rest.json()["next"]) == (50, 25, None)
    timeline = (await bank.client.get(f"{path}/timeline", params={"limit": 1})).json()
    assert len(timeline["entries"][0]["event"]["params"]["legs"]) == 20
    assert (await bank.client.get(f"{path}/legs", params={"step": "debit"})).status_code == 400


async def test_only_a_payroll_may_have_a_body_of_more_than_64_kib(bank: Bank) -> None:
    legs = [{"target": f"nobody-{n:05}", "amount_minor": 1} for n in range(2_000)]
    params: dict[str, Any] = {"source": await bank.open(), "amount_minor": 2_000, "legs": legs}
    refused = await start(bank, "split_transfer", **params)
    assert (refused.status_code, refused.json()["type"]) == (413, "/problems/body-too-large")
    answer = await start(bank, "payroll", **params)
    assert answer.json()["reason"] == "insufficient_funds"
    too_many = await start(bank, "payroll", **{**params, "legs": legs * 12})
    assert too_many.status_code == 413


async def with_fee(bank: Bank, *, target_open: bool) -> tuple[dict[str, Any], list[int]]:
    """A transfer of 100 with a fee of 3, as it ends; the balances of source, target and fees."""
    source, target, fees = await bank.open(500), await bank.open(), await bank.open()
    if not target_open:
        closed = await bank.post(f"/accounts/{target}/close")
        assert closed.status_code == 200, closed.text
    money = {"source": source, "target": target, "amount_minor": 100}
    answer = await start(bank, "transfer_with_fee", **money, fee_account=fees, fee_minor=3)
    assert answer.status_code == 200, answer.text
    seen = await bank.look(f"/sagas/{answer.json()['id']}", answer)
    return seen, [await balance(bank, account) for account in (source, fees)]


async def child_of(
    bank: Bank, saga: dict[str, Any], step: str, state: str
) -> tuple[dict[str, Any], list[str]]:
    """The saga that a step is, once it has ended so and told its parent, and its timeline."""
    (child,) = (one["saga"] for one in saga["steps"] if one["name"] == step)
    async with asyncio.timeout(10):
        while True:
            # The timeline last: it is never behind.
            seen = (await bank.client.get(f"/sagas/{child}")).json()
            told = (await bank.client.get(f"/sagas/{child}/timeline")).json().get("entries", [])
            texts = [entry["text"] for entry in told]
            if seen.get("state") == state and texts[-1].startswith("answers"):
                return seen, texts
            await asyncio.sleep(0.01)


async def test_a_transfer_with_a_fee_is_two_sagas_within_a_third(bank: Bank) -> None:
    saga, balances = await with_fee(bank, target_open=True)
    assert (saga["state"], saga["parent"], balances) == ("completed", None, [397, 3])
    payment, texts = await child_of(bank, saga, "payment", "completed")
    assert payment["definition"] == "transfer"
    assert payment["parent"] == {"id": saga["id"], "step": "payment"}
    assert texts[0] == f"started for payment of saga {saga['id']}"
    assert texts[-1] == f"answers payment of saga {saga['id']}: applied"


async def test_a_fee_that_was_paid_is_given_back_with_the_transfer_that_failed(bank: Bank) -> None:
    saga, balances = await with_fee(bank, target_open=False)
    assert (saga["state"], saga["reason"]) == ("compensated", "account_closed")
    assert balances == [500, 0]
    fee, _ = await child_of(bank, saga, "fee", "compensated")
    assert fee["reason"] == "undone_by_parent"
    refused = await bank.post(f"/sagas/{fee['id']}/retry", {"who": "ann", "why": "ticket 7"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "saga_finished")


async def test_the_audit_finds_the_sagas_within_sagas_right(bank: Bank) -> None:
    for target_open in (True, False):
        saga, _ = await with_fee(bank, target_open=target_open)
        await child_of(bank, saga, "fee", saga["state"])
    report = await audit(bank.log, bank.app.state.engine)
    assert report.violations == []
    assert report.database
