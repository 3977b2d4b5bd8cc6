"""Processes whose machine's clock differs from the database's."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import UTCDateTime

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "process_clock",
        sa.Column("process", sa.String(length=200), nullable=False),
        sa.Column("ahead_s", sa.Float(), nullable=False),
        sa.Column("measured_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("process"),
    )


def downgrade() -> None:
    op.drop_table("process_clock")
