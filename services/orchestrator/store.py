"""Jobs, their segments and events: the state that the queue is made of, in one SQL schema.

A job waits QUEUED, is claimed (RUNNING) and ends DONE, FAILED or CANCELLED. A claim gives a lease: it runs out by the
database's clock unless a heartbeat extends it, and carries a fencing token, by which everything its holder writes is
refused once another has claimed the work. Work may be done twice; its result is written once.

Every change of a job appends an event in the same transaction. All methods block: call them in an executor.
"""

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.orchestrator.artifacts import Asset
from services.orchestrator.database import Database, insert, now
from services.orchestrator.records import (
    ErrorRecord,
    EventRecord,
    JobPage,
    JobProgress,
    JobRecord,
    JobState,
    Lease,
    SegmentRecord,
    SegmentState,
)
from services.orchestrator.rows import (
    Row,
    encode_json,
    encode_progress,
    to_event,
    to_job,
    to_progress,
    to_segment,
)
from services.orchestrator.schema import asset, event, job, segment
from services.orchestrator.timeline import SegmentSpan
from services.orchestrator.transitions import (
    change_job,
    close_attempt,
    end_job,
    find_job,
    find_segment,
    hold,
    in_seconds,
    lease_values,
    lost_too_often,
    open_attempt,
    update_leased,
)
from services.runtime.refusal import Refusal


class JobStore:
    """`url`: sqlite:////path/of/the/file. After `max_attempts` claims that brought nothing on, a job fails.

    Writes by a Lease raise Refusal LEASE_LOST once it is lost; reads of a job, JOB_NOT_FOUND.
    """

    def __init__(self, url: str, max_attempts: int = 5) -> None:
        self._database = Database(url)
        self._max_attempts = max_attempts

    def close(self) -> None:
        self._database.close()

    # Jobs, for the api

    def create_job(
        self, video: str, audio: str, options: Mapping[str, Any], request_id: str | None = None
    ) -> JobRecord:
        """Queues a job. With a request_id used before: that job, or Refusal REQUEST_REUSED if it was another."""
        content = {"video": video, "audio": audio, "options": encode_json(options)}
        with self._database.writing() as connection:
            statement = (
                insert(connection, job)
                .values(
                    id=uuid.uuid4().hex,
                    request_id=request_id or None,
                    state=JobState.QUEUED,
                    progress=encode_progress(JobProgress()),
                    create_time=now(),
                    **content,
                )
                .on_conflict_do_nothing(index_elements=[job.c.request_id])
                .returning(*job.c)
            )
            created = connection.execute(statement).mappings().one_or_none()
            if created is not None:
                return to_job(change_job(connection, created, {}, "Queued."))
            row = connection.execute(sa.select(job).where(job.c.request_id == request_id)).mappings().one()
        if {name: row[name] for name in content} != content:
            message = f"request_id {request_id} was used for another job: give each job one of its own."
            raise Refusal("REQUEST_REUSED", message, request_id=request_id, job=row["id"])
        return to_job(row)

    def get_job(self, job_id: str) -> JobRecord:
        with self._database.reading() as connection:
            return to_job(find_job(connection, job_id))

    def list_jobs(self, page_size: int = 50, page_token: str = "") -> JobPage:
        """Newest first. Raises Refusal INVALID_OPTION for a token that is not from a page before."""
        query = sa.select(job).order_by(job.c.number.desc()).limit(page_size + 1)
        if page_token:
            query = query.where(job.c.number <= _decode_page_token(page_token))
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        token = _encode_page_token(rows[page_size]["number"]) if len(rows) > page_size else ""
        return JobPage([to_job(row) for row in rows[:page_size]], token)

    def events_after(self, job_id: str, number: int, limit: int = 1000) -> list[EventRecord]:
        """The job's events behind that number, oldest first."""
        query = sa.select(event).where(event.c.job == job_id, event.c.number > number).order_by(event.c.number)
        with self._database.reading() as connection:
            row = find_job(connection, job_id)
            return [to_event(row, found) for found in connection.execute(query.limit(limit)).mappings()]

    def cancel_job(self, job_id: str) -> JobRecord:
        """Ends the job at once; its worker's leases are lost with it. A job that has ended stays as it is."""
        with self._database.writing() as connection:
            row = find_job(connection, job_id, lock=True)
            if not JobState(row["state"]).ended:
                row = end_job(connection, row, JobState.CANCELLED, "Cancelled.")
            return to_job(row)

    # Jobs, for workers

    def claim_job(self, owner: str, seconds: float) -> tuple[JobRecord, Lease] | None:
        """The oldest job that waits or whose lease ran out, for so long; None: nothing to do now."""
        query = sa.select(job).where(_claimable(job)).order_by(job.c.number).limit(1)
        with self._database.writing() as connection:
            while (row := _first(connection, query.with_for_update(skip_locked=True, key_share=True))) is not None:
                if row["attempts"] >= self._max_attempts:
                    end_job(connection, row, JobState.FAILED, "Failed.", lost_too_often(row["attempts"]))
                    continue
                lease = Lease(row["id"], None, owner, row["last_fence"] + 1)
                open_attempt(connection, lease)
                values = lease_values(lease, seconds, row)
                values |= {"last_fence": lease.fence, "start_time": sa.func.coalesce(job.c.start_time, now())}
                message = "Begun." if row["start_time"] is None else "Taken up again."
                return to_job(change_job(connection, row, values, message)), lease
        return None

    def heartbeat(self, lease: Lease, seconds: float, progress: JobProgress | None = None) -> bool:
        """Extends the lease, of a job or segment, and tells how far its job is. False: it is lost, stop working."""
        with self._database.writing() as connection:
            try:
                row, _ = hold(connection, lease)
            except Refusal as refusal:
                if refusal.reason != "LEASE_LOST":
                    raise
                return False
            connection.execute(update_leased(lease).values(lease_until=in_seconds(seconds)))
            if progress is not None:
                known = to_progress(row["progress"])
                told = replace(progress, done_segments=known.done_segments, total_segments=known.total_segments)
                if told != known:
                    change_job(connection, row, {"progress": encode_progress(told)})
            return True

    def note(self, lease: Lease, message: str) -> None:
        """Appends an event with a message for a person."""
        with self._database.writing() as connection:
            change_job(connection, hold(connection, lease)[0], {}, message)

    def release(self, lease: Lease, error: ErrorRecord | None = None, retry_seconds: float = 0) -> JobRecord:
        """Gives a job or segment back, to be claimed again after `retry_seconds`.

        Without an error the claim does not count as an attempt. With one, and the attempts used up, the job FAILED.
        """
        with self._database.writing() as connection:
            row, part = hold(connection, lease)
            leased = row if part is None else part
            close_attempt(connection, lease, "RELEASED", error)
            if error is not None and leased["attempts"] >= self._max_attempts:
                return to_job(end_job(connection, row, JobState.FAILED, "Failed.", error))
            values = {
                "state": JobState.QUEUED,
                "owner": None,
                "lease_until": None,
                "not_before": in_seconds(retry_seconds),
                "attempts": leased["attempts"] - (error is None),
            }
            message = "Given back." if error is None else f"To be tried again: {error.message}"
            if part is None:
                return to_job(change_job(connection, row, values, message))
            connection.execute(update_leased(lease).values(values))
            return to_job(change_job(connection, row, {}, f"Segment {lease.segment}: {message}"))

    def finish_job(self, lease: Lease, result: Asset, report: Asset) -> JobRecord:
        """DONE, once every segment is."""
        with self._database.writing() as connection:
            row, _ = hold(connection, lease)
            if _count_segments(connection, lease.job, segment.c.state != SegmentState.DONE):
                raise ValueError(f"job {lease.job} has segments that are not done")
            return to_job(end_job(connection, row, JobState.DONE, "Done.", None, result, report))

    def fail_job(self, lease: Lease, error: ErrorRecord) -> JobRecord:
        """FAILED for good."""
        with self._database.writing() as connection:
            row, _ = hold(connection, lease)
            return to_job(end_job(connection, row, JobState.FAILED, "Failed.", error))

    # Segments

    def plan_segments(self, lease: Lease, plan: str, spans: Sequence[SegmentSpan]) -> list[SegmentRecord]:
        """Writes the job's segments down. `plan`: digest of everything they are made from.

        With the plan already written, by a worker before this one, its segments stay, finished ones finished; another
        plan's are dropped.
        """
        with self._database.writing() as connection:
            row, _ = hold(connection, lease)
            if row["plan"] != plan:
                connection.execute(sa.delete(segment).where(segment.c.job == lease.job))
                rows = [
                    {"job": lease.job, "number": span.index, "first_frame": span.first_frame}
                    | {"frame_count": span.frame_count, "state": SegmentState.QUEUED}
                    for span in spans
                ]
                connection.execute(sa.insert(segment), rows)
                progress = replace(to_progress(row["progress"]), done_segments=0, total_segments=len(spans))
                values = {"plan": plan, "progress": encode_progress(progress), "attempts": 0}
                change_job(connection, row, values, f"Planned as {len(spans)} segments.")
            return _list_segments(connection, lease.job)

    def list_segments(self, job_id: str) -> list[SegmentRecord]:
        """In order of time; empty before the plan is made."""
        with self._database.reading() as connection:
            find_job(connection, job_id)
            return _list_segments(connection, job_id)

    def claim_segment(self, job_id: str, owner: str, seconds: float) -> tuple[SegmentRecord, Lease] | None:
        """The first segment of a running job that waits or whose lease ran out; None: none now, or the job ended."""
        query = sa.select(segment).where(segment.c.job == job_id, _claimable(segment)).order_by(segment.c.number)
        with self._database.writing() as connection:
            row = find_job(connection, job_id, lock=True)
            part = _first(connection, query.limit(1).with_for_update(skip_locked=True))
            if row["state"] != JobState.RUNNING or part is None:
                return None
            if part["attempts"] >= self._max_attempts:
                end_job(connection, row, JobState.FAILED, "Failed.", lost_too_often(part["attempts"]))
                return None
            lease = Lease(job_id, part["number"], owner, row["last_fence"] + 1)
            open_attempt(connection, lease)
            connection.execute(sa.update(job).where(job.c.id == job_id).values(last_fence=lease.fence))
            statement = update_leased(lease).values(lease_values(lease, seconds, part)).returning(*segment.c)
            return to_segment(connection.execute(statement).mappings().one()), lease

    def finish_segment(self, lease: Lease, result: Asset, details: Mapping[str, Any] | None = None) -> JobRecord:
        """Publishes the segment's file. Telling the same twice, after a commit that was not heard of, does no harm."""
        with self._database.writing() as connection:
            row = find_job(connection, lease.job, lock=True)
            part = find_segment(connection, lease)
            published = {"state": SegmentState.DONE, "fence": lease.fence, "digest": result.digest}
            if {name: part[name] for name in published} == published:
                return to_job(row)
            hold(connection, lease)
            close_attempt(connection, lease, SegmentState.DONE)
            values = published | {"size": result.size, "details": encode_json(details or {}), "owner": None}
            connection.execute(update_leased(lease).values(values | {"lease_until": None}))
            done = _count_segments(connection, lease.job, segment.c.state == SegmentState.DONE)
            progress = replace(to_progress(row["progress"]), done_segments=done)
            return to_job(change_job(connection, row, {"progress": encode_progress(progress), "attempts": 0}))

    # Assets

    def put_asset(self, stored: Asset) -> None:
        with self._database.writing() as connection:
            statement = insert(connection, asset).values(digest=stored.digest, size=stored.size, create_time=now())
            connection.execute(statement.on_conflict_do_nothing())


def _claimable(table: sa.Table) -> sa.ColumnElement[bool]:
    """Waits and may be claimed, or was claimed by one whose lease ran out. Jobs and segments alike."""
    waits = sa.and_(table.c.state == JobState.QUEUED, table.c.not_before <= now())
    return sa.or_(waits, sa.and_(table.c.state == JobState.RUNNING, table.c.lease_until < now()))


def _first(connection: Connection, query: sa.Select[Any]) -> Row | None:
    return connection.execute(query).mappings().one_or_none()


def _list_segments(connection: Connection, job_id: str) -> list[SegmentRecord]:
    query = sa.select(segment).where(segment.c.job == job_id).order_by(segment.c.number)
    return [to_segment(row) for row in connection.execute(query).mappings()]


def _count_segments(connection: Connection, job_id: str, condition: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(segment).where(segment.c.job == job_id, condition)
    return connection.execute(query).scalar_one()


def _encode_page_token(number: int) -> str:
    return base64.urlsafe_b64encode(f"jobs:{number}".encode()).decode().rstrip("=")


def _decode_page_token(token: str) -> int:
    try:
        kind, number = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii").split(":")
        if kind == "jobs" and 0 < int(number) < 1 << 63:
            return int(number)
    except (binascii.Error, UnicodeError, ValueError):
        pass
    raise Refusal("INVALID_OPTION", "page_token is not one that ListJobs gave out.", field="page_token")
