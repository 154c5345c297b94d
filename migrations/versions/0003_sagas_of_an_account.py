"""Sagas found by the account that they move money from or to.

Without the time of their start: equal entries are then kept once, a sixth of the size, and where an
account has so many sagas that sorting them would cost, the newest are found by their start.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("sagas_source", "sagas", ["source"])
    op.create_index("sagas_target", "sagas", ["target"])


def downgrade() -> None:
    op.drop_index("sagas_target")
    op.drop_index("sagas_source")
