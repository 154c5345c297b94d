"""Every saga's history; ids compared byte by byte, so that they are found by their beginning.

What was folded before has no history. The model is emptied, and the projector folds it anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.Text(collation="C")


def upgrade() -> None:
    op.execute("TRUNCATE sagas, accounts, world, positions")
    op.alter_column("sagas", "saga_id", type_=_ID)
    op.alter_column("accounts", "account_id", type_=_ID)
    op.create_table(
        "history",
        sa.Column("saga_id", _ID, primary_key=True),
        sa.Column("last_offset", sa.BigInteger(), primary_key=True),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        # A short saga's row is about 2 kB, where PostgreSQL would begin to compress.
        postgresql_with={"toast_tuple_target": 8160},
    )
    op.create_table(
        "plans",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("plan", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("plans")
    op.drop_table("history")
    op.alter_column("accounts", "account_id", type_=sa.Text(collation="default"))
    op.alter_column("sagas", "saga_id", type_=sa.Text(collation="default"))
