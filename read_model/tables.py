"""The tables of the read model, for queries; `migrations/versions` creates them.

Everything here is a fold of the journals and can be thrown away. A row names the journal partition
that it comes from, so that one statement can read it together with its position.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

_AT = DateTime(timezone=True)
# Compared byte by byte: a primary key then also finds ids by their beginning.
_ID = Text(collation="C")

sagas = Table(
    "sagas",
    metadata,
    Column("saga_id", _ID, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("params", JSONB, nullable=False),
    Column("source", Text),
    Column("target", Text),
    Column("amount_minor", BigInteger),
    Column("currency", Text),
    Column("started_at", _AT, nullable=False),
    Column("updated_at", _AT, nullable=False),
    Column("finished_at", _AT),
    Index("sagas_started_at", "started_at", "saga_id"),
    Index("sagas_definition", "definition", "started_at"),
    Index("sagas_state", "state", "started_at"),
    Index("sagas_source", "source"),
    Index("sagas_target", "target"),
)
"""`reason` says why the saga is in its `state`, `step` where it is parked or waits; empty when
there is nothing to say. The four columns from `source` on repeat `params` and are null when those
lack them."""

history = Table(
    "history",
    metadata,
    Column("saga_id", _ID, primary_key=True),
    Column("last_offset", BigInteger, primary_key=True),
    Column("events", LargeBinary, nullable=False),
)
"""What happened to a saga, in pieces as `read_model.history` encodes them, each named by the
journal offset of its last event. Sagas whose start was refused have a history and no row."""

plans = Table(
    "plans",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("plan", LargeBinary, nullable=False),
)
"""The compiled plans that histories name; few, since all sagas of one definition share one."""

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", _ID, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("credits", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("balance_minor", BigInteger, nullable=False),
    Column("held_minor", BigInteger, nullable=False),
    Column("overdraft_limit_minor", BigInteger, nullable=False),
    Column("transfer_limit_minor", BigInteger),
    Column("daily_limit_minor", BigInteger),
    Column("updated_at", _AT, nullable=False),
)

world = Table(
    "world",
    metadata,
    Column("currency", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("balance_minor", Numeric(40, 0), nullable=False),
)
"""Where money enters and leaves: withdrawals minus deposits, so that with all accounts and transit
it sums to 0. One row per partition of the account journal; a currency's balance is their sum."""

positions = Table(
    "positions",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
)
"""How far the rows have been folded: the next offset to read, and the epoch in force there."""
