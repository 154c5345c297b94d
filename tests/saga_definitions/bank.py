"""A bank of machines without a log: what definitions do to real accounts and claims, purely.

Every message arrives, in the order in which it was sent; time passes only when a test says so.
"""

from collections import deque
from typing import Any

from account_service.ledger import DEFAULT_HORIZON_MS
from account_service.machine import AccountMachine
from account_service.service import INPUTS as ACCOUNT_INPUTS
from claims.machine import ClaimsMachine
from claims.service import INPUTS as CLAIM_INPUTS
from journal.machine import Machine
from journal.topics import ANSWERS
from messages.account import (
    AccountCommand,
    AccountEvent,
    CloseAccount,
    Deposit,
    Freeze,
    OpenAccount,
    Unfreeze,
    Withdraw,
)
from messages.saga import FINISHED, SagaEvent, SignalSaga, StartSaga, Verdict
from orchestrator.machine import SagaMachine
from orchestrator.service import INPUTS as SAGA_INPUTS
from saga_definitions.dsl import Definition
from saga_definitions.registry import Registry, shipped

SAGA = "5a6a" * 8
NOW_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""


class Bank:
    """`events`: of the sagas; `account_events`. Balances in minor units by account."""

    def __init__(self, *definitions: Definition, **balances: tuple[int, str]) -> None:
        """`definitions`: besides those that ship."""
        self.now_ms = NOW_MS
        ships = shipped()
        self.definitions = Registry((*definitions, *(ships.find(one) for one in ships.names())))
        self.sagas = SagaMachine(self.definitions)
        self.claims = ClaimsMachine(DEFAULT_HORIZON_MS)
        self.accounts = AccountMachine()
        self.events: list[SagaEvent] = []
        self.account_events: list[AccountEvent] = []
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._names = 0
        for account, (balance, currency) in balances.items():
            self.order(OpenAccount(**self._named(account), currency=currency))
            if balance:
                self.order(Deposit(**self._named(account), amount_minor=balance, currency=currency))

    def order(self, command: AccountCommand) -> None:
        self._work(self.accounts, command)

    def freeze(self, account: str) -> None:
        self.order(Freeze(**self._named(account)))

    def unfreeze(self, account: str) -> None:
        self.order(Unfreeze(**self._named(account)))

    def deposit(self, account: str, amount_minor: int) -> None:
        named = self._named(account)
        self.order(Deposit(**named, amount_minor=amount_minor, currency="EUR"))

    def withdraw(self, account: str, amount_minor: int) -> None:
        named = self._named(account)
        self.order(Withdraw(**named, amount_minor=amount_minor, currency="EUR"))

    def close(self, account: str) -> None:
        self.order(CloseAccount(**self._named(account)))

    def start(self, definition: str, saga: str = SAGA, **params: Any) -> "Bank":
        """Start a saga and let everything happen that follows at once."""
        return self.take(
            StartSaga(
                saga_id=saga,
                tenant="bank",
                definition=definition,
                params=params,
                fingerprint="",
                request_id="r1",
                issued_at_ms=self.now_ms,
            )
        )

    def signal(
        self, name: str, verdict: Verdict = "approve", who: str = "bea", saga: str = SAGA
    ) -> "Bank":
        self._names += 1
        return self.take(
            SignalSaga(
                saga_id=saga,
                signal=name,
                request_id=f"g{self._names}",
                verdict=verdict,
                who=who,
            )
        )

    def wait(self, *, s: int = 0, days: int = 0) -> "Bank":
        until_ms = self.now_ms + 1_000 * s + 86_400_000 * days
        while (due := self._next_due()) is not None and due[0] <= until_ms:
            self.now_ms = max(self.now_ms, due[0])
            self._fold(due[1], due[1].fire(self.now_ms))
            self._deliver()
        self.now_ms = until_ms
        return self

    def _next_due(self) -> tuple[int, Machine[Any, Any]] | None:
        machines: tuple[Machine[Any, Any], ...] = (self.sagas, self.claims)
        due = [(machine.next_due_ms(), machine) for machine in machines]
        found = [(at_ms, machine) for at_ms, machine in due if at_ms is not None]
        return min(found, key=lambda one: one[0], default=None)

    @property
    def state(self) -> tuple[str, str]:
        """The saga's state and reason."""
        return self.state_of(SAGA)

    def state_of(self, saga: str) -> tuple[str, str]:
        found = self.sagas.sagas.get(saga)
        assert found is not None, self.events
        return found.state, found.reason

    @property
    def balances(self) -> dict[str, int]:
        """What each account has; nothing may be held once the saga is finished."""
        accounts = self.accounts.ledger.accounts()
        if self.state[0] in FINISHED:
            assert not any(account.holds for account in accounts)
        return {account.account_id: account.balance_minor for account in accounts}

    @property
    def held(self) -> dict[str, int]:
        accounts = self.accounts.ledger.accounts()
        return {a.account_id: a.held_minor for a in accounts if a.held_minor}

    def _named(self, account: str) -> dict[str, Any]:
        self._names += 1
        return {
            "account_id": account,
            "effect_id": f"order-{self._names}",
            "issued_at_ms": self.now_ms,
        }

    def take(self, message: Any) -> "Bank":
        """The sagas get the message, and everything happens that follows at once."""
        self._work(self.sagas, message)
        self._deliver()
        return self

    def _deliver(self) -> None:
        while self._waiting:
            topic, value = self._waiting.popleft()
            if topic == "account.input":
                self._work(self.accounts, ACCOUNT_INPUTS.decode(value))
            elif topic == "claims.input":
                self._work(self.claims, CLAIM_INPUTS.decode(value))
            else:
                self._work(self.sagas, SAGA_INPUTS.decode(value))

    def _work(self, machine: Machine[Any, Any], message: Any) -> None:
        self._fold(machine, machine.decide(message, self.now_ms))

    def _fold(self, machine: Machine[Any, Any], events: Any) -> None:
        for event in events:
            machine.evolve(event)
            if machine is self.sagas:
                self.events.append(event)
            elif machine is self.accounts:
                self.account_events.append(event)
            self._waiting.extend(
                (out.topic, out.value) for out in machine.outputs(event) if out.topic != ANSWERS
            )
