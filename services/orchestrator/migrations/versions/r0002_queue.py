"""Priorities, fair turns, tenants, deadlines, batches; when an asset was last used."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("job", sa.Column("tenant", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("job", sa.Column("batch", sa.String(length=32), nullable=True))
    op.add_column("job", sa.Column("lane", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("deadline", sa.BigInteger(), nullable=True))
    op.add_column("job", sa.Column("duration", sa.BigInteger(), nullable=True))
    op.add_column("job", sa.Column("work", sa.BigInteger(), nullable=True))
    op.drop_index("ix_job_state_number", table_name="job")
    op.create_index("ix_job_queue", "job", ["state", "lane", "turn", "number"], unique=False)
    op.create_index("ix_job_lane", "job", ["lane", "turn"], unique=False)
    op.create_index("ix_job_tenant", "job", ["tenant", "lane", "turn"], unique=False)
    op.create_index("ix_job_batch", "job", ["batch", "number"], unique=False)
    op.add_column("asset", sa.Column("tenant", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("asset", sa.Column("use_time", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE asset SET use_time = create_time")
    op.create_index("ix_asset_tenant", "asset", ["tenant"], unique=False)
