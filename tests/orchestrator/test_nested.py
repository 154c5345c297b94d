"""Sagas in sagas: the child's end is the step's, and the step's undo takes the child back."""

from typing import Any

from messages.account import Credit, Debit
from messages.identity import child_id
from orchestrator.progress import Saga
from saga_definitions.dsl import Definition, command, define, nested, step
from saga_definitions.registry import Registry
from tests.orchestrator.graphs import MONEY, UNDO, MoveParams, node
from tests.saga_definitions.bank import NOW_MS, SAGA, Bank

p = MoveParams()
GIVEN: Any = {
    "source": p.source,
    "target": p.target,
    "amount_minor": p.amount_minor,
    "currency": p.currency,
}
PARAMS: Any = {"source": "alice", "target": "bob", "amount_minor": 100, "currency": "EUR"}
DAY_MS = 86_400_000


def pay(name: str = "pay", *before: Any) -> Definition:
    """Moves the amount from source to target, and can take it back."""
    return define(
        name,
        version=1,
        params=p,
        steps=(
            *before,
            node("debit", *(one.name for one in before)),
            step(
                "credit",
                do=command(Credit, account_id=p.target, **MONEY),
                undo=command(Debit, account_id=p.target, **MONEY),
                undo_retry=UNDO,
            ),
        ),
    )


def parent(*steps: Any, **options: Any) -> Definition:
    return define("parent", **{"version": 1, "params": p, "steps": steps, **options})


CREDIT_CAROL: Any = {"do": command(Credit, account_id="carol", **MONEY), "pivot": True}
PAID_THEN_CREDIT = parent(
    nested("pay", pay(), given=GIVEN),
    node(
        "debit_bob",
        "pay",
        do=command(Debit, account_id=p.target, **MONEY),
        undo=command(Credit, account_id=p.target, **MONEY),
    ),
    node("credit_carol", "debit_bob", **CREDIT_CAROL),
)


def bank(*definitions: Definition, **more: tuple[int, str]) -> Bank:
    accounts = {"alice": (500, "EUR"), "bob": (0, "EUR"), "carol": (0, "EUR")}
    return Bank(Registry(definitions), **{**accounts, **more})


def child(bank: Bank, step: str = "pay") -> Saga:
    found = bank.sagas.sagas.get(child_of(bank, step))
    assert isinstance(found, Saga), found
    return found


def child_of(bank: Bank, step: str = "pay", life: int = 0) -> str:
    return child_id(SAGA, step, NOW_MS, life)


def lines(bank: Bank, saga_id: str) -> list[str]:
    return [type(event).__name__ for event in bank.events if event.saga_id == saga_id]


def test_a_step_is_done_when_its_saga_is_completed() -> None:
    it = bank(PAID_THEN_CREDIT).start("parent", **PARAMS)
    assert it.state == ("completed", "")
    assert it.balances == {"alice": 400, "bob": 0, "carol": 100}
    assert child(it).state == "completed"


def test_a_step_is_refused_with_the_reason_of_its_saga() -> None:
    it = bank(PAID_THEN_CREDIT)
    it.close("bob")
    it.start("parent", **PARAMS)
    assert it.state == ("compensated", "account_closed")
    assert it.balances == {"alice": 500, "bob": 0, "carol": 0}


def test_a_completed_saga_is_taken_back_by_the_saga_whose_step_it_is() -> None:
    it = bank(PAID_THEN_CREDIT)
    it.close("carol")
    it.start("parent", **PARAMS)
    assert it.state == ("compensated", "account_closed")
    assert it.balances == {"alice": 500, "bob": 0, "carol": 0}
    told = lines(it, child_of(it))
    assert told[: told.index("ParentAsked")].count("SagaCompleted") == 1
    assert told[told.index("ParentAsked") :].count("SagaCompensated") == 1
    ended = it.sagas.sagas.get(child_of(it))
    assert ended is not None
    assert (ended.state, ended.reason) == ("compensated", "undone_by_parent")
