"""When housekeeping is due, and an index for lists of runs by verdict."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import UTCDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "housekeeping",
        sa.Column("task", sa.String(40), primary_key=True),
        sa.Column("next_due", UTCDateTime(), nullable=False),
    )
    op.create_index("ix_outcome_verdict", "outcome", ["verdict", "run_id"])


def downgrade() -> None:
    op.drop_index("ix_outcome_verdict", table_name="outcome")
    op.drop_table("housekeeping")
