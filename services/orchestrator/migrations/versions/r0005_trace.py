"""Within which of the caller's traces a job is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("job", sa.Column("trace", sa.String(length=64), nullable=False, server_default=""))
