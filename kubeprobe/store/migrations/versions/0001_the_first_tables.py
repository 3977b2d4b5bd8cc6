"""The first tables."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import JSONColumn, UTCDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "alert_route",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("spec", JSONColumn, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("applied_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "binding",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("spec", JSONColumn, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("applied_at", UTCDateTime(), nullable=False),
        sa.Column("paused_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "catalog_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "change",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("component", sa.String(length=63), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("clusters", JSONColumn, nullable=False),
        sa.Column("details", JSONColumn, nullable=False),
        sa.Column("happened_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("change", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_change_component"), ["component"], unique=False)

    op.create_table(
        "cluster",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("labels", JSONColumn, nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("max_in_flight", sa.Integer(), nullable=False),
        sa.Column("connection_kind", sa.String(length=16), nullable=False),
        sa.Column("connection", sa.LargeBinary(), nullable=False),
        sa.Column("connection_version", sa.Integer(), nullable=False),
        sa.Column("spec", JSONColumn, nullable=True),
        sa.Column("cordoned_at", UTCDateTime(), nullable=True),
        sa.Column("cordon_reason", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", UTCDateTime(), nullable=True),
        sa.Column("collector", sa.String(length=100), nullable=True),
        sa.Column("leased_until", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cluster_pool"), ["pool"], unique=False)

    op.create_table(
        "collector",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("seen_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("collector", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_collector_pool"), ["pool"], unique=False)

    op.create_table(
        "incident",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("severity", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("first_run_id", sa.String(length=26), nullable=False),
        sa.Column("last_run_id", sa.String(length=26), nullable=False),
        sa.Column("opened_at", UTCDateTime(), nullable=False),
        sa.Column("closed_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_incident_closed_at"), ["closed_at"], unique=False)
        batch_op.create_index(
            "ux_incident_open",
            ["cluster", "case", "kind"],
            unique=True,
            postgresql_where=sa.text("closed_at IS NULL"),
            sqlite_where=sa.text("closed_at IS NULL"),
        )

    op.create_table(
        "installation",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "probe_case",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("spec", JSONColumn, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("applied_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "probe_template",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("spec", JSONColumn, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("applied_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "render_config",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("spec", JSONColumn, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("applied_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("slot", sa.String(length=300), nullable=False),
        sa.Column("trigger", sa.String(length=10), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=False),
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("binding", sa.String(length=63), nullable=True),
        sa.Column("schedule_id", sa.Integer(), nullable=True),
        sa.Column("change_id", sa.String(length=100), nullable=True),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("parameters", JSONColumn, nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("wakes", sa.Integer(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("setback", sa.String(length=40), nullable=True),
        sa.Column("setback_message", sa.String(), nullable=True),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("opened_at", UTCDateTime(), nullable=False),
        sa.Column("launch_at", UTCDateTime(), nullable=False),
        sa.Column("wake_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.Column("claimed_at", UTCDateTime(), nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=True),
        sa.Column("pod", sa.String(length=63), nullable=True),
        sa.Column("pod_uid", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("slot"),
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_change_id"), ["change_id"], unique=False)
        batch_op.create_index("ix_run_cluster_case", ["cluster", "case", "due_at"], unique=False)
        batch_op.create_index(
            "ix_run_expiry",
            ["expires_at"],
            unique=False,
            postgresql_where=sa.text("state <> 'done'"),
            sqlite_where=sa.text("state <> 'done'"),
        )
        batch_op.create_index(
            "ix_run_open",
            ["cluster", "state"],
            unique=False,
            postgresql_where=sa.text("state <> 'done'"),
            sqlite_where=sa.text("state <> 'done'"),
        )
        batch_op.create_index(
            "ix_run_open_schedule",
            ["schedule_id"],
            unique=False,
            postgresql_where=sa.text("state <> 'done'"),
            sqlite_where=sa.text("state <> 'done'"),
        )
        batch_op.create_index(
            "ix_run_wake",
            ["wake_at"],
            unique=False,
            postgresql_where=sa.text("state IN ('pending', 'launching')"),
            sqlite_where=sa.text("state IN ('pending', 'launching')"),
        )

    op.create_table(
        "schedule",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("binding", sa.String(length=63), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=False),
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("every_s", sa.Integer(), nullable=True),
        sa.Column("cron", sa.String(), nullable=True),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("offset_s", sa.Float(), nullable=False),
        sa.Column("concurrency", sa.String(), nullable=False),
        sa.Column("next_due", UTCDateTime(), nullable=False),
        sa.Column("paused_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("binding", "case", "cluster"),
    )
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_schedule_cluster"), ["cluster"], unique=False)
        batch_op.create_index(
            "ix_schedule_due",
            ["next_due"],
            unique=False,
            postgresql_where=sa.text("paused_at IS NULL"),
            sqlite_where=sa.text("paused_at IS NULL"),
        )

    op.create_table(
        "standing",
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("since", UTCDateTime(), nullable=False),
        sa.Column("fails", sa.Integer(), nullable=False),
        sa.Column("unknowns", sa.Integer(), nullable=False),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "case"),
    )
    op.create_table(
        "notification",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("incident_id", sa.String(length=26), nullable=False),
        sa.Column("event", sa.String(length=10), nullable=False),
        sa.Column("route", sa.String(length=63), nullable=False),
        sa.Column("target", sa.String(length=63), nullable=False),
        sa.Column("payload", JSONColumn, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", UTCDateTime(), nullable=False),
        sa.Column("last_error", sa.String(), nullable=False),
        sa.Column("sent_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incident.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("incident_id", "event", "route", "target"),
    )
    with op.batch_alter_table("notification", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notification_next",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("state IN ('pending', 'sending')"),
            sqlite_where=sa.text("state IN ('pending', 'sending')"),
        )

    op.create_table(
        "outcome",
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("case", sa.String(length=63), nullable=False),
        sa.Column("cluster", sa.String(length=63), nullable=False),
        sa.Column("trigger", sa.String(length=10), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("report", JSONColumn, nullable=True),
        sa.Column("node", sa.String(), nullable=True),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("scheduled_at", UTCDateTime(), nullable=True),
        sa.Column("started_at", UTCDateTime(), nullable=True),
        sa.Column("finished_at", UTCDateTime(), nullable=True),
        sa.Column("stored_at", UTCDateTime(), nullable=False),
        sa.Column("responded_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run_id"),
    )
    with op.batch_alter_table("outcome", schema=None) as batch_op:
        batch_op.create_index("ix_outcome_cluster_case", ["cluster", "case", "stored_at"], unique=False)
        batch_op.create_index("ix_outcome_stored", ["stored_at"], unique=False)
        batch_op.create_index(
            "ix_outcome_unanswered",
            ["stored_at"],
            unique=False,
            postgresql_where=sa.text("responded_at IS NULL"),
            sqlite_where=sa.text("responded_at IS NULL"),
        )

    op.create_table(
        "run_log",
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("tail", sa.String(), nullable=False),
        sa.Column("stored_at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run_id"),
    )


def downgrade() -> None:
    op.drop_table("run_log")
    with op.batch_alter_table("outcome", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_outcome_unanswered",
            postgresql_where=sa.text("responded_at IS NULL"),
            sqlite_where=sa.text("responded_at IS NULL"),
        )
        batch_op.drop_index("ix_outcome_stored")
        batch_op.drop_index("ix_outcome_cluster_case")

    op.drop_table("outcome")
    with op.batch_alter_table("notification", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_notification_next",
            postgresql_where=sa.text("state IN ('pending', 'sending')"),
            sqlite_where=sa.text("state IN ('pending', 'sending')"),
        )

    op.drop_table("notification")
    op.drop_table("standing")
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_schedule_due", postgresql_where=sa.text("paused_at IS NULL"), sqlite_where=sa.text("paused_at IS NULL")
        )
        batch_op.drop_index(batch_op.f("ix_schedule_cluster"))

    op.drop_table("schedule")
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_run_wake",
            postgresql_where=sa.text("state IN ('pending', 'launching')"),
            sqlite_where=sa.text("state IN ('pending', 'launching')"),
        )
        batch_op.drop_index(
            "ix_run_open_schedule", postgresql_where=sa.text("state <> 'done'"), sqlite_where=sa.text("state <> 'done'")
        )
        batch_op.drop_index(
            "ix_run_open", postgresql_where=sa.text("state <> 'done'"), sqlite_where=sa.text("state <> 'done'")
        )
        batch_op.drop_index(
            "ix_run_expiry", postgresql_where=sa.text("state <> 'done'"), sqlite_where=sa.text("state <> 'done'")
        )
        batch_op.drop_index("ix_run_cluster_case")
        batch_op.drop_index(batch_op.f("ix_run_change_id"))

    op.drop_table("run")
    op.drop_table("render_config")
    op.drop_table("probe_template")
    op.drop_table("probe_case")
    op.drop_table("installation")
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.drop_index(
            "ux_incident_open", postgresql_where=sa.text("closed_at IS NULL"), sqlite_where=sa.text("closed_at IS NULL")
        )
        batch_op.drop_index(batch_op.f("ix_incident_closed_at"))

    op.drop_table("incident")
    with op.batch_alter_table("collector", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_collector_pool"))

    op.drop_table("collector")
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_cluster_pool"))

    op.drop_table("cluster")
    with op.batch_alter_table("change", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_change_component"))

    op.drop_table("change")
    op.drop_table("catalog_version")
    op.drop_table("binding")
    op.drop_table("alert_route")
