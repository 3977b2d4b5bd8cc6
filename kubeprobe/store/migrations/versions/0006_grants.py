"""What a source may declare."""

import sqlalchemy as sa
from alembic import op

from kubeprobe.store.types import JSONColumn

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("source", sa.Column("allow", JSONColumn, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("source", "allow")
