"""What is told to webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("job", sa.Column("told", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("news", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("job", sa.Column("news_after", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("news_attempts", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_job_news", "job", ["news", "news_after"], unique=False)
