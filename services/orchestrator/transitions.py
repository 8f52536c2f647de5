"""The steps that jobs, leases and attempts take within one transaction.

Rows are locked in one order, the job before its segments, so that writers on PostgreSQL cannot wait for each other in
a circle. The lock leaves room for rows that only refer to the job.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from services.orchestrator.artifacts import Asset
from services.orchestrator.database import Row, Transaction
from services.orchestrator.records import LEGAL_STEPS, ErrorRecord, JobState, Lease, SegmentState
from services.orchestrator.retrying import LOST_ATTEMPTS
from services.orchestrator.rows import encode_error, encode_snapshot
from services.orchestrator.schema import attempt, event, job, segment
from services.runtime.refusal import Refusal

_JOB = sa.select(job).where(job.c.id == sa.bindparam("job"))
_LOCKED_JOB = _JOB.with_for_update(key_share=True)
_LOCKED_SEGMENT = (
    sa.select(segment)
    .where(segment.c.job == sa.bindparam("job"), segment.c.number == sa.bindparam("number"))
    .with_for_update()
)
_END_ATTEMPTS = (
    sa.update(attempt)
    .where(attempt.c.job == sa.bindparam("of"), attempt.c.outcome.is_(None))
    .values(end_time=sa.bindparam("now"), outcome=sa.bindparam("how"), error=sa.bindparam("why"))
)


_LATEST_OF_JOB = (
    sa.select(attempt.c.outcome)
    .where(attempt.c.job == sa.bindparam("of"), attempt.c.segment.is_(None))
    .order_by(attempt.c.fence.desc())
    .limit(LOST_ATTEMPTS)
)
_LATEST_OF_SEGMENT = (
    sa.select(attempt.c.outcome)
    .where(attempt.c.job == sa.bindparam("of"), attempt.c.segment == sa.bindparam("part"))
    .order_by(attempt.c.fence.desc())
    .limit(LOST_ATTEMPTS)
)


def find_job(tx: Transaction, job_id: str, lock: bool = False) -> Row:
    """The job's row. Raises Refusal JOB_NOT_FOUND."""
    row = tx.first(_LOCKED_JOB if lock else _JOB, job=job_id)
    if row is None:
        raise Refusal("JOB_NOT_FOUND", f"There is no job {job_id[:80]!r}.", job=job_id[:80])
    return row


def change_job(tx: Transaction, row: Row, values: Mapping[str, Any], message: str = "") -> Row:
    """Writes `values` into a locked job and appends the event that says so."""
    state, target = JobState(row["state"]), JobState(values.get("state", row["state"]))
    if (state.ended and target == state) or (target != state and target not in LEGAL_STEPS[state]):
        raise ValueError(f"job {row['id']} cannot go from {state} to {target}")
    number = row["last_event"] + 1
    news = {"news": True} if target != state or number == 1 else {}
    changes = {**values, **news, "last_event": number}
    tx.update(job, {"id": row["id"]}, changes)
    changed = {**row, **changes}
    happened = {"job": row["id"], "number": number, "time": tx.now, "message": message}
    tx.insert(event, happened | {"snapshot": encode_snapshot(changed)})
    return changed


def end_job(
    tx: Transaction,
    row: Row,
    state: JobState,
    message: str,
    error: ErrorRecord | None = None,
    result: Asset | None = None,
    report: Asset | None = None,
) -> Row:
    """Ends a locked job: all leases on it are lost."""
    failure = encode_error(error) if error else None
    tx.run(_END_ATTEMPTS, of=row["id"], now=tx.now, how=state, why=failure)
    values: dict[str, Any] = {"state": state, "error": failure, "owner": None, "lease_until": None, "end_time": tx.now}
    if result is not None:
        values |= {"result": result.digest, "result_size": result.size}
    if report is not None:
        values |= {"report": report.digest, "report_size": report.size}
    return change_job(tx, row, values, message)


def hold(tx: Transaction, lease: Lease) -> tuple[Row, Row | None]:
    """Locks the job and, for a segment's lease, the segment; raises Refusal LEASE_LOST unless the lease is in force.

    A lease that has run out is in force until another claims the work.
    """
    row = find_job(tx, lease.job, lock=True)
    part = None if lease.segment is None else find_segment(tx, lease)
    check_held(lease, row, part)
    return row, part


def check_held(lease: Lease, row: Row, part: Row | None) -> None:
    """Of rows that are locked. Raises Refusal LEASE_LOST."""
    leased = row if part is None else part
    running = row["state"] == JobState.RUNNING and leased["state"] == SegmentState.RUNNING
    if not running or (leased["owner"], leased["fence"]) != (lease.owner, lease.fence):
        raise lease_lost(lease)


def find_segment(tx: Transaction, lease: Lease) -> Row:
    row = tx.first(_LOCKED_SEGMENT, job=lease.job, number=lease.segment)
    if row is None:
        raise lease_lost(lease)
    return row


def update_leased(tx: Transaction, lease: Lease, values: Mapping[str, Any]) -> None:
    """Writes into the row that the lease is on."""
    if lease.segment is None:
        tx.update(job, {"id": lease.job}, values)
    else:
        tx.update(segment, {"job": lease.job, "number": lease.segment}, values)


def lease_lost(lease: Lease) -> Refusal:
    work = f"job {lease.job}" if lease.segment is None else f"segment {lease.segment} of job {lease.job}"
    message = f"{work} is no longer {lease.owner}'s: its lease ran out and was taken over, or the job has ended."
    return Refusal("LEASE_LOST", message, job=lease.job, fence=lease.fence)


def lease_values(tx: Transaction, lease: Lease, seconds: float, row: Row) -> dict[str, Any]:
    """The columns of a fresh claim of `row`."""
    return {
        "state": JobState.RUNNING,
        "owner": lease.owner,
        "fence": lease.fence,
        "lease_until": tx.after(seconds),
        "attempts": row["attempts"] + 1,
    }


def open_attempt(tx: Transaction, lease: Lease, row: Row) -> None:
    """Notes a claim of `row`; the one before, if it is still open, was lost."""
    if row["state"] == JobState.RUNNING:
        lost = {"job": lease.job, "fence": row["fence"]}
        tx.update(attempt, lost, {"end_time": tx.now, "outcome": "LOST"})
    about = {"job": lease.job, "segment": lease.segment, "fence": lease.fence, "owner": lease.owner}
    tx.insert(attempt, about | {"start_time": tx.now})


def close_attempt(tx: Transaction, lease: Lease, outcome: str, error: ErrorRecord | None = None) -> None:
    values = {"end_time": tx.now, "outcome": outcome, "error": encode_error(error) if error else None}
    tx.update(attempt, {"job": lease.job, "fence": lease.fence}, values)


def lost_too_often(tx: Transaction, job_id: str, part: int | None, row: Row) -> ErrorRecord | None:
    """What a job fails with whose workers, or those of one of its segments, are lost one after another."""
    if row["state"] != JobState.RUNNING or row["attempts"] < LOST_ATTEMPTS:
        return None
    ends = tx.all(_LATEST_OF_JOB, of=job_id) if part is None else tx.all(_LATEST_OF_SEGMENT, of=job_id, part=part)
    if any(end["outcome"] not in (None, "LOST") for end in ends):
        return None
    message = f"{len(ends)} workers in a row were lost at this job. The log of the orchestrator's workers has the rest."
    return ErrorRecord("INTERNAL_ERROR", message, {"attempts": str(len(ends))})
