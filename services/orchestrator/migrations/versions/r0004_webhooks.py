"""A webhook of a job's own; news told again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("job", sa.Column("replay_time", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("webhook", sa.Text(), nullable=False, server_default=""))
