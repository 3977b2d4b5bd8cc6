"""Indexes for claims of notifications; the specification of a failing target; routes that were unreadable."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import JSONColumn

revision = "0011"
down_revision = "0010"

_INDEXES = {
    "ix_notification_target": ("undelivered", ["route", "target", "rejections", "next_attempt_at", "version"]),
    "ix_notification_waiting": ("undelivered", ["cluster", "case", "node", "route", "target", "version"]),
    "ix_notification_sending": ("sending", ["route", "target", "next_attempt_at"]),
}
_CONDITIONS = {"undelivered": "state IN ('pending', 'sending')", "sending": "state = 'sending'"}


def upgrade() -> None:
    for name, (condition, columns) in _INDEXES.items():
        where = sa.text(_CONDITIONS[condition])
        op.create_index(name, "notification", columns, postgresql_where=where, sqlite_where=where)
    op.add_column("target_health", sa.Column("spec_digest", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("alert", sa.Column("unreadable_routes", JSONColumn, nullable=True))


def downgrade() -> None:
    op.drop_column("alert", "unreadable_routes")
    op.drop_column("target_health", "spec_digest")
    for name in _INDEXES:
        op.drop_index(name, table_name="notification")
