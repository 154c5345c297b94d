"""What a reversal's caller does not say: the original's accounts, currency and amount.

They are looked up in the read model. A completed transfer never changes again, so what is read is
right however far behind the read model may be, and the same request always means the same.
"""

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from api.problems import Problem, in_body, invalid
from messages.money import is_amount
from messages.saga import FINISHED
from read_model import queries
from read_model.queries import SagaRow
from saga_definitions.reversal import REVERSAL, REVERSIBLE, p

NAME: Final = REVERSAL.name

_FILLED_IN: Final = (p.source.name, p.target.name, p.total_minor.name, p.currency.name)


async def filled_in(
    engine: AsyncEngine, tenant: str, params: dict[str, Any], *, reached: bool
) -> dict[str, Any]:
    """`params` with what follows from the original; without an amount: all of it. `reached`: the
    read model is as far as the caller has seen the bank.

    Raises Problem when the original can't be reversed, or not like that; or not yet.
    """
    faults = [
        in_body(name, "is taken from the original: leave it out")
        for name in _FILLED_IN
        if name in params
    ]
    wrong = p.original.problem(params.get(p.original.name))
    if wrong is not None:
        faults.append(in_body(p.original.name, wrong))
    if faults:
        raise invalid(faults)
    original = await _original(engine, tenant, params[p.original.name], reached=reached)
    of = original.params
    amount_minor: Any = params.get(p.amount_minor.name, of["amount_minor"])
    if is_amount(amount_minor) and amount_minor > of["amount_minor"]:
        reason = f"must be at most the original's, {of['amount_minor']}"
        raise invalid([in_body(p.amount_minor.name, reason)])
    return {
        **params,
        p.source.name: of["target"],
        p.target.name: of["source"],
        p.amount_minor.name: amount_minor,
        p.total_minor.name: of["amount_minor"],
        p.currency.name: of["currency"],
    }


async def _original(
    engine: AsyncEngine, tenant: str, transfer_id: str, *, reached: bool
) -> SagaRow:
    row = await queries.saga(engine, transfer_id)
    if not reached and (row is None or row.state not in FINISHED):
        # The caller may know that it is completed: no refusal would be true.
        detail = "original: the read model has not come as far as `after` yet"
        raise Problem("read-model-behind", detail)
    if row is None or row.tenant != tenant:
        raise Problem("transfer-unknown", "original: there is no such transfer")
    if row.definition not in REVERSIBLE:
        names = ", ".join(sorted(REVERSIBLE))
        detail = f"original: it is a {row.definition}; what can be reversed is a {names}"
        raise Problem("not-reversible", detail)
    if row.state != "completed":
        raise Problem("not-completed", f"original: it is {row.state}, not completed")
    return row
