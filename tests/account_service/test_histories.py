"""No history breaks the bank: duplicates, retries, reused names, late undos, clocks, restarts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule
from msgspec.structs import replace

from account_service.answers import answer
from account_service.effects import MAX_SKEW_MS
from account_service.ledger import Ledger
from messages import account as m
from messages.account import AccountCommand, AccountEvent
from messages.wire import Codec, encode
from tests.account_service.bookkeeper import Bookkeeper
from tests.account_service.statement import (
    DAY,
    HOUR,
    MINUTE,
    NOT_CHANGES,
    NOW,
    capture,
    change_limits,
    close,
    credit,
    credit_on_hold,
    debit,
    deposit,
    freeze,
    hold,
    open_account,
    release,
    unfreeze,
    withdraw,
)

HORIZON = 3 * DAY
ACCOUNTS = ("alice", "bob", "carol")
HOLDS = (m.Hold, m.CreditOnHold)
ABOUT_THE_MEMORY = ("effect_reused", "effect_expired", "effect_voided")

accounts = st.sampled_from(("alice",) * 5 + ("bob",) * 3 + ("carol",))
currencies = st.sampled_from(("EUR",) * 15 + ("USD",))
amounts = st.sampled_from((1, 2, 3, 5, 8, 13, 20, 30, 80, 200, 2**63 - 1))
limits = st.none() | st.none() | st.integers(0, 100)
moments = st.sampled_from((0,) * 18 + (-HOUR, -DAY, -HORIZON, MINUTE, MAX_SKEW_MS, 2 * MAX_SKEW_MS))
steps = st.sampled_from((0, 1, 1, HOUR, 5 * HOUR, DAY, HORIZON, HORIZON + MAX_SKEW_MS, -HOUR))

codec: Codec[AccountEvent] = Codec(AccountEvent)


@dataclass(eq=False)
class Request:
    """One request of a well-behaved asker, who may send it often and late.

    `applied` counts the events that changed something because of it; `undone_in_vain` says that
    its compensation was told that there was nothing to take back.
    """

    command: AccountCommand
    forward: "Request | None" = None
    reuses_a_name: bool = False
    applied: int = 0
    given_back: int = 0
    undone_in_vain: bool = False
    first_answer: Any = None
    compensations: "dict[str, Request]" = field(default_factory=dict)


class Histories(RuleBasedStateMachine):
    requests = Bundle("requests")
    forwards = Bundle("forwards")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = NOW
        self.ledger = Ledger(HORIZON)
        self.bookkeeper = Bookkeeper()
        self.journal: list[AccountEvent] = []
        self.names = 0
        self.last_applied: dict[str, int] = {}

    @initialize(overdraft=st.integers(0, 50), daily=limits)
    def open_accounts(self, overdraft: int, daily: int | None) -> None:
        for name in ACCOUNTS[:2]:
            asked = {"account_id": name, "step": "open"}
            self.send(Request(open_account(effect_id=f"open-{name}", **asked)))
            self.send(Request(deposit(200, effect_id=f"seed-{name}", **asked)))
        self.send(
            Request(
                change_limits(
                    effect_id="limits",
                    overdraft_limit_minor=overdraft,
                    daily_limit_minor=daily,
                )
            )
        )

    # What can be asked

    def asked(self, account_id: str, skew_ms: int, reused: int | None) -> dict[str, Any]:
        self.names += 1
        number = self.names if reused is None else 1 + reused % self.names
        return {
            "account_id": account_id,
            "effect_id": f"effect-{number}",
            "issued_at_ms": self.now_ms + skew_ms,
            "saga_id": f"saga-{number % 3}",
            "step": f"step-{self.names}",  # so that a reused name is always another request
        }

    common: dict[str, Any] = {  # noqa: RUF012
        "account_id": accounts,
        "skew_ms": moments,
        "reused": st.sampled_from((None,) * 8 + (0, 1, 2, 3, 5)),
    }

    @rule(
        target=forwards,
        ask=st.sampled_from((debit, debit, debit, hold, withdraw, credit, deposit)),
        amount=amounts,
        currency=currencies,
        sent=st.sampled_from((True, True, False)),
        **common,
    )
    def ask_for_money(
        self,
        ask: Callable[..., AccountCommand],
        amount: int,
        currency: str,
        sent: bool,
        account_id: str,
        skew_ms: int,
        reused: int | None,
    ) -> Request:
        named = self.asked(account_id, skew_ms, reused)
        request = Request(ask(amount, currency=currency, **named), None, reused is not None)
        if sent:
            self.send(request)
        return request

    @rule(
        target=holds,
        ask=st.sampled_from((hold, credit_on_hold)),
        amount=amounts,
        account_id=accounts,
    )
    def ask_to_hold(
        self, ask: Callable[..., AccountCommand], amount: int, account_id: str
    ) -> Request:
        request = Request(ask(amount, **self.asked(account_id, 0, None)))
        self.send(request)
        return request

    @rule(target=forwards, held=holds, ask=st.sampled_from((capture, capture, release)))
    def ask_for_a_hold(self, held: Request, ask: Callable[..., AccountCommand]) -> Request:
        named = self.asked(held.command.account_id, 0, None)
        request = Request(ask(held.command.effect_id, **named))
        self.send(request)
        return request

    @rule(
        target=requests,
        ask=st.sampled_from(
            (freeze, unfreeze, unfreeze, close, open_account) + (change_limits,) * 2
        ),
        credits=st.sampled_from(("accept", "refuse")),
        overdraft=st.integers(0, 60),
        daily=limits,
        transfer=limits,
        **common,
    )
    def ask_for_a_change(
        self,
        ask: Callable[..., AccountCommand],
        credits: str,
        overdraft: int,
        daily: int | None,
        transfer: int | None,
        account_id: str,
        skew_ms: int,
        reused: int | None,
    ) -> Request:
        fields: dict[str, Any] = {}
        if ask is freeze:
            fields["credits"] = credits
        if ask in (open_account, change_limits):
            fields |= {
                "overdraft_limit_minor": overdraft,
                "daily_limit_minor": daily,
                "transfer_limit_minor": transfer,
            }
        request = Request(ask(**fields, **self.asked(account_id, skew_ms, reused)))
        self.send(request)
        return request

    @rule(
        target=requests, forward=forwards | holds, name=st.sampled_from(("undo", "undo", "undo-2"))
    )
    def ask_for_it_back(self, forward: Request, name: str) -> Request:
        if forward.reuses_a_name:
            return forward
        if name in forward.compensations:
            self.send(forward.compensations[name])
            return forward.compensations[name]
        done = forward.command
        fields: dict[str, Any] = {
            "account_id": done.account_id,
            "effect_id": f"{done.effect_id}/{name}",
            "issued_at_ms": done.issued_at_ms,
            "saga_id": done.saga_id,
            "undoes": done.effect_id,
            "direction": "undo",
        }
        if isinstance(done, m.CreditOnHold):
            request = Request(capture(done.effect_id, **fields), forward)
        elif isinstance(done, m.Hold):
            request = Request(release(done.effect_id, **fields), forward)
        else:
            amount = getattr(done, "amount_minor", 1)
            request = Request(credit(amount, **fields), forward)
        forward.compensations[name] = request
        self.send(request)
        return request

    @rule(request=requests | forwards | holds, more=st.sampled_from((0, 0, 1, 2)))
    def send_again(self, request: Request, more: int) -> None:
        request.command = replace(request.command, attempt=request.command.attempt + more)
        self.send(request)

    @rule(by_ms=steps)
    def time_passes(self, by_ms: int) -> None:
        self.now_ms += by_ms

    @rule()
    def the_owner_crashes_and_replays(self) -> None:
        self.ledger = self.replayed()

    @rule(at=st.integers(0, 400))
    def the_owner_crashes_and_restores(self, at: int) -> None:
        at = min(at, len(self.journal))
        before = Ledger(HORIZON)
        for event in self.journal[:at]:
            before.evolve(event)
        restored = Ledger(HORIZON)
        for chunk in before.snapshot():
            restored.restore(chunk)
        assert restored == before
        for event in self.journal[at:]:
            restored.evolve(event)
        assert restored == self.ledger
        self.ledger = restored

    def teardown(self) -> None:
        assert self.replayed() == self.ledger

    def replayed(self) -> Ledger:
        ledger = Ledger(HORIZON)
        for event in self.journal:
            ledger.evolve(codec.decode(encode(event)))
        assert ledger == self.ledger
        return ledger

    # What must be true

    def send(self, request: Request) -> None:
        command = request.command
        event = self.ledger.decide(command, self.now_ms)
        assert self.ledger.decide(command, self.now_ms) == event
        self.ledger.evolve(event)
        self.journal.append(event)
        self.bookkeeper.note(event)
        self.check_the_effect(request, event)
        self.check_the_answer(request, event)

    def check_the_effect(self, request: Request, event: AccountEvent) -> None:
        forward = request.forward
        name = event.effect_id
        if not isinstance(event, NOT_CHANGES):
            request.applied += 1
            assert request.applied == 1, "a request was applied twice"
            assert not request.undone_in_vain, "a voided effect was applied"
            last = self.last_applied.get(name)
            assert last is None or event.at_ms - last >= HORIZON, "a name was used twice"
            self.last_applied[name] = event.at_ms
            if forward is not None:
                forward.given_back += 1
                assert forward.given_back == 1, "an effect was taken back twice"
        if isinstance(event, m.EffectVoided) and forward is not None:
            captured_hold = isinstance(forward.command, HOLDS) and forward.applied
            gone = forward.given_back or captured_hold
            assert gone or not forward.applied, "an applied effect was taken for one that never was"
            if not forward.applied:
                forward.undone_in_vain = True
            elif isinstance(forward.command, HOLDS):
                assert name not in self.ledger.account(event.account_id).holds

    def check_the_answer(self, request: Request, event: AccountEvent) -> None:
        if isinstance(event, m.CommandRefused) and event.reason in ABOUT_THE_MEMORY:
            return
        told = answer(event)
        assert told is not None
        told = replace(told, attempt=0)
        if isinstance(event, m.EffectRepeated):
            assert told == request.first_answer, "a repetition was told something else"
        request.first_answer = told


Histories.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_no_history_breaks_the_bank = Histories.TestCase
