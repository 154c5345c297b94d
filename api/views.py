"""The read model's rows as answers, and the wait for the read model to have come far enough."""

from datetime import UTC, datetime
from typing import Final, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from account_service.service import TOPICS as ACCOUNT
from api.problems import Fault, invalid
from api.schemas import AccountView, TransferView
from messages.saga import SagaState
from orchestrator.service import TOPICS as ORCHESTRATOR
from read_model import queries
from read_model.position import Token
from read_model.queries import AccountRow, SagaRow

READ_YOUR_WRITES_S: Final = 2.0
no_store: Final = {"Cache-Control": "no-store"}

_JOURNALS: Final = (ORCHESTRATOR.journal, ACCOUNT.journal)


async def caught_up(engine: AsyncEngine, after: Token | None) -> bool:
    """Wait until the read model has come to `after`, at most 2 s; whether it has.

    Raises Problem when `after` is a position of something else than a journal.
    """
    if after is None:
        return True
    if after.place.topic not in _JOURNALS:
        raise invalid([Fault("after", "must be a position of a journal")])
    return await queries.wait_for(engine, after.place, after.next_offset, READ_YOUR_WRITES_S)


def transfer_view(row: SagaRow) -> TransferView:
    return TransferView(
        id=row.saga_id,
        definition=row.definition,
        version=row.version,
        state=cast("SagaState", row.state),
        reason=row.reason,
        step=row.step,
        params=row.params,
        started_at=_text(row.started_at),
        updated_at=_text(row.updated_at),
        finished_at=None if row.finished_at is None else _text(row.finished_at),
        as_of=row.as_of,
    )


def account_view(row: AccountRow) -> AccountView:
    return AccountView(
        id=row.account_id,
        version=row.version,
        status=row.status,  # pyright: ignore[reportArgumentType]
        credits=row.credits,  # pyright: ignore[reportArgumentType]
        currency=row.currency,
        balance_minor=row.balance_minor,
        held_minor=row.held_minor,
        available_minor=row.available_minor,
        overdraft_limit_minor=row.overdraft_limit_minor,
        transfer_limit_minor=row.transfer_limit_minor,
        daily_limit_minor=row.daily_limit_minor,
        updated_at=_text(row.updated_at),
        as_of=row.as_of,
    )


def _text(at: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
