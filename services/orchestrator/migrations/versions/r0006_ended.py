"""Jobs by when they ended."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_job_ended", "job", ["end_time"], unique=False)
