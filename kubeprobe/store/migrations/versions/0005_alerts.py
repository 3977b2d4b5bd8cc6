"""What was called an incident is an alert; an index of failed notifications."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import JSONColumn

revision = "0005"
down_revision = "0004"

_OPEN = sa.text("closed_at IS NULL")
_KEYS = {"incident": "alert", "incident_kind": "alertKind"}
_KINDS = {"known-again": "verdict-restored"}


def upgrade() -> None:
    _rename("incident", "alert")
    _rewrite_payloads("alert", _KEYS, _KINDS)
    failed = sa.text("state = 'failed'")
    op.create_index(
        "ix_notification_failed", "notification", ["next_attempt_at"], postgresql_where=failed, sqlite_where=failed
    )


def downgrade() -> None:
    op.drop_index("ix_notification_failed", table_name="notification")
    _rewrite_payloads("alert", {new: old for old, new in _KEYS.items()}, {new: old for old, new in _KINDS.items()})
    _rename("alert", "incident")


def _rename(old: str, new: str) -> None:
    """The table, what points at it, and the names that PostgreSQL derives from both."""
    op.drop_index(f"ux_{old}_open", table_name=old)
    op.drop_index(f"ix_{old}_closed_at", table_name=old)
    op.rename_table(old, new)
    place = ["cluster", "case", "node", "kind"]
    op.create_index(f"ux_{new}_open", new, place, unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN)
    op.create_index(f"ix_{new}_closed_at", new, ["closed_at"])
    # A plain ALTER: Alembic would copy the table on SQLite.
    op.execute(f"ALTER TABLE notification RENAME COLUMN {old}_id TO {new}_id")
    if op.get_context().dialect.name == "postgresql":
        for table, before, after in (
            (new, f"{old}_pkey", f"{new}_pkey"),
            ("notification", f"notification_{old}_id_fkey", f"notification_{new}_id_fkey"),
            (
                "notification",
                f"notification_{old}_id_event_route_target_key",
                f"notification_{new}_id_event_route_target_key",
            ),
        ):
            op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {before} TO {after}")


def _rewrite_payloads(alert: str, keys: dict[str, str], kinds: dict[str, str]) -> None:
    """The messages that are read again: those not sent yet, and the openings of alerts that are open."""
    strings = [sa.column(name, sa.String()) for name in ("id", "state", "event", f"{alert}_id")]
    notification = sa.table("notification", *strings, sa.column("payload", JSONColumn))
    alerts = sa.table(alert, sa.column("id", sa.String()), sa.column("closed_at"))
    still_open = sa.select(alerts.c.id).where(alerts.c.closed_at.is_(None))
    is_opening = (notification.c.event == "opened") & notification.c[f"{alert}_id"].in_(still_open)
    is_read = notification.c.state.in_(("pending", "sending")) | is_opening
    connection = op.get_bind()
    for row_id, payload in connection.execute(
        sa.select(notification.c.id, notification.c.payload).where(is_read)
    ).all():
        renamed: dict[str, Any] = {keys.get(key, key): value for key, value in payload.items()}
        if "kind" in renamed:
            renamed["kind"] = kinds.get(renamed["kind"], renamed["kind"])
        connection.execute(sa.update(notification).where(notification.c.id == row_id).values(payload=renamed))
