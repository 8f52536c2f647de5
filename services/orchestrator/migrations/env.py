"""Alembic's entry: runs inside the transaction that services.orchestrator.database has begun."""

from alembic import context

from services.orchestrator.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
