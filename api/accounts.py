"""Accounts: open, deposit, withdraw, freeze, limit, close; look at one.

Every order is one command to one account, named by the caller's Idempotency-Key.
"""

import re
from typing import Any, Final

from litestar import Response, get, post, put
from litestar.datastructures import State
from litestar.params import FromPath

from account_service.answers import DETAILS
from api.asking import AnyRequest, Caller, after_of, caller_of, limit_of, strict_body
from api.description import asked, documented, looked_up, searched
from api.gateway import Gateway, Heard
from api.problem_kinds import REFUSALS
from api.problems import Fault, Problem, in_body, invalid
from api.schemas import (
    AccountChanged,
    AccountPage,
    AccountView,
    FreezeBody,
    LimitsBody,
    MoneyBody,
    OpenAccountBody,
    WorldView,
)
from api.views import account_view, caught_up, no_store, unknown
from messages import identity
from messages.account import (
    AccountCommand,
    ChangeLimits,
    CloseAccount,
    CommandRefused,
    Deposit,
    EffectRepeated,
    Freeze,
    OpenAccount,
    Unfreeze,
    Withdraw,
)
from messages.money import is_currency
from messages.wire import type_name
from read_model import position, queries

_account_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_ERRORS: Final = (400, 404, 408, 409, 413, 415, 422, 429, 500, 503)


@post(
    "/accounts",
    operation_class=asked(OpenAccountBody),
    responses=documented({201: AccountChanged}, *_ERRORS),
)
async def open_account(request: AnyRequest, state: State) -> Response[AccountChanged]:
    """Open an account. Without an `id` it is named by the tenant and the Idempotency-Key."""
    caller = caller_of(request)
    body = await strict_body(request, OpenAccountBody)
    _check_currency(body.currency)
    # A pattern with `$` lets a last line break through; fullmatch does not.
    if body.id is not None and not _account_id.fullmatch(body.id):
        raise invalid([in_body("id", "must be 1 to 64 letters, digits or _ . : -")])
    account_id = body.id or identity.account_id(caller.tenant, caller.key)
    command = OpenAccount(
        account_id=account_id,
        currency=body.currency,
        overdraft_limit_minor=body.overdraft_limit_minor,
        transfer_limit_minor=body.transfer_limit_minor,
        daily_limit_minor=body.daily_limit_minor,
        **_asked(state, caller, account_id),
    )
    return await _order(state, command, 201, locate=True)


@post(
    "/accounts/{account_id:str}/deposits",
    operation_class=asked(MoneyBody),
    responses=documented({201: AccountChanged}, *_ERRORS),
)
async def deposit(
    request: AnyRequest, account_id: FromPath[str], state: State
) -> Response[AccountChanged]:
    """Money enters the bank: from the world to the account."""
    caller = caller_of(request)
    body = await strict_body(request, MoneyBody)
    _check_currency(body.currency)
    command = Deposit(
        account_id=_known(account_id),
        amount_minor=body.amount_minor,
        currency=body.currency,
        **_asked(state, caller, account_id),
    )
    return await _order(state, command, 201)


@post(
    "/accounts/{account_id:str}/withdrawals",
    operation_class=asked(MoneyBody),
    responses=documented({201: AccountChanged}, *_ERRORS),
)
async def withdraw(
    request: AnyRequest, account_id: FromPath[str], state: State
) -> Response[AccountChanged]:
    """Money leaves the bank: from the account to the world."""
    caller = caller_of(request)
    body = await strict_body(request, MoneyBody)
    _check_currency(body.currency)
    command = Withdraw(
        account_id=_known(account_id),
        amount_minor=body.amount_minor,
        currency=body.currency,
        **_asked(state, caller, account_id),
    )
    return await _order(state, command, 201)


@put(
    "/accounts/{account_id:str}/limits",
    operation_class=asked(LimitsBody),
    responses=documented({200: AccountChanged}, *_ERRORS),
)
async def change_limits(
    request: AnyRequest, account_id: FromPath[str], state: State
) -> Response[AccountChanged]:
    """Set all three limits."""
    caller = caller_of(request)
    body = await strict_body(request, LimitsBody)
    command = ChangeLimits(
        account_id=_known(account_id),
        overdraft_limit_minor=body.overdraft_limit_minor,
        transfer_limit_minor=body.transfer_limit_minor,
        daily_limit_minor=body.daily_limit_minor,
        **_asked(state, caller, account_id),
    )
    return await _order(state, command, 200)


@post(
    "/accounts/{account_id:str}/freeze",
    status_code=200,
    operation_class=asked(FreezeBody, body_required=False),
    responses=documented({200: AccountChanged}, *_ERRORS),
)
async def freeze(
    request: AnyRequest, account_id: FromPath[str], state: State
) -> Response[AccountChanged]:
    """No debits from now on; `credits` says whether money may still come in."""
    caller = caller_of(request)
    body = await strict_body(request, FreezeBody, optional=True)
    command = Freeze(
        account_id=_known(account_id), credits=body.credits, **_asked(state, caller, account_id)
    )
    return await _order(state, command, 200)


@post(
    "/accounts/{account_id:str}/unfreeze",
    status_code=200,
    operation_class=asked(),
    responses=documented({200: AccountChanged}, *_ERRORS),
)
async def unfreeze(
    request: AnyRequest, account_id: FromPath[str], state: State
) -> Response[AccountChanged]:
    """The account is open again."""
    caller = caller_of(request)
    command = Unfreeze(account_id=_known(account_id), **_asked(state, caller, account_id))
    return await _order(state, command, 200)


@post(
    "/accounts/{account_id:str}/close",
    status_code=200,
    operation_class=asked(),
    responses=documented({200: AccountChanged}, *_ERRORS),
)
async def close(
    request: AnyRequest, account_id: FromPath[str], state: State
) -> Response[AccountChanged]:
    """Close an empty account, for good."""
    caller = caller_of(request)
    command = CloseAccount(account_id=_known(account_id), **_asked(state, caller, account_id))
    return await _order(state, command, 200)


@get(
    "/accounts/{account_id:str}",
    operation_class=looked_up(),
    responses=documented({200: AccountView}, 400, 404, 500, 503),
)
async def get_account(
    request: AnyRequest, account_id: FromPath[str], state: State
) -> Response[AccountView]:
    """An account as the read model knows it; with `after` as it is at that position or later."""
    after = after_of(request)
    _known(account_id)
    reached = await caught_up(state.engine, after)
    row = await queries.account(state.engine, account_id)
    if row is None:
        raise unknown("account-unknown", DETAILS["account_unknown"], reached=reached)
    return Response(account_view(row), headers=no_store)


@get(
    "/accounts",
    operation_class=searched("id", "from", "limit"),
    responses=documented({200: AccountPage}, 400, 500, 503),
)
async def list_accounts(request: AnyRequest, state: State) -> Response[AccountPage]:
    """Accounts by id; `id`: what it begins with; `limit` at most 1000 (50 if not said)."""
    limit = limit_of(request)
    given = {name: request.query_params.get(name) for name in ("id", "from")}
    for name, value in given.items():
        if value is not None and not _account_id.fullmatch(value):
            raise invalid([Fault(name, "must be the beginning of an account's id")])
    rows = await queries.list_accounts(
        state.engine, beginning=given["id"] or "", first=given["from"] or "", limit=limit + 1
    )
    page = AccountPage(
        accounts=[account_view(row) for row in rows[:limit]],
        next=rows[limit].account_id if len(rows) > limit else None,
    )
    return Response(page, headers=no_store)


@get("/world", responses=documented({200: WorldView}, 500, 503))
async def get_world(state: State) -> Response[WorldView]:
    """What has left the bank less what has entered it, per currency: together with all accounts
    and transfers under way it sums to 0."""
    return Response(WorldView(await queries.world_balances(state.engine)), headers=no_store)


def _known(account_id: str) -> str:
    """An id that can't be one is an account that does not exist."""
    if not _account_id.fullmatch(account_id):
        raise Problem("account-unknown", DETAILS["account_unknown"], reason="account_unknown")
    return account_id


def _check_currency(code: str) -> None:
    if not is_currency(code):
        raise invalid([in_body("currency", "must be an active ISO 4217 currency code")])


def _asked(state: State, caller: Caller, account_id: str) -> dict[str, Any]:
    return {
        "effect_id": identity.request_effect_id(caller.tenant, caller.key, account_id),
        "issued_at_ms": state.clock.now_ms(),
    }


async def _order(
    state: State, command: AccountCommand, status: int, *, locate: bool = False
) -> Response[AccountChanged]:
    gateway: Gateway = state.gateway
    heard = await gateway.ask(command)
    event = heard.event
    headers = dict(no_store)
    if isinstance(event, CommandRefused):
        raise Problem(REFUSALS[event.reason], event.detail, reason=event.reason)
    if isinstance(event, EffectRepeated):
        headers["Idempotency-Replayed"] = "true"
        if event.refused:
            reason = event.refused
            raise Problem(REFUSALS[reason], DETAILS[reason], reason=reason, headers=headers)
    changed = _changed(command, heard)
    if locate:
        headers["Location"] = f"/accounts/{command.account_id}?after={changed.as_of}"
    return Response(changed, status_code=status, headers=headers)


def _changed(command: AccountCommand, heard: Heard) -> AccountChanged:
    event = heard.event
    return AccountChanged(
        account_id=event.account_id,
        event=type_name(event),
        version=event.version,
        as_of=position.format(heard.place, heard.next_offset),
        # A repetition has the same body, or it would have been refused.
        amount_minor=getattr(command, "amount_minor", None),
        currency=getattr(command, "currency", None),
        balance_minor=getattr(event, "balance_minor", None),
    )
