"""Alembic runs this file for every command. The connection and its transaction are the caller's."""

from __future__ import annotations

from alembic import context

from hermeslink.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by rebuilding it
)
context.run_migrations()
