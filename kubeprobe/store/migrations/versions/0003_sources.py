"""Sources: a catalog from Git, who owns what of it, and the commit that a run's case came from."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import JSONColumn, UTCDateTime

revision = "0003"
down_revision = "0002"

KINDS = ("probe_template", "probe_case", "render_config", "binding", "alert_route")


def upgrade() -> None:
    op.create_table(
        "source",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("branch", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("every_s", sa.Integer(), nullable=False),
        sa.Column("prune", sa.Boolean(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("paused_at", UTCDateTime(), nullable=True),
        sa.Column("next_sync", UTCDateTime(), nullable=False),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("claimed_until", UTCDateTime(), nullable=True),
        sa.Column("seen_commit", sa.String(length=64), nullable=True),
        sa.Column("seen_at", UTCDateTime(), nullable=True),
        sa.Column("applied_commit", sa.String(length=64), nullable=True),
        sa.Column("applied_tree", sa.String(length=64), nullable=True),
        sa.Column("applied_at", UTCDateTime(), nullable=True),
        sa.Column("declared", JSONColumn, nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("error_since", UTCDateTime(), nullable=True),
        sa.Column("refused_tree", sa.String(length=64), nullable=True),
        sa.Column("refused_version", sa.Integer(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    for table in KINDS:
        op.add_column(table, sa.Column("source", sa.String(length=63), nullable=True))
        op.add_column(table, sa.Column("commit_id", sa.String(length=64), nullable=True))
    op.add_column("cluster", sa.Column("source", sa.String(length=63), nullable=True))
    op.add_column("run", sa.Column("case_commit", sa.String(length=128), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "case_commit")
    op.drop_column("cluster", "source")
    for table in KINDS:
        op.drop_column(table, "commit_id")
        op.drop_column(table, "source")
    op.drop_table("source")
