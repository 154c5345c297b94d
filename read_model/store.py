"""The SQL side of the projector: positions with compare-and-set, and rows in bulk.

One statement per table and batch, with arrays as parameters. Rows need no lock order of their own:
each belongs to one journal partition, and a writer first locks the positions of all partitions of
its batch, in key order.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from journal.log import Place
from read_model.batch import Batch
from read_model.history import MAX_PIECE, encode_piece
from read_model.position import Position
from read_model.projection import AccountChange, Changes, SagaOutcome
from read_model.tables import metadata


class PositionsMoved(Exception):
    """Somebody else has projected these partitions meanwhile: nothing was written; read again."""

    def __init__(self, place: Place, expected: int, found: int | None) -> None:
        super().__init__(f"{place} is projected up to {found}, not {expected}, by another one")
        self.place = place


class RowsMissing(Exception):
    """An event changed a row that is not there: the tables are not a fold of these journals."""

    def __init__(self, table: str, expected: int, found: int) -> None:
        super().__init__(
            f"{found} of {expected} rows to be changed are in table {table}. The read model does "
            "not belong to these journals, or was changed by hand. Rebuild it: empty its tables "
            f"({', '.join(metadata.tables)}) and start the projector again."
        )
        self.table = table


_ADD_POSITIONS: Final = text(
    "INSERT INTO positions (topic, partition, next_offset, epoch) "
    "SELECT *, 0, -1 FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) "
    "ON CONFLICT DO NOTHING"
)
_READ_POSITIONS: Final = text("SELECT topic, partition, next_offset, epoch FROM positions")
_LOCK_POSITIONS: Final = text(
    "SELECT topic, partition, next_offset, epoch FROM positions WHERE (topic, partition) IN "
    "(SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]))) "
    "ORDER BY topic, partition FOR UPDATE"
)
_MOVE_POSITIONS: Final = text(
    "UPDATE positions SET next_offset = m.next_offset, epoch = m.epoch FROM unnest("
    "CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]), "
    "CAST(:epochs AS bigint[])) AS m (topic, partition, next_offset, epoch) "
    "WHERE positions.topic = m.topic AND positions.partition = m.partition"
)

_AT = "timestamptz 'epoch' + {} * interval '1 millisecond'"

_SAGA_COLUMNS = (
    "saga_id, partition, tenant, definition, version, state, reason, step, params, source, "
    "target, amount_minor, currency, started_at, updated_at, finished_at"
)
# The conflict: a saga id comes again when its Idempotency-Key is used anew after the engine has
# forgotten the first saga (8 days). The later saga is the one that counts from then on.
_ADD_SAGAS: Final = text(
    f"INSERT INTO sagas ({_SAGA_COLUMNS}) SELECT s.saga_id, s.partition, s.tenant, s.definition, "
    "s.version, s.state, s.reason, s.step, s.params::jsonb, s.source, s.target, s.amount_minor, "
    f"s.currency, {_AT.format('s.started_ms')}, {_AT.format('s.updated_ms')}, "
    f"{_AT.format('s.finished_ms')} FROM unnest("
    "CAST(:ids AS text[]), CAST(:partitions AS int[]), CAST(:tenants AS text[]), "
    "CAST(:definitions AS text[]), CAST(:versions AS int[]), CAST(:states AS text[]), "
    "CAST(:reasons AS text[]), CAST(:steps AS text[]), CAST(:params AS text[]), "
    "CAST(:sources AS text[]), CAST(:targets AS text[]), CAST(:amounts AS bigint[]), "
    "CAST(:currencies AS text[]), CAST(:started AS bigint[]), CAST(:updated AS bigint[]), "
    "CAST(:finished AS bigint[])) AS s (saga_id, partition, tenant, definition, version, state, "
    "reason, step, params, source, target, amount_minor, currency, started_ms, updated_ms, "
    "finished_ms) ON CONFLICT (saga_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _SAGA_COLUMNS.split(", ")[1:])
)
_CHANGE_SAGAS: Final = text(
    "UPDATE sagas SET state = c.state, reason = c.reason, step = c.step, "
    f"updated_at = {_AT.format('c.updated_ms')}, finished_at = {_AT.format('c.finished_ms')} "
    "FROM unnest(CAST(:ids AS text[]), CAST(:states AS text[]), CAST(:reasons AS text[]), "
    "CAST(:steps AS text[]), CAST(:updated AS bigint[]), CAST(:finished AS bigint[])) "
    "AS c (saga_id, state, reason, step, updated_ms, finished_ms) "
    "WHERE sagas.saga_id = c.saga_id"
)

# An offset is projected once, so a conflict in `history` is a corrupt model; a plan is shared.
_ADD_HISTORY: Final = text(
    "WITH named AS (INSERT INTO plans (digest, plan) SELECT * FROM unnest("
    "CAST(:digests AS text[]), CAST(:plans AS bytea[])) ON CONFLICT DO NOTHING) "
    "INSERT INTO history (saga_id, last_offset, events) SELECT * FROM unnest("
    "CAST(:ids AS text[]), CAST(:offsets AS bigint[]), CAST(:events AS bytea[]))"
)

_ACCOUNT_CHANGES = (
    "unnest(CAST(:ids AS text[]), CAST(:versions AS bigint[]), CAST(:updated AS bigint[]), "
    "CAST(:balances AS bigint[]), CAST(:held AS bigint[]), CAST(:statuses AS text[]), "
    "CAST(:credits AS text[]), CAST(:limited AS boolean[]), CAST(:overdrafts AS bigint[]), "
    "CAST(:transfers AS bigint[]), CAST(:dailies AS bigint[])) AS c (account_id, version, "
    "updated_ms, balance, held, status, credits, limited, overdraft, transfer, daily)"
)
# Without ON CONFLICT: an account is opened once in its life, so a conflict is a corrupt model.
_ADD_ACCOUNTS: Final = text(
    "INSERT INTO accounts (account_id, partition, currency, version, updated_at, balance_minor, "
    "held_minor, status, credits, overdraft_limit_minor, transfer_limit_minor, daily_limit_minor) "
    f"SELECT c.account_id, n.partition, n.currency, c.version, {_AT.format('c.updated_ms')}, "
    "c.balance, c.held, c.status, c.credits, c.overdraft, c.transfer, c.daily "
    f"FROM {_ACCOUNT_CHANGES} JOIN unnest(CAST(:ids AS text[]), CAST(:partitions AS int[]), "
    "CAST(:currencies AS text[])) AS n (account_id, partition, currency) USING (account_id)"
)
_CHANGE_ACCOUNTS: Final = text(
    f"UPDATE accounts SET version = c.version, updated_at = {_AT.format('c.updated_ms')}, "
    "balance_minor = coalesce(c.balance, accounts.balance_minor), "
    "held_minor = coalesce(c.held, accounts.held_minor), "
    "status = coalesce(c.status, accounts.status), "
    "credits = coalesce(c.credits, accounts.credits), "
    "overdraft_limit_minor = coalesce(c.overdraft, accounts.overdraft_limit_minor), "
    "transfer_limit_minor = "
    "CASE WHEN c.limited THEN c.transfer ELSE accounts.transfer_limit_minor END, "
    "daily_limit_minor = CASE WHEN c.limited THEN c.daily ELSE accounts.daily_limit_minor END "
    f"FROM {_ACCOUNT_CHANGES} WHERE accounts.account_id = c.account_id"
)
_ADD_TO_WORLD: Final = text(
    "INSERT INTO world (currency, partition, balance_minor) SELECT w.currency, w.partition, "
    "w.delta::numeric FROM unnest(CAST(:currencies AS text[]), CAST(:partitions AS int[]), "
    "CAST(:deltas AS text[])) AS w (currency, partition, delta) "
    "ON CONFLICT (currency, partition) "
    "DO UPDATE SET balance_minor = world.balance_minor + excluded.balance_minor"
)


async def load_positions(
    connection: AsyncConnection, places: Iterable[Place] = ()
) -> dict[Place, Position]:
    """Everything that is projected; `places` that are new begin at offset 0."""
    ordered = sorted(places)
    if ordered:
        await connection.execute(_ADD_POSITIONS, _keys(ordered))
    rows = await connection.execute(_READ_POSITIONS)
    return {Place(topic, partition): Position(at, epoch) for topic, partition, at, epoch in rows}


async def write(connection: AsyncConnection, batch: Batch) -> None:
    """Write the rows of `batch` and move the positions, within the caller's transaction.

    Raises PositionsMoved or RowsMissing: the caller must roll back.
    """
    places = sorted(batch.moves)
    found = await connection.execute(_LOCK_POSITIONS, _keys(places))
    stored = {Place(topic, partition): Position(at, epoch) for topic, partition, at, epoch in found}
    for place in places:
        before, now = batch.moves[place].before, stored.get(place)
        if now != before:
            raise PositionsMoved(place, before.next_offset, now.next_offset if now else None)
    await _write_sagas(connection, batch.changes)
    await _write_history(connection, batch.changes)
    await _write_accounts(connection, batch.changes)
    await _write_world(connection, batch.changes.world)
    after = [batch.moves[place].after for place in places]
    await connection.execute(
        _MOVE_POSITIONS,
        {
            **_keys(places),
            "offsets": [stored.next_offset for stored in after],
            "epochs": [stored.epoch for stored in after],
        },
    )


def _keys(places: list[Place]) -> dict[str, Any]:
    return {
        "topics": [place.topic for place in places],
        "partitions": [place.partition for place in places],
    }


async def _write_sagas(connection: AsyncConnection, changes: Changes) -> None:
    new = list(changes.new_sagas.values())
    if new:
        outcomes = [changes.outcomes[saga.saga_id] for saga in new]
        await connection.execute(
            _ADD_SAGAS,
            {
                **_outcome_arrays(outcomes),
                "partitions": [saga.partition for saga in new],
                "tenants": [saga.tenant for saga in new],
                "definitions": [saga.definition for saga in new],
                "versions": [saga.version for saga in new],
                "params": [saga.params for saga in new],
                "sources": [saga.source for saga in new],
                "targets": [saga.target for saga in new],
                "amounts": [saga.amount_minor for saga in new],
                "currencies": [saga.currency for saga in new],
                "started": [saga.started_at_ms for saga in new],
            },
        )
    changed = [
        outcome for saga_id, outcome in changes.outcomes.items() if saga_id not in changes.new_sagas
    ]
    if changed:
        done = await connection.execute(_CHANGE_SAGAS, _outcome_arrays(changed))
        _all_found("sagas", len(changed), done.rowcount)


async def _write_history(connection: AsyncConnection, changes: Changes) -> None:
    if not changes.histories:
        return
    ids: list[str] = []
    offsets: list[int] = []
    events: list[bytes] = []
    for key, items in changes.histories.items():
        saga_id = (key or b"").decode(errors="replace")
        for first in range(0, len(items), MAX_PIECE):
            piece = items[first : first + MAX_PIECE]
            ids.append(saga_id)
            offsets.append(piece[-1][0])
            events.append(encode_piece(piece))
    await connection.execute(
        _ADD_HISTORY,
        {
            "digests": list(changes.plans),
            "plans": list(changes.plans.values()),
            "ids": ids,
            "offsets": offsets,
            "events": events,
        },
    )


def _outcome_arrays(outcomes: list[SagaOutcome]) -> dict[str, Any]:
    return {
        "ids": [outcome.saga_id for outcome in outcomes],
        "states": [outcome.state for outcome in outcomes],
        "reasons": [outcome.reason for outcome in outcomes],
        "steps": [outcome.step for outcome in outcomes],
        "updated": [outcome.updated_at_ms for outcome in outcomes],
        "finished": [outcome.finished_at_ms for outcome in outcomes],
    }


async def _write_accounts(connection: AsyncConnection, changes: Changes) -> None:
    new = list(changes.new_accounts.values())
    if new:
        opened = [changes.account_changes[account.account_id] for account in new]
        await connection.execute(
            _ADD_ACCOUNTS,
            {
                **_account_arrays(opened),
                "partitions": [account.partition for account in new],
                "currencies": [account.currency for account in new],
            },
        )
    changed = [
        change
        for account_id, change in changes.account_changes.items()
        if account_id not in changes.new_accounts
    ]
    if changed:
        done = await connection.execute(_CHANGE_ACCOUNTS, _account_arrays(changed))
        _all_found("accounts", len(changed), done.rowcount)


def _account_arrays(changes: list[AccountChange]) -> dict[str, Any]:
    limits = [change.limits for change in changes]
    return {
        "ids": [change.account_id for change in changes],
        "versions": [change.version for change in changes],
        "updated": [change.updated_at_ms for change in changes],
        "balances": [change.balance_minor for change in changes],
        "held": [change.held_minor for change in changes],
        "statuses": [change.status for change in changes],
        "credits": [change.credits for change in changes],
        "limited": [limit is not None for limit in limits],
        "overdrafts": [limit and limit.overdraft_minor for limit in limits],
        "transfers": [limit and limit.transfer_minor for limit in limits],
        "dailies": [limit and limit.daily_minor for limit in limits],
    }


async def _write_world(connection: AsyncConnection, deltas: Mapping[tuple[str, int], int]) -> None:
    if deltas:
        await connection.execute(
            _ADD_TO_WORLD,
            {
                "currencies": [currency for currency, _ in deltas],
                "partitions": [partition for _, partition in deltas],
                # As text: a batch of large deposits can be more than a bigint holds.
                "deltas": [str(delta) for delta in deltas.values()],
            },
        )


def _all_found(table: str, expected: int, found: int) -> None:
    if found != expected:
        raise RowsMissing(table, expected, found)
