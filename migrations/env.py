"""What Alembic runs: it works on the connection that `migrations.upgrade` gives."""

from alembic import context

from read_model.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError(
        "migrations/env.py needs a connection: run the migrations with `migrations.upgrade(url)`, "
        "which also holds the lock that keeps two of them apart"
    )

context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
