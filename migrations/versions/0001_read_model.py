"""The read model: sagas, accounts, the world's balances, and how far they have been folded."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sagas",
        sa.Column("saga_id", sa.Text(), primary_key=True),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("params", JSONB(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("target", sa.Text()),
        sa.Column("amount_minor", sa.BigInteger()),
        sa.Column("currency", sa.Text()),
        sa.Column("started_at", _AT, nullable=False),
        sa.Column("updated_at", _AT, nullable=False),
        sa.Column("finished_at", _AT),
    )
    op.create_index("sagas_started_at", "sagas", ["started_at", "saga_id"])
    op.create_index("sagas_definition", "sagas", ["definition", "started_at"])
    op.create_index("sagas_state", "sagas", ["state", "started_at"])
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Text(), primary_key=True),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("credits", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.Column("held_minor", sa.BigInteger(), nullable=False),
        sa.Column("overdraft_limit_minor", sa.BigInteger(), nullable=False),
        sa.Column("transfer_limit_minor", sa.BigInteger()),
        sa.Column("daily_limit_minor", sa.BigInteger()),
        sa.Column("updated_at", _AT, nullable=False),
        # No index holds what changes: with room in its page an update touches the heap alone.
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "world",
        sa.Column("currency", sa.Text(), primary_key=True),
        sa.Column("partition", sa.Integer(), primary_key=True),
        sa.Column("balance_minor", sa.Numeric(40, 0), nullable=False),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "positions",
        sa.Column("topic", sa.Text(), primary_key=True),
        sa.Column("partition", sa.Integer(), primary_key=True),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        postgresql_with={"fillfactor": 50},
    )


def downgrade() -> None:
    for table in ("positions", "world", "accounts", "sagas"):
        op.drop_table(table)
