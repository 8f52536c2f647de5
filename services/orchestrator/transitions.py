"""The steps that jobs, leases and attempts take within one transaction.

Rows are locked in one order, the job before its segments, so that writers on PostgreSQL cannot wait for each other in
a circle. The lock leaves room for rows that only refer to the job.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.orchestrator.artifacts import Asset
from services.orchestrator.database import now
from services.orchestrator.records import LEGAL_STEPS, ErrorRecord, JobState, Lease, SegmentState
from services.orchestrator.rows import Row, encode_error, encode_snapshot
from services.orchestrator.schema import attempt, event, job, segment
from services.runtime.refusal import Refusal


def in_seconds(seconds: float) -> sa.ColumnElement[int]:
    """That long from now, by the database's clock."""
    return now() + round(seconds * 1000)


def find_job(connection: Connection, job_id: str, lock: bool = False) -> Row:
    """The job's row. Raises Refusal JOB_NOT_FOUND."""
    query = sa.select(job).where(job.c.id == job_id)
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise Refusal("JOB_NOT_FOUND", f"There is no job {job_id[:80]!r}.", job=job_id[:80])
    return row


def change_job(connection: Connection, row: Row, values: Mapping[str, Any], message: str = "") -> Row:
    """Writes `values` into a locked job and appends the event that says so."""
    state, target = JobState(row["state"]), JobState(values.get("state", row["state"]))
    if state.ended or (target != state and target not in LEGAL_STEPS[state]):
        raise ValueError(f"job {row['id']} cannot go from {state} to {target}")
    number = row["last_event"] + 1
    statement = sa.update(job).where(job.c.id == row["id"]).values(**values, last_event=number).returning(*job.c)
    changed = connection.execute(statement).mappings().one()
    connection.execute(
        sa.insert(event).values(
            job=row["id"], number=number, time=now(), snapshot=encode_snapshot(changed), message=message
        )
    )
    return changed


def end_job(
    connection: Connection,
    row: Row,
    state: JobState,
    message: str,
    error: ErrorRecord | None = None,
    result: Asset | None = None,
    report: Asset | None = None,
) -> Row:
    """Ends a locked job: all leases on it are lost."""
    failure = encode_error(error) if error else None
    connection.execute(
        sa.update(attempt)
        .where(attempt.c.job == row["id"], attempt.c.outcome.is_(None))
        .values(end_time=now(), outcome=state, error=failure)
    )
    values: dict[str, Any] = {"state": state, "error": failure, "owner": None, "lease_until": None, "end_time": now()}
    if result is not None:
        values |= {"result": result.digest, "result_size": result.size}
    if report is not None:
        values |= {"report": report.digest, "report_size": report.size}
    return change_job(connection, row, values, message)


def hold(connection: Connection, lease: Lease) -> tuple[Row, Row | None]:
    """Locks the job and, for a segment's lease, the segment; raises Refusal LEASE_LOST unless the lease is in force.

    A lease that has run out is in force until another claims the work.
    """
    row = find_job(connection, lease.job, lock=True)
    part = None if lease.segment is None else find_segment(connection, lease)
    leased = row if part is None else part
    running = row["state"] == JobState.RUNNING and leased["state"] == SegmentState.RUNNING
    if not running or (leased["owner"], leased["fence"]) != (lease.owner, lease.fence):
        raise lease_lost(lease)
    return row, part


def find_segment(connection: Connection, lease: Lease) -> Row:
    query = sa.select(segment).where(segment.c.job == lease.job, segment.c.number == lease.segment)
    row = connection.execute(query.with_for_update()).mappings().one_or_none()
    if row is None:
        raise lease_lost(lease)
    return row


def update_leased(lease: Lease) -> sa.Update:
    """UPDATE of the row that the lease is on."""
    if lease.segment is None:
        return sa.update(job).where(job.c.id == lease.job)
    return sa.update(segment).where(segment.c.job == lease.job, segment.c.number == lease.segment)


def lease_lost(lease: Lease) -> Refusal:
    work = f"job {lease.job}" if lease.segment is None else f"segment {lease.segment} of job {lease.job}"
    message = f"{work} is no longer {lease.owner}'s: its lease ran out and was taken over, or the job has ended."
    return Refusal("LEASE_LOST", message, job=lease.job, fence=lease.fence)


def lease_values(lease: Lease, seconds: float, row: Row) -> dict[str, Any]:
    """The columns of a fresh claim of `row`."""
    return {
        "state": JobState.RUNNING,
        "owner": lease.owner,
        "fence": lease.fence,
        "lease_until": in_seconds(seconds),
        "attempts": row["attempts"] + 1,
    }


def open_attempt(connection: Connection, lease: Lease) -> None:
    """Notes a claim; the one before, if it is still open, was lost."""
    same = attempt.c.segment.is_(None) if lease.segment is None else attempt.c.segment == lease.segment
    connection.execute(
        sa.update(attempt)
        .where(attempt.c.job == lease.job, same, attempt.c.outcome.is_(None))
        .values(end_time=now(), outcome="LOST")
    )
    connection.execute(
        sa.insert(attempt).values(
            job=lease.job, segment=lease.segment, fence=lease.fence, owner=lease.owner, start_time=now()
        )
    )


def close_attempt(connection: Connection, lease: Lease, outcome: str, error: ErrorRecord | None = None) -> None:
    connection.execute(
        sa.update(attempt)
        .where(attempt.c.job == lease.job, attempt.c.fence == lease.fence)
        .values(end_time=now(), outcome=outcome, error=encode_error(error) if error else None)
    )


def lost_too_often(attempts: int) -> ErrorRecord:
    message = f"{attempts} workers in a row were lost at this job. The log of the orchestrator's workers has the rest."
    return ErrorRecord("INTERNAL_ERROR", message, {"attempts": str(attempts)})
