"""A collector's lease says when it was last renewed."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import UTCDateTime

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute("UPDATE collector SET leased_until = seen_at WHERE leased_until IS NULL")
    with op.batch_alter_table("collector") as table:
        table.drop_column("seen_at")
        table.alter_column("leased_until", existing_type=UTCDateTime(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("collector") as table:
        table.alter_column("leased_until", existing_type=UTCDateTime(), nullable=True)
        table.add_column(sa.Column("seen_at", UTCDateTime(), nullable=True))
    op.execute("UPDATE collector SET seen_at = leased_until")
    with op.batch_alter_table("collector") as table:
        table.alter_column("seen_at", existing_type=UTCDateTime(), nullable=False)
