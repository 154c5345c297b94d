"""Sagas over HTTP: lists and counts, and an operator's ways back."""

from tests.api.bank import Bank

BY = {"who": "ann", "why": "ticket 7"}


async def test_sagas_are_listed_and_counted_by_what_is_asked(bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    done = [await bank.transfer(rich, poor, 100) for _ in range(3)]
    failed = await bank.transfer(rich, poor, 10_000)
    await bank.look(failed.headers["Location"].partition("?")[0], failed)
    for answer in done:
        await bank.look(f"/sagas/{answer.json()['id']}", answer)
    page = (await bank.client.get("/sagas", params={"account": rich, "limit": 3})).json()
    assert [saga["id"] for saga in page["sagas"]] == [
        failed.json()["id"],
        *(answer.json()["id"] for answer in reversed(done[1:])),
    ]
    behind = (
        await bank.client.get(
            "/sagas", params={"account": rich, "limit": 3, "before": page["next"]}
        )
    ).json()
    assert [saga["id"] for saga in behind["sagas"]] == [done[0].json()["id"]]
    assert behind["next"] is None
    counts = (await bank.client.get("/sagas/counts", params={"account": rich})).json()["counts"]
    assert [(c["state"], c["reason"], c["count"]) for c in counts] == [
        ("compensated", "insufficient_funds", 1),
        ("completed", "", 3),
    ]
    only = (await bank.client.get("/sagas", params={"account": rich, "state": "parked"})).json()
    assert only == {"sagas": [], "next": None}


async def test_what_has_ended_is_not_recovered(bank: Bank) -> None:
    rich, poor = await bank.open(1_000), await bank.open()
    ended = (await bank.transfer(rich, poor, 100)).json()["id"]
    for action in ("retry", "compensate", "cancel"):
        answer = await bank.post(f"/sagas/{ended}/{action}", BY)
        assert answer.status_code == 409, answer.text
        assert answer.json()["type"] == "/problems/recovery-refused"
        assert answer.json()["reason"] == "saga_finished"
    unknown = await bank.post(f"/sagas/{'0' * 32}/retry", BY)
    assert (unknown.status_code, unknown.json()["reason"]) == (409, "saga_unknown")


async def test_who_and_why_are_demanded(bank: Bank) -> None:
    for body in ({}, {"who": "ann"}, {"who": "", "why": "x"}, {**BY, "more": 1}):
        answer = await bank.post(f"/sagas/{'0' * 32}/retry", body)
        assert answer.status_code == 400, answer.text


async def test_filters_that_are_none_are_refused(bank: Bank) -> None:
    for params in (
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "x"},
        {"state": "a" * 200},
        {"account": "\x00"},
        {"before": "yesterday"},
        {"before": "2026-01-01T00:00:00~id"},
    ):
        answer = await bank.client.get("/sagas", params=params)
        assert answer.status_code == 400, (params, answer.text)


async def test_a_parked_transfer_is_retried_and_completes_once(impatient: Bank) -> None:
    """The account service is away until the engine gives up; then an operator tries again."""
    bank = impatient
    rich, poor = await bank.open(1_000), await bank.open()
    saga_id = await bank.park(rich, poor, 300)
    found = (await bank.client.get(f"/sagas/{saga_id}")).json()
    assert (found["reason"], found["step"]) == ("effect_expired", "debit")
    answer = await bank.post(f"/sagas/{saga_id}/retry", BY, "ann-1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "running"
    assert "Idempotency-Replayed" not in answer.headers
    same = await bank.post(f"/sagas/{saga_id}/retry", BY, "ann-1")
    assert (same.status_code, same.json()["state"]) == (200, "running")
    assert same.headers["Idempotency-Replayed"] == "true"
    other = await bank.post(f"/sagas/{saga_id}/retry", {**BY, "why": "another"}, "ann-1")
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    again = await bank.post(f"/sagas/{saga_id}/retry", BY)
    assert (again.status_code, again.json()["reason"]) == (409, "saga_not_parked")
    bank.accounts.own(frozenset((0, 1)))
    while (await bank.client.get(f"/sagas/{saga_id}")).json()["state"] != "completed":
        pass
    # Both attempts have reached the account by now; the money moved once.
    balance = 0
    while balance != 300:
        balance = (await bank.client.get(f"/accounts/{poor}")).json()["balance_minor"]
    assert (await bank.client.get(f"/accounts/{rich}")).json()["balance_minor"] == 700
