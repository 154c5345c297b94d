"""One saga and the accounts it moves money between, in one hand: messages arrive when a test says
so, as often as it says."""

from typing import Any

from account_service.machine import AccountMachine
from account_service.service import INPUTS as ACCOUNT_INPUTS
from journal.topics import ANSWERS
from messages.saga import FINISHED, RecoverSaga, RecoveryAction
from orchestrator.machine import SagaMachine
from orchestrator.service import INPUTS as SAGA_INPUTS

NOW_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
SAGA = "5a6a" * 8


class OnRealAccounts:
    """`waiting`: what is under way between the two; `events`: the saga's partition's."""

    def __init__(self, machine: SagaMachine) -> None:
        self.machine = machine
        self.accounts = AccountMachine()
        self.now_ms = NOW_MS
        self.names = 0
        self.waiting: list[tuple[str, bytes]] = []
        self.events: list[Any] = []

    def name(self) -> str:
        """Of a request of its own."""
        self.names += 1
        return f"request-{self.names}"

    def order(self, kind: Any, account: str, **fields: Any) -> None:
        command = kind(
            account_id=account, effect_id=self.name(), issued_at_ms=self.now_ms, **fields
        )
        for event in self.accounts.decide(command, self.now_ms):
            self.accounts.evolve(event)

    @property
    def saga(self) -> Any:
        return self.machine.sagas.get(SAGA)

    @property
    def balances(self) -> dict[str, int]:
        return {a.account_id: a.balance_minor for a in self.accounts.ledger.accounts()}

    def ask(self, message: Any) -> None:
        self._fold(self.machine, self.machine.decide(message, self.now_ms))

    def say(self, action: RecoveryAction) -> None:
        """An operator's word."""
        name = self.name()
        self.ask(RecoverSaga(saga_id=SAGA, request_id=name, action=action, who="ann", why="enough"))

    def deliver(self, at: int = 0, *, keep: bool = False) -> None:
        topic, value = self.waiting[at] if keep else self.waiting.pop(at)
        if topic == "account.input":
            command = ACCOUNT_INPUTS.decode(value)
            self._fold(self.accounts, self.accounts.decide(command, self.now_ms))
        else:
            self.ask(SAGA_INPUTS.decode(value))

    def deliver_all(self) -> None:
        while self.waiting:
            self.deliver()

    def let_time_pass(self) -> None:
        due_ms = self.machine.next_due_ms()
        if due_ms is not None:
            self.now_ms = max(self.now_ms, due_ms)
            self._fold(self.machine, self.machine.fire(self.now_ms))

    def restored(self, machine: SagaMachine) -> SagaMachine:
        """`machine` with what a snapshot holds."""
        for chunk in self.machine.snapshot():
            machine.restore(chunk)
        return machine

    def finish(self) -> None:
        """Everything arrives, and an operator has a parked saga tried again."""
        for _ in range(2_000):
            if self.waiting:
                self.deliver()
            elif self.saga.state == "parked":
                self.say("retry")
            elif self.saga.state in FINISHED:
                return
            else:
                self.let_time_pass()
        raise AssertionError(f"it does not end: {self.saga}")

    def look(self) -> None:
        """Called after every decision, for what has to hold at any time."""

    def _fold(self, machine: Any, events: Any) -> None:
        for event in events:
            machine.evolve(event)
            if machine is self.machine:
                self.events.append(event)
            self.waiting.extend(
                (out.topic, out.value) for out in machine.outputs(event) if out.topic != ANSWERS
            )
        self.look()
