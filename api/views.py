"""The read model's rows as answers, and the wait for the read model to have come far enough."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from api.problems import Problem
from api.schemas import (
    AccountView,
    LegsPage,
    LegsView,
    LegView,
    ParentView,
    SagaView,
    StepView,
    Timeline,
    TimelineEntry,
    TransferView,
)
from messages.plan import PlannedStep, leg_name
from messages.saga import SagaState
from orchestrator.legs import Legs
from orchestrator.progress import StepProgress
from read_model import queries
from read_model.position import Token
from read_model.queries import AccountRow, SagaRow
from read_model.telling import short_type, tell
from read_model.timeline import Folded, Page

READ_YOUR_WRITES_S: Final = 2.0
SAGA_ID: Final = re.compile(r"[\x21-\x7e]{1,64}")
_TRANSFER_ID: Final = re.compile(r"[0-9a-f]{32}")
no_store: Final = {"Cache-Control": "no-store"}


async def caught_up(engine: AsyncEngine, after: Token | None) -> bool:
    """Wait until the read model has come to `after`, at most 2 s; whether it has."""
    if after is None:
        return True
    return await queries.wait_for(engine, after.place, after.next_offset, READ_YOUR_WRITES_S)


def unknown(kind: str, detail: str, *, reached: bool) -> Problem:
    """What isn't there: 404, unless it may only be not there yet. `reached`: as of `caught_up`."""
    not_yet = "the read model has not come as far as `after` yet; ask again"
    return Problem(kind, detail if reached else not_yet)


def unknown_saga(saga_id: str, *, reached: bool) -> Problem:
    hint = (
        "" if _TRANSFER_ID.fullmatch(saga_id) else "; a transfer's id is 32 hex digits, all of it"
    )
    return unknown("saga-unknown", f"there is no such saga{hint}", reached=reached)


def check_saga_id(saga_id: str) -> None:
    """An id that can't be one is a saga that does not exist. Raises Problem."""
    if not SAGA_ID.fullmatch(saga_id):
        raise unknown_saga(saga_id, reached=True)


def transfer_view(row: SagaRow) -> TransferView:
    return TransferView(
        id=row.saga_id,
        definition=row.definition,
        version=row.version,
        state=cast("SagaState", row.state),
        reason=row.reason,
        step=row.step,
        params=row.params,
        started_at=rfc3339(row.started_at),
        updated_at=rfc3339(row.updated_at),
        finished_at=None if row.finished_at is None else rfc3339(row.finished_at),
        as_of=row.as_of,
    )


def saga_view(found: Folded) -> SagaView:
    row, saga, children = found
    parent = saga.parent
    return SagaView(
        **msgspec.structs.asdict(transfer_view(row)),
        deadline_at=rfc3339_ms(saga.deadline_at_ms),
        parent=None if parent is None else ParentView(id=parent.saga_id, step=parent.step),
        steps=[
            _step_view(planned, step, children.get(planned.name), saga.legs.get(planned.name))
            for planned, step in zip(saga.plan.steps, saga.steps, strict=True)
        ],
    )


def _step_view(
    planned: PlannedStep, step: StepProgress, child: str | None, legs: Legs | None
) -> StepView:
    return StepView(
        name=planned.name,
        state=step.state,
        attempt=step.attempt,
        reason=step.reason,
        after=list(planned.after),
        pivot=planned.pivot,
        reversible=planned.undo is not None and not planned.pivot,
        answer_due_at=rfc3339_ms(step.timeout_at_ms) if step.timeout_at_ms else None,
        retry_at=rfc3339_ms(step.retry_at_ms) if step.retry_at_ms else None,
        result=step.result,
        saga=child,
        legs=None if legs is None else _legs_view(legs),
    )


def _legs_view(legs: Legs) -> LegsView:
    return LegsView(
        count=len(legs.letters),
        pending=legs.pending,
        under_way=legs.under_way,
        in_doubt=legs.stopped,
        applied=legs.applied,
        refused=legs.refused,
        undone=legs.undone,
    )


def legs_page(of: Folded, step: str, state: str, first: int, limit: int) -> LegsPage:
    """At most `limit` legs of `step` from number `first` on; `state`: only those ("": all)."""
    legs, elements = of.saga.legs[step], of.saga.elements(step)
    found: list[LegView] = []
    following = None
    for leg in range(first, len(legs.letters)):
        progress = legs.at(leg)
        if state and progress.state != state:
            continue
        if len(found) == limit:
            following = leg
            break
        found.append(
            LegView(
                leg=leg,
                element=elements[leg],
                state=progress.state,
                attempt=progress.attempt,
                reason=progress.reason,
                saga=of.children.get(leg_name(step, leg)),
            )
        )
    return LegsPage(id=of.row.saga_id, step=step, legs=found, next=following, as_of=of.row.as_of)


def timeline_view(page: Page) -> Timeline:
    return Timeline(
        id=page.saga.saga_id,
        started_at=rfc3339(page.saga.started_at),
        entries=[
            TimelineEntry(
                offset=entry.offset,
                at=rfc3339_ms(entry.event["at_ms"]),
                type=short_type(entry.event),
                text=tell(entry.event),
                event=entry.event,
            )
            for entry in page.entries
        ],
        next=page.next,
        as_of=page.saga.as_of,
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
        updated_at=rfc3339(row.updated_at),
        as_of=row.as_of,
    )


def rfc3339(at: datetime) -> str:
    """In UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_ms(at_ms: int) -> str:
    """Of ms since 1970. Times of the journal are within the years that can be written."""
    return rfc3339(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms))
