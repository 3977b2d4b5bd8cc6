"""Claims have tokens, breakers have trials, pods have locations; one lease per collector."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import UTCDateTime

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("run", sa.Column("launch_before", UTCDateTime(), nullable=True))
    op.add_column("run", sa.Column("claim_token", sa.String(length=26), nullable=True))
    op.add_column("run", sa.Column("location", sa.String(length=32), nullable=True))
    op.add_column("cluster", sa.Column("trial_until", UTCDateTime(), nullable=True))
    op.add_column("cluster", sa.Column("watch_trouble", sa.String(), nullable=False, server_default=""))
    op.add_column("cluster", sa.Column("updated_at", UTCDateTime(), nullable=True))
    op.drop_column("cluster", "leased_until")
    op.create_index("ix_cluster_collector", "cluster", ["collector", "updated_at"])
    op.add_column("collector", sa.Column("leased_until", UTCDateTime(), nullable=True))
    op.create_table(
        "pod_location",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("cluster_created_at", UTCDateTime(), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("connection", sa.LargeBinary(), nullable=False),
        sa.Column("connection_version", sa.Integer(), nullable=False),
        sa.Column("left_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pod_location_cluster", "pod_location", ["cluster"])


def downgrade() -> None:
    op.drop_table("pod_location")
    op.drop_column("run", "location")
    op.drop_column("collector", "leased_until")
    op.drop_index("ix_cluster_collector", table_name="cluster")
    op.add_column("cluster", sa.Column("leased_until", UTCDateTime(), nullable=True))
    op.drop_column("cluster", "updated_at")
    op.drop_column("cluster", "watch_trouble")
    op.drop_column("cluster", "trial_until")
    op.drop_column("run", "claim_token")
    op.drop_column("run", "launch_before")
