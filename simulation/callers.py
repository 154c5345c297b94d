"""The bank's customers: they open accounts, move money, ask again when in doubt, and at times ask
for something else under a key they have used.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from messages.account import (
    AccountCommand,
    ChangeLimits,
    CloseAccount,
    Deposit,
    Freeze,
    OpenAccount,
    Unfreeze,
    Withdraw,
)
from messages.identity import request_effect_id
from messages.saga import RecoverSaga, SignalAccepted, SignalSaga, StartSaga
from saga_definitions.reversal import REVERSIBLE
from saga_definitions.rules import converted
from simulation.api import Api, Heard, NoAnswer
from simulation.conditions import NESTED, OUTSIDE, PAYOUT, Conditions
from simulation.definitions import LIQUIDITY, instant
from simulation.drawn import WORD, Drawn
from simulation.requests import CURRENCIES, TENANT, reversal, start, with_another_body
from simulation.weather import simulated_ms

_MOST_LEGS: Final = {"split_transfer": 3, "payroll": 5, "payroll_all_or_none": 5}
RATES: Final = ("0.5", "1.0837", "0.922763678")
PATIENCE: Final = 4
"""How often a caller asks again in bad weather before giving up."""

PATIENCE_IN_FAIR_WEATHER: Final = 8


class Exchange(NamedTuple):
    """A request as it was last sent, and the answer that the caller got."""

    request: StartSaga | AccountCommand
    heard: Heard


class Callers:
    """`run` is all traffic of a run; `resolve`, in fair weather, asks about what stayed open.
    `waiting_children`: sagas that are steps of others and wait for a word; `words`: what is said
    to them is drawn apart, so that it changes nothing else."""

    def __init__(
        self,
        rng: Random,
        conditions: Conditions,
        apis: list[Api],
        drawn: Sequence[Drawn],
        happened: Counter[str],
        is_completed: Callable[[str], bool],
        words: Random,
        waiting_children: Callable[[], list[str]],
    ) -> None:
        self._rng = rng
        self._words = words
        self._waiting_children = waiting_children
        self._conditions = conditions
        self._apis = apis
        self._drawn = drawn
        self._signals = {"approved": ("approval", "second")}
        self._signals |= {one.definition.name: (WORD,) for one in drawn if one.waits}
        self._happened = happened
        self._is_completed = is_completed
        self._reversible: list[StartSaga] = []
        self._number = 0
        self._number_of_words = 0
        self._sagas: list[str] = []
        self.exchanges: list[Exchange] = []
        self.open: list[StartSaga | AccountCommand] = []
        """Requests that were given up without an answer."""
        self._customers = [f"acc-{i}" for i in range(conditions.accounts)]
        self.accounts = [*self._customers, *LIQUIDITY.values()]

    async def run(self) -> None:
        rng, conditions = self._rng, self._conditions
        acts: list[Callable[[], StartSaga | AccountCommand]] = [
            *[self._saga] * conditions.transfers,
            *[self._account_request] * conditions.account_requests,
        ]
        rng.shuffle(acts)
        async with asyncio.TaskGroup() as tasks:
            for number, account in enumerate(self._customers):
                tasks.create_task(self._open_account(account, CURRENCIES[number % 5 == 4]))
            for currency, account in LIQUIDITY.items():
                tasks.create_task(self._open_account(account, currency))
            calls = [
                tasks.create_task(self._call(acts[caller :: conditions.callers]))
                for caller in range(conditions.callers)
            ]
            if NESTED in conditions.shapes:
                tasks.create_task(self._tell_children(calls))

    async def resolve(self) -> list[str]:
        """Ask again about every request that has no answer; those that still have none."""
        still_open: list[str] = []
        requests, self.open = self.open, []

        async def again(request: StartSaga | AccountCommand) -> None:
            if not await self._ask(request, PATIENCE_IN_FAIR_WEATHER):
                still_open.append(f"{type(request).__name__} {_name(request)}")

        async with asyncio.TaskGroup() as tasks:
            for request in requests:
                tasks.create_task(again(request))
        return sorted(still_open)

    async def _open_account(self, account: str, currency: str) -> None:
        rng = self._rng
        now_ms = simulated_ms()
        await self._ask(
            OpenAccount(
                account_id=account,
                effect_id=self._effect(),
                issued_at_ms=now_ms,
                currency=currency,
                overdraft_limit_minor=rng.choice((0, 0, 500)),
                transfer_limit_minor=rng.choice((None, None, 2_000)),
                daily_limit_minor=rng.choice((None, None, 6_000)),
            )
        )
        await self._ask(
            Deposit(
                account_id=account,
                effect_id=self._effect(),
                issued_at_ms=now_ms,
                amount_minor=rng.randint(1_000, 10_000),
                currency=currency,
            )
        )

    async def _call(self, acts: list[Callable[[], StartSaga | AccountCommand]]) -> None:
        rng = self._rng
        pause_s = self._conditions.traffic_s / max(1, len(acts))
        for act in acts:
            await asyncio.sleep(rng.expovariate(1 / pause_s))
            request = act()
            answered = await self._ask(request)
            if isinstance(request, StartSaga):
                self._sagas.append(request.saga_id)
                if request.definition in self._signals:
                    await self._decide(request)
                if request.definition in REVERSIBLE:
                    self._reversible.append(request)
                await self._reverse_some()
            if rng.random() < 0.08 and self._sagas:
                await self._recover(rng.choice(self._sagas))
            if rng.random() < 0.1:
                await asyncio.sleep(rng.expovariate(1 / pause_s))
                self._happened["repeated_on_purpose"] += 1
                await self._ask(request)
            elif answered and isinstance(request, StartSaga) and rng.random() < 0.05:
                self._happened["key_reused"] += 1
                await self._ask(with_another_body(request))

    async def _ask(self, request: StartSaga | AccountCommand, patience: int = PATIENCE) -> bool:
        """Ask until there is an answer; the same key every time, however often."""
        for attempt in range(patience):
            if attempt:
                self._happened["asked_again"] += 1
                await asyncio.sleep(self._rng.expovariate(1.0))
            api = self._rng.choice(self._apis)
            try:
                if isinstance(request, StartSaga):
                    request = self._fresh(request)
                    heard = await api.start_saga(request)
                else:
                    heard = await api.ask_account(request)
            except NoAnswer as error:
                self._happened[error.why] += 1
                continue
            self.exchanges.append(Exchange(request, heard))
            return True
        self.open.append(request)
        return False

    async def _recover(self, saga_id: str) -> None:
        """An operator who does the first thing that comes to mind, at times two of them."""
        rng = self._rng
        for _ in range(rng.choice((1, 1, 2))):
            self._number += 1
            action = rng.choice(("retry", "retry", "compensate", "cancel"))
            self._happened[f"operator_{action}"] += 1
            command = RecoverSaga(
                saga_id=saga_id,
                request_id=f"o{self._number}",
                action=action,
                who="operator",
                why="simulation",
            )
            for _ in range(rng.choice((1, 1, 2))):
                try:
                    await rng.choice(self._apis).recover_saga(command)
                except NoAnswer as error:
                    self._happened[error.why] += 1

    async def _decide(self, request: StartSaga) -> None:
        """Persons who approve, reject, forget, or are the same as the one who asks; and who say it
        again when they hear nothing."""
        rng = self._rng
        signals = self._signals[request.definition]
        for name in rng.sample(signals, rng.randint(1, len(signals))):
            if rng.random() < 0.15:
                continue
            await asyncio.sleep(rng.expovariate(1.0))
            self._number += 1
            command = SignalSaga(
                saga_id=request.saga_id,
                signal=name,
                request_id=f"g{self._number}",
                verdict="approve" if rng.random() < 0.85 else "reject",
                who=rng.choice(("bea", "bea", "cid", "ann")),
            )
            for _ in range(rng.choice((1, 2, PATIENCE))):
                try:
                    await rng.choice(self._apis).signal_saga(command)
                except NoAnswer as error:
                    self._happened[error.why] += 1
                else:
                    if rng.random() < 0.8:
                        break
                    self._happened["signal_repeated_on_purpose"] += 1

    async def _tell_children(self, calls: Sequence[asyncio.Task[None]]) -> None:
        """Somebody who looks now and then for sagas that are steps and wait for a word, as long as
        there is other traffic."""
        rng = self._words
        while not all(call.done() for call in calls):
            await asyncio.sleep(rng.expovariate(1.0))
            for saga in self._waiting_children():
                if rng.random() < 0.5:
                    self._number_of_words += 1
                    await self._tell_child(saga, f"c{self._number_of_words}")

    async def _tell_child(self, saga: str, request_id: str) -> None:
        rng = self._words
        command = SignalSaga(
            saga_id=saga,
            signal=WORD,
            request_id=request_id,
            verdict="approve" if rng.random() < 0.7 else "reject",
            who="bea",
        )
        try:
            heard = await rng.choice(self._apis).signal_saga(command)
        except NoAnswer as error:
            self._happened[error.why] += 1
        else:
            if isinstance(heard.event, SignalAccepted):
                self._happened[f"child told to {command.verdict}"] += 1

    async def _reverse_some(self) -> None:
        """Give back a transfer that is completed: all of it or a part, more than it was, or what
        was given back before; at times in two requests at once."""
        rng = self._rng
        if not self._conditions.claims_processes or rng.random() > 0.3:
            return
        # Mostly the same few: what is given back again counts.
        known = [one for one in self._reversible if self._is_completed(one.saga_id)][-4:]
        if not known:
            return
        original = rng.choice(known)
        requests = [self._reversal(original) for _ in range(rng.choice((1, 1, 2)))]
        self._happened["reversals_at_once"] += len(requests) > 1
        async with asyncio.TaskGroup() as tasks:
            for request in requests:
                tasks.create_task(self._ask(request))

    def _reversal(self, original: StartSaga) -> StartSaga:
        self._number += 1
        kind, request = reversal(self._rng, f"key-{self._number}", original)
        self._happened[f"reversal_of_{kind}"] += 1
        return request

    def _fresh(self, request: StartSaga) -> StartSaga:
        """The same request under a request id of this attempt's own."""
        self._number += 1
        return StartSaga(
            saga_id=request.saga_id,
            tenant=request.tenant,
            definition=request.definition,
            params=request.params,
            fingerprint=request.fingerprint,
            request_id=f"r{self._number}",
            issued_at_ms=request.issued_at_ms,
        )

    def _saga(self) -> StartSaga:
        rng = self._rng
        self._number += 1
        known = [*self.accounts, "acc-nobody"] if rng.random() < 0.1 else self.accounts
        source, target = rng.sample(known, 2)
        amount = rng.choice((1, rng.randint(1, 500), rng.randint(500, 3_000)))
        currency = CURRENCIES[0] if rng.random() < 0.95 else CURRENCIES[1]
        name = rng.choice(
            (
                *("transfer", "patient", "reserved_transfer", "collect") * 2,
                *("approved", "split_transfer", "fx_transfer", "scheduled_transfer"),
                *("transfer_with_fee", "journey", "payroll", "payroll_all_or_none"),
                "standing_order",
                *("",) * (4 if self._conditions.participant != OUTSIDE else 12),
                *(("external_payout",) * 4 if self._conditions.participant == PAYOUT else ()),
            )
        )
        if not name:
            one = rng.choice(self._drawn)
            params = one.params(rng, known, currency, simulated_ms())
            return start(f"key-{self._number}", one.definition.name, params)
        params: dict[str, object] = {"amount_minor": amount, "currency": currency}
        if name == "collect":
            second = rng.choice([account for account in known if account != target])
            params |= {"first": source, "second": second, "target": target}
            params["total_minor"] = 2 * amount
        else:
            params |= {"source": source, "target": target}
        if name == "approved":
            params["initiator"] = "ann"
        elif name == "scheduled_transfer":
            params["execute_at"] = instant(simulated_ms() + rng.randint(-5_000, 60_000))
        elif name == "standing_order":
            params |= {"first": "2026-01-31", "every": "month", "at": "09:00", "zone": "UTC"}
            params["times"] = rng.randint(1, 4)
        elif name == "external_payout":
            del params["target"]
            params |= {"creditor_name": "Bob", "creditor_account": "DE89", "reference": "by chance"}
        elif name in _MOST_LEGS:
            del params["target"]
            params |= self._legs(source, known, amount, _MOST_LEGS[name])
        elif name == "fx_transfer":
            params |= self._quote(amount)
        elif name == "transfer_with_fee":
            params |= {"fee_account": LIQUIDITY["EUR"], "fee_minor": rng.randint(1, 20)}
            if source == LIQUIDITY["EUR"]:
                params["source"] = self._customers[0] if target != self._customers[0] else "acc-x"
        elif name == "journey":
            params["bank"] = LIQUIDITY["EUR"]
        return start(f"key-{self._number}", name, params)

    def _legs(self, source: str, known: list[str], amount: int, most: int) -> dict[str, object]:
        """`amount` for the first target, less for each that follows."""
        targets = self._rng.choices([one for one in known if one != source], k=most)
        parts = [max(1, amount // (n + 1)) for n in range(self._rng.randint(1, most))]
        legs = [
            {"target": t, "amount_minor": part} for t, part in zip(targets, parts, strict=False)
        ]
        return {"legs": legs, "amount_minor": sum(parts)}

    def _quote(self, amount: int) -> dict[str, object]:
        """From an account in the one currency to one in the other, if there is one."""
        rng = self._rng
        one, other = rng.sample(CURRENCIES, 2)
        rate = rng.choice(RATES)
        dollars = self._customers[4::5] or ["acc-nobody"]
        euros = [account for account in self._customers if account not in dollars]
        return {
            "source": rng.choice(euros if one == "EUR" else dollars),
            "target": rng.choice(dollars if one == "EUR" else euros),
            "amount_minor": amount,
            "currency": one,
            "target_amount_minor": max(1, converted(amount, one, rate, other)),
            "target_currency": other,
            "rate": rate,
            "quote_ends_at": instant(simulated_ms() + rng.randint(0, 30_000)),
            "source_liquidity": LIQUIDITY[one],
            "target_liquidity": LIQUIDITY[other],
        }

    def _account_request(self) -> AccountCommand:
        rng = self._rng
        account, effect, now_ms = rng.choice(self.accounts), self._effect(), simulated_ms()
        amount, currency = rng.randint(1, 3_000), rng.choice((*CURRENCIES, CURRENCIES[0]))
        match rng.choice(("in", "in", "in", "out", "out", "stop", "go", "go", "limits", "close")):
            case "in":
                return Deposit(
                    account_id=account,
                    effect_id=effect,
                    issued_at_ms=now_ms,
                    amount_minor=amount,
                    currency=currency,
                )
            case "out":
                return Withdraw(
                    account_id=account,
                    effect_id=effect,
                    issued_at_ms=now_ms,
                    amount_minor=amount,
                    currency=currency,
                )
            case "stop":
                return Freeze(
                    account_id=account,
                    effect_id=effect,
                    issued_at_ms=now_ms,
                    credits=rng.choice(("accept", "refuse")),
                )
            case "go":
                return Unfreeze(account_id=account, effect_id=effect, issued_at_ms=now_ms)
            case "limits":
                return ChangeLimits(
                    account_id=account,
                    effect_id=effect,
                    issued_at_ms=now_ms,
                    overdraft_limit_minor=rng.choice((0, 500)),
                    transfer_limit_minor=rng.choice((None, 2_000)),
                    daily_limit_minor=rng.choice((None, 6_000)),
                )
            case _:
                return CloseAccount(account_id=account, effect_id=effect, issued_at_ms=now_ms)

    def _effect(self) -> str:
        self._number += 1
        return request_effect_id(TENANT, f"key-{self._number}", "any")


def _name(request: StartSaga | AccountCommand) -> str:
    return request.saga_id if isinstance(request, StartSaga) else request.effect_id
