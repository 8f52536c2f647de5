"""The tables. Times are milliseconds since the Unix epoch by the database's clock; JSON is text."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts up by itself only in a column of type INTEGER.
_Serial: TypeEngine[int] = BigInteger().with_variant(Integer, "sqlite")


def _lease_columns() -> list[Column[Any]]:
    """Who works on a row, until when, and the token that tells this owner from those before."""
    return [
        Column("owner", String(128)),
        Column("fence", BigInteger, nullable=False, default=0),
        Column("lease_until", BigInteger),
        Column("not_before", BigInteger, nullable=False, default=0),  # earliest time of the next claim
        Column("attempts", Integer, nullable=False, default=0),  # claims since it last got on
    ]


job = Table(
    "job",
    metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),  # order of creation
    Column("id", String(32), nullable=False, unique=True),
    Column("request_id", String(128), unique=True),
    Column("state", String(16), nullable=False),
    Column("video", String(64), nullable=False),
    Column("audio", String(64), nullable=False),
    Column("options", Text, nullable=False),
    Column("tenant", String(64), nullable=False, default=""),
    Column("batch", String(32)),
    Column("trace", String(64), nullable=False, default=""),  # W3C traceparent of the call that made it
    Column("lane", Integer, nullable=False, default=0),  # minus the priority: the lowest goes first
    Column("turn", BigInteger, nullable=False, default=0),  # within the lane: the lowest goes first
    Column("deadline", BigInteger),
    Column("duration", BigInteger),  # of the video, milliseconds; once planned
    Column("work", BigInteger),  # its frames x thousands of pixels; once planned
    Column("progress", Text, nullable=False),
    Column("plan", String(64)),  # digest of what the segments were planned from
    Column("result", String(64)),
    Column("result_size", BigInteger),
    Column("report", String(64)),
    Column("report_size", BigInteger),
    Column("error", Text),
    Column("told", Integer, nullable=False, default=0),  # newest event whose news is sent
    Column("news", Boolean, nullable=False, default=False),  # there are changes of state behind it
    Column("news_after", BigInteger, nullable=False, default=0),  # earliest time to send them
    Column("news_attempts", Integer, nullable=False, default=0),
    Column("replay_time", BigInteger, nullable=False, default=0),  # when they were last asked for again
    Column("webhook", Text, nullable=False, default=""),  # who is told; empty: the deployment's own
    Column("create_time", BigInteger, nullable=False),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("last_event", Integer, nullable=False, default=0),
    Column("last_fence", BigInteger, nullable=False, default=0),  # of the claims of the job and of its segments
    *_lease_columns(),
    Index("ix_job_queue", "state", "lane", "turn", "number"),
    Index("ix_job_news", "news", "news_after"),
    Index("ix_job_lane", "lane", "turn"),
    Index("ix_job_tenant", "tenant", "lane", "turn"),
    Index("ix_job_batch", "batch", "number"),
    Index("ix_job_ended", "end_time"),
)

segment = Table(
    "segment",
    metadata,
    Column("job", ForeignKey(job.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 0, in order of time
    Column("first_frame", BigInteger, nullable=False),
    Column("frame_count", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("digest", String(64)),
    Column("size", BigInteger),
    Column("details", Text),
    *_lease_columns(),
)

# One row for each claim, of a job or of one of its segments.
attempt = Table(
    "attempt",
    metadata,
    Column("job", ForeignKey(job.c.id, ondelete="CASCADE"), primary_key=True),
    Column("segment", Integer),  # NULL: the job
    Column("fence", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", String(128), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("outcome", String(16)),
    Column("error", Text),
)

event = Table(
    "event",
    metadata,
    Column("job", ForeignKey(job.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1
    Column("time", BigInteger, nullable=False),
    Column("snapshot", Text, nullable=False),  # the job as it was then
    Column("message", Text, nullable=False),
)

asset = Table(
    "asset",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("tenant", String(64), nullable=False, default=""),  # who brought it first
    Column("create_time", BigInteger, nullable=False),
    Column("use_time", BigInteger, nullable=False),  # when it was last uploaded or put into a job
    Index("ix_asset_tenant", "tenant"),
)

# What is known of a source: the blob of that kind, made by that version.
source = Table(
    "source",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("version", Text, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("details", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
)
