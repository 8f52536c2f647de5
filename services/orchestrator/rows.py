"""Rows <-> records: JSON columns and nothing else."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from services.orchestrator.artifacts import Asset
from services.orchestrator.database import Row
from services.orchestrator.records import (
    ErrorRecord,
    EventRecord,
    JobProgress,
    JobRecord,
    JobState,
    Phase,
    SegmentRecord,
    SegmentState,
)

# What an event keeps of its job: the columns that change and that JobRecord shows.
SNAPSHOT_COLUMNS = (
    "state",
    "progress",
    "plan",
    "result",
    "result_size",
    "report",
    "report_size",
    "error",
    "start_time",
    "end_time",
    "last_event",
)


def encode_json(value: Mapping[str, Any]) -> str:
    """The same text for the same values."""
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def encode_progress(progress: JobProgress) -> str:
    return encode_json(asdict(progress))


def encode_error(error: ErrorRecord) -> str:
    return encode_json({"reason": error.reason, "message": error.message, "metadata": dict(error.metadata)})


def encode_snapshot(row: Row) -> str:
    return encode_json({name: row[name] for name in SNAPSHOT_COLUMNS})


def to_progress(text: str) -> JobProgress:
    values = json.loads(text)
    return JobProgress(**values | {"phase": Phase(values["phase"])})


def to_job(row: Row) -> JobRecord:
    return JobRecord(
        id=row["id"],
        state=JobState(row["state"]),
        video=row["video"],
        audio=row["audio"],
        options=json.loads(row["options"]),
        tenant=row["tenant"],
        priority=-row["lane"],
        deadline=row["deadline"],
        batch=row["batch"],
        trace=row["trace"],
        webhook=row["webhook"],
        progress=to_progress(row["progress"]),
        plan=row["plan"],
        result=_to_asset(row["result"], row["result_size"]),
        report=_to_asset(row["report"], row["report_size"]),
        error=ErrorRecord(**json.loads(row["error"])) if row["error"] else None,
        create_time=row["create_time"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        last_event=row["last_event"],
    )


def to_event(job: Row, row: Row) -> EventRecord:
    then = dict(job) | json.loads(row["snapshot"])
    return EventRecord(row["number"], row["time"], to_job(then), row["message"])


def to_segment(row: Row) -> SegmentRecord:
    return SegmentRecord(
        job=row["job"],
        index=row["number"],
        first_frame=row["first_frame"],
        frame_count=row["frame_count"],
        state=SegmentState(row["state"]),
        result=_to_asset(row["digest"], row["size"]),
        details=json.loads(row["details"]) if row["details"] else None,
    )


def _to_asset(digest: str | None, size: int | None) -> Asset | None:
    return Asset(digest, size) if digest is not None and size is not None else None
