"""What clients ask of jobs: to create, see, list, follow, cancel, retry and delete them."""

import base64
import binascii
import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.orchestrator.admission import Admission, admit, find_turn
from services.orchestrator.database import Row, Transaction
from services.orchestrator.records import (
    BatchRecord,
    EventRecord,
    JobFilter,
    JobPage,
    JobProgress,
    JobRecord,
    JobState,
    NewJob,
    SegmentState,
)
from services.orchestrator.rows import encode_json, encode_progress, to_event, to_job
from services.orchestrator.schema import asset, event, job, segment
from services.orchestrator.transitions import change_job, end_job, find_job
from services.runtime.refusal import Refusal

_BY_REQUEST = sa.select(job).where(job.c.request_id == sa.bindparam("request_id"))
_EVENTS = (
    sa.select(event)
    .where(event.c.job == sa.bindparam("job"), event.c.number > sa.bindparam("seen"))
    .order_by(event.c.number)
    .limit(sa.bindparam("most"))
)
_USE_ASSET = sa.update(asset).where(asset.c.digest == sa.bindparam("of")).values(use_time=sa.bindparam("now"))
_BATCH = sa.select(job).where(job.c.batch == sa.bindparam("batch")).order_by(job.c.number)
_BATCH_STATES = (
    sa.select(job.c.state, sa.func.count().label("jobs"))
    .where(job.c.batch == sa.bindparam("batch"))
    .group_by(job.c.state)
)
_WAIT_AGAIN = (
    sa.update(segment)
    .where(segment.c.job == sa.bindparam("of"), segment.c.state == SegmentState.RUNNING)
    .values(state=SegmentState.QUEUED, owner=None, lease_until=None, not_before=0)
)
_COUNT_ANEW = sa.update(segment).where(segment.c.job == sa.bindparam("of")).values(attempts=0)
_DELETE = sa.delete(job).where(job.c.id == sa.bindparam("of"))


class JobRegistry(Admission):
    """Reads and writes of a job that is not there raise Refusal JOB_NOT_FOUND."""

    def create_job(self, new: NewJob, request_id: str | None = None) -> JobRecord:
        """Queues a job. With a request_id used before: that job, or Refusal REQUEST_REUSED if it was another.

        Raises Refusal QUEUE_FULL, QUOTA_EXCEEDED.
        """
        with self._database.writing() as tx:
            row = tx.first(_BY_REQUEST, request_id=request_id) if request_id else None
            if row is None:
                admit(tx, self._limits, new.tenant, 1)
                row = _insert(tx, new, request_id)
                if row is None:  # another call with the request_id, on PostgreSQL, was just ahead
                    row = tx.first(_BY_REQUEST, request_id=request_id)
            if row is None or not _is_same(row, new):
                message = f"request_id {request_id} was used for another job: give each job one of its own."
                raise Refusal("REQUEST_REUSED", message, request_id=request_id, job=row["id"] if row else "")
            return to_job(row)

    def create_batch(self, jobs: Sequence[NewJob], request_id: str | None = None) -> BatchRecord:
        """Queues all of them or none. With a request_id used before: that batch, or Refusal REQUEST_REUSED.

        Raises Refusal QUEUE_FULL, QUOTA_EXCEEDED.
        """
        batch = hashlib.sha256(request_id.encode()).hexdigest()[:32] if request_id else uuid.uuid4().hex
        with self._database.writing() as tx:
            if tx.connection.dialect.name == "postgresql":  # two calls with one request_id take turns
                tx.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(int(batch[:15], 16))))
            rows = tx.all(_BATCH, batch=batch)
            if not rows:
                admit(tx, self._limits, jobs[0].tenant, len(jobs))
                for new in jobs:
                    _insert(tx, new, None, batch)
            elif len(rows) != len(jobs) or not all(map(_is_same, rows, jobs)):
                message = f"request_id {request_id} was used for another batch: give each batch one of its own."
                raise Refusal("REQUEST_REUSED", message, request_id=request_id, batch=batch)
            return _count_batch(tx, batch)

    def get_batch(self, batch: str) -> BatchRecord:
        """Raises Refusal BATCH_NOT_FOUND."""
        with self._database.reading() as tx:
            return _count_batch(tx, batch)

    def cancel_batch(self, batch: str) -> BatchRecord:
        """Cancels its jobs that have not ended. Raises Refusal BATCH_NOT_FOUND."""
        with self._database.reading() as tx:
            rows = tx.all(_BATCH, batch=batch)
        for row in rows:
            self.cancel_job(row["id"])
        return self.get_batch(batch)

    def get_job(self, job_id: str) -> JobRecord:
        with self._database.reading() as tx:
            return to_job(find_job(tx, job_id))

    def list_jobs(self, page_size: int = 50, page_token: str = "", wanted: JobFilter | None = None) -> JobPage:
        """Newest first. Raises Refusal INVALID_OPTION for a token that is not from a page before."""
        wanted = wanted or JobFilter()
        query = sa.select(job).order_by(job.c.number.desc()).limit(page_size + 1)
        if page_token:
            query = query.where(job.c.number <= _decode_page_token(page_token))
        if wanted.states:
            query = query.where(job.c.state.in_(wanted.states))
        if wanted.tenant:
            query = query.where(job.c.tenant == wanted.tenant)
        if wanted.batch:
            query = query.where(job.c.batch == wanted.batch)
        with self._database.reading() as tx:
            rows = tx.connection.execute(query).mappings().all()
        token = _encode_page_token(rows[page_size]["number"]) if len(rows) > page_size else ""
        return JobPage([to_job(row) for row in rows[:page_size]], token)

    def events_after(self, job_id: str, number: int, limit: int = 1000) -> list[EventRecord]:
        """The job's events behind that number, oldest first."""
        with self._database.reading() as tx:
            row = find_job(tx, job_id)
            return [to_event(row, found) for found in tx.all(_EVENTS, job=job_id, seen=number, most=limit)]

    def cancel_job(self, job_id: str) -> JobRecord:
        """Ends the job at once; its workers' leases are lost with it. A job that has ended stays as it is."""
        with self._database.writing() as tx:
            row = find_job(tx, job_id, lock=True)
            if not JobState(row["state"]).ended:
                row = end_job(tx, row, JobState.CANCELLED, "Cancelled.")
            return to_job(row)

    def retry_job(self, job_id: str) -> JobRecord:
        """Queues a job that FAILED or was CANCELLED once more, without its deadline; finished segments stay finished.

        One that waits or runs stays as it is. Raises Refusal JOB_DONE, QUEUE_FULL, QUOTA_EXCEEDED.
        """
        with self._database.writing() as tx:
            row = find_job(tx, job_id, lock=True)
            if row["state"] == JobState.DONE:
                raise Refusal("JOB_DONE", f"job {job_id} is done: there is nothing to try again.", job=job_id)
            if not JobState(row["state"]).ended:
                return to_job(row)
            admit(tx, self._limits, row["tenant"], 1)
            tx.run(_WAIT_AGAIN, of=job_id)
            tx.run(_COUNT_ANEW, of=job_id)
            values: dict[str, Any] = {"state": JobState.QUEUED, "error": None, "end_time": None, "deadline": None}
            values |= {"attempts": 0, "not_before": 0, "turn": find_turn(tx, row["tenant"], row["lane"])}
            return to_job(change_job(tx, row, values, "To be tried again."))

    def delete_job(self, job_id: str) -> None:
        """Forgets a job that has ended. Raises Refusal JOB_NOT_ENDED."""
        with self._database.writing() as tx:
            row = find_job(tx, job_id, lock=True)
            if not JobState(row["state"]).ended:
                raise Refusal("JOB_NOT_ENDED", f"job {job_id} is {row['state'].lower()}: cancel it first.", job=job_id)
            tx.run(_DELETE, of=job_id)


def _insert(tx: Transaction, new: NewJob, request_id: str | None, batch: str | None = None) -> Row | None:
    """None when there is a job with the request_id."""
    values = {
        "id": uuid.uuid4().hex,
        "request_id": request_id or None,
        "state": JobState.QUEUED,
        "video": new.video,
        "audio": new.audio,
        "options": encode_json(new.options),
        "tenant": new.tenant,
        "trace": new.trace,
        "batch": batch,
        "lane": -new.priority,
        "turn": find_turn(tx, new.tenant, -new.priority),
        "deadline": new.deadline,
        "progress": encode_progress(JobProgress()),
        "create_time": tx.now,
        "last_event": 0,
        "last_fence": 0,
        "fence": 0,
        "not_before": 0,
        "attempts": 0,
        "told": 0,
        "news": False,
        "news_after": 0,
        "news_attempts": 0,
        "replay_time": 0,
        "webhook": new.webhook,
    }
    row = tx.insert_new(job, values, unless="request_id")
    if row is None:
        return None
    for digest in new.assets:
        tx.run(_USE_ASSET, of=digest, now=tx.now)
    return change_job(tx, row, {}, "Queued.")


def _is_same(row: Row, new: NewJob) -> bool:
    wanted: tuple[Any, ...] = (new.video, new.audio, encode_json(new.options), new.tenant, -new.priority, new.webhook)
    return wanted == tuple(row[name] for name in ("video", "audio", "options", "tenant", "lane", "webhook"))


def _count_batch(tx: Transaction, batch: str) -> BatchRecord:
    counts = {JobState(row["state"]): row["jobs"] for row in tx.all(_BATCH_STATES, batch=batch)}
    if not counts:
        raise Refusal("BATCH_NOT_FOUND", f"There is no batch {batch[:80]!r}.", batch=batch[:80])
    return BatchRecord(batch, counts)


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
