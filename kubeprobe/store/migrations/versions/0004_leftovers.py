"""What probes left behind, and when a cluster was last swept."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import UTCDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "leftover",
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("uid", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=True),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("found_at", UTCDateTime(), nullable=False),
        sa.Column("gone_at", UTCDateTime(), nullable=True),
        sa.Column("stuck", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "uid"),
    )
    op.create_index("ix_leftover_run_id", "leftover", ["run_id"])
    op.create_index("ix_leftover_found", "leftover", ["found_at"])
    there = sa.text("gone_at IS NULL")
    op.create_index("ix_leftover_there", "leftover", ["cluster"], postgresql_where=there, sqlite_where=there)
    op.add_column("cluster", sa.Column("swept_at", UTCDateTime(), nullable=True))
    op.add_column("cluster", sa.Column("sweep_trouble", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("cluster", "sweep_trouble")
    op.drop_column("cluster", "swept_at")
    op.drop_table("leftover")
