"""What alembic runs: the migrations, in the transaction of the connection that `open_store` gives."""

from __future__ import annotations

from alembic import context

from pytest_llmbench.studio.store import Record

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Record.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
context.run_migrations()
