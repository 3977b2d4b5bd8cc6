"""Alembic's entry: runs migrations on the connection that `kubeprobe.store.migrate` hands in."""

from alembic import context
from sqlmodel import SQLModel

import kubeprobe.store

assert kubeprobe.store.__all__  # imported for its tables
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
