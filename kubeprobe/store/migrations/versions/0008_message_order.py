"""The order of messages to a target, the health of targets, and outcomes that could not be folded."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import UTCDateTime

revision = "0008"
down_revision = "0007"

_LINE = ["cluster", "case", "node", "route", "target", "version"]
_ADDED = ("cluster", "case", "node", "kind", "version", "rejections", "crashes", "may_have_arrived")


def upgrade() -> None:
    for name, kind, default in (
        ("cluster", sa.String(length=63), ""),
        ("case", sa.String(length=63), ""),
        ("node", sa.String(length=253), ""),
        ("kind", sa.String(length=10), ""),
        ("version", sa.BigInteger(), "0"),
        ("rejections", sa.Integer(), "0"),
        ("crashes", sa.Integer(), "0"),
        ("may_have_arrived", sa.Boolean(), sa.false()),
    ):
        op.add_column("notification", sa.Column(name, kind, nullable=False, server_default=default))
    # Notifications of one transaction have ids of the same millisecond: the alerts decide about their order.
    op.execute(
        """
        UPDATE notification SET cluster = found.cluster, "case" = found."case", node = found.node, kind = found.kind,
            version = found.version, may_have_arrived = attempts > 0 OR sent_at IS NOT NULL
        FROM (
            SELECT notification.id, alert.cluster, alert."case", alert.node, alert.kind,
                row_number() OVER (ORDER BY substr(notification.id, 1, 10), alert.opened_at, event DESC) AS version
            FROM notification JOIN alert ON alert.id = notification.alert_id
        ) AS found
        WHERE found.id = notification.id
        """
    )
    op.create_index("ix_notification_line", "notification", _LINE)
    op.create_table(
        "target_health",
        sa.Column("route", sa.String(length=63), nullable=False),
        sa.Column("target", sa.String(length=63), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", UTCDateTime(), nullable=True),
        sa.Column("retry_at", UTCDateTime(), nullable=True),
        sa.Column("accepted_at", UTCDateTime(), nullable=True),
        sa.Column("last_error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("route", "target"),
    )
    op.create_table(
        "response_error",
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=False),
        sa.Column("node", sa.String(length=253), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("outcomes", sa.Integer(), nullable=False),
        sa.Column("since", UTCDateTime(), nullable=False),
        sa.Column("last_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "case", "node"),
    )


def downgrade() -> None:
    op.drop_table("response_error")
    op.drop_table("target_health")
    op.drop_index("ix_notification_line", table_name="notification")
    op.execute("UPDATE notification SET state = 'failed' WHERE state = 'dropped'")
    for name in reversed(_ADDED):
        op.drop_column("notification", name)
