"""Probes of nodes: the nodes of clusters, and the node that a run and all that follows from it are about."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import JSONColumn, UTCDateTime

revision = "0002"
down_revision = "0001"

_NODE_NAME = sa.String(length=253)


def upgrade() -> None:
    op.create_table(
        "node",
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("name", _NODE_NAME, nullable=False),
        sa.Column("uid", sa.String(length=36), nullable=False),
        sa.Column("labels", JSONColumn, nullable=False),
        sa.Column("unschedulable", sa.Boolean(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("seen_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "name"),
    )
    op.add_column("cluster", sa.Column("watches_nodes", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("cluster", sa.Column("nodes_listed_at", UTCDateTime(), nullable=True))
    op.add_column("cluster", sa.Column("nodes_error", sa.String(), nullable=False, server_default=""))
    op.add_column("schedule", sa.Column("nodes", sa.String(), nullable=True))
    op.add_column("schedule", sa.Column("node_cursor", sa.String(length=16), nullable=False, server_default=""))
    op.add_column("change", sa.Column("node", _NODE_NAME, nullable=True))
    op.add_column("run", sa.Column("node", _NODE_NAME, nullable=True))
    op.add_column("outcome", sa.Column("node_level", sa.Boolean(), nullable=False, server_default=sa.false()))
    _standings_by("cluster", "case", "node")
    op.add_column("incident", sa.Column("node", _NODE_NAME, nullable=False, server_default=""))
    _one_open_incident_for("cluster", "case", "node", "kind")


def downgrade() -> None:
    """What is known of single nodes is dropped: the tables of before have no place for it."""
    op.execute("DELETE FROM notification WHERE incident_id IN (SELECT id FROM incident WHERE node <> '')")
    op.execute("DELETE FROM incident WHERE node <> ''")
    op.execute("DELETE FROM standing WHERE node <> ''")
    _one_open_incident_for("cluster", "case", "kind")
    op.drop_column("incident", "node")
    _standings_by("cluster", "case")
    for table, columns in (
        ("outcome", ["node_level"]),
        ("run", ["node"]),
        ("change", ["node"]),
        ("schedule", ["node_cursor", "nodes"]),
        ("cluster", ["nodes_error", "nodes_listed_at", "watches_nodes"]),
    ):
        for column in columns:
            op.drop_column(table, column)
    op.drop_table("node")


def _standings_by(*key: str) -> None:
    """Recreate the table of standings with this primary key: SQLite cannot alter one."""
    counted = ("verdict", "since", "fails", "unknowns", "due_at", "run_id")
    op.rename_table("standing", "standing_before")
    op.create_table(
        "standing",
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=False),
        *([sa.Column("node", _NODE_NAME, nullable=False, server_default="")] if "node" in key else []),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("since", UTCDateTime(), nullable=False),
        sa.Column("fails", sa.Integer(), nullable=False),
        sa.Column("unknowns", sa.Integer(), nullable=False),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=f"standing_by_{key[-1]}"),
    )
    kept = ", ".join(f'"{name}"' for name in ("cluster", "case", *counted))
    op.execute(f"INSERT INTO standing ({kept}) SELECT {kept} FROM standing_before")  # noqa: S608 - names of columns
    op.drop_table("standing_before")


def _one_open_incident_for(*place: str) -> None:
    op.drop_index("ux_incident_open", table_name="incident")
    op.create_index(
        "ux_incident_open",
        "incident",
        list(place),
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL"),
    )
