"""What workers do with jobs and segments: claim, keep, give back, finish.

Every write by a Lease raises Refusal LEASE_LOST once it is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from services.orchestrator.artifacts import Asset
from services.orchestrator.database import Database, Row, Transaction
from services.orchestrator.records import (
    ErrorRecord,
    JobProgress,
    JobRecord,
    JobState,
    Lease,
    SegmentRecord,
    SegmentState,
)
from services.orchestrator.retrying import pause_before_retry
from services.orchestrator.rows import encode_json, encode_progress, to_job, to_progress, to_segment
from services.orchestrator.schema import job, segment
from services.orchestrator.timeline import SegmentSpan
from services.orchestrator.transitions import (
    change_job,
    check_held,
    close_attempt,
    end_job,
    find_job,
    find_segment,
    hold,
    lease_values,
    lost_too_often,
    open_attempt,
    update_leased,
)
from services.runtime.convert import MAX_PRIORITY
from services.runtime.refusal import Refusal

_LIGHTER = 4  # so many times less work makes a job lighter than another
_LATELY_SECONDS = 5.0

_NOW = sa.bindparam("now", type_=sa.BigInteger)
_LOST_JOB = (
    sa.select(job)
    .where(job.c.state == JobState.RUNNING, job.c.lease_until < _NOW)
    .order_by(job.c.number)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
)
_NEXT_JOB = (
    sa.select(job)
    .where(job.c.state == JobState.QUEUED, job.c.not_before <= _NOW, job.c.lane <= sa.bindparam("lane"))
    .order_by(job.c.lane, job.c.turn, job.c.number)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
)
# Waits and may be claimed, or was claimed by one whose lease ran out.
_FREE_SEGMENT = sa.or_(
    sa.and_(segment.c.state == SegmentState.QUEUED, segment.c.not_before <= _NOW),
    sa.and_(segment.c.state == SegmentState.RUNNING, segment.c.lease_until < _NOW),
)
_NEXT_SEGMENT = (
    sa.select(segment)
    .where(segment.c.job == sa.bindparam("job"), _FREE_SEGMENT)
    .order_by(segment.c.number)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_JOB_TO_HELP = (
    sa.select(job)
    .where(job.c.state == JobState.RUNNING, sa.exists().where(segment.c.job == job.c.id, _FREE_SEGMENT))
    .order_by(job.c.lane, job.c.turn, job.c.number)
    .limit(1)
    .with_for_update(key_share=True)
)
# Helpers that come at one moment go to different jobs: those of one job wait for each other's commits.
_UNWATCHED_JOB_TO_HELP = _JOB_TO_HELP.with_for_update(skip_locked=True, key_share=True)
# As urgent and much lighter than a job: being made, or made just now, when more like it may come.
_LIGHTER_JOB = (
    sa.select(job.c.id)
    .where(
        sa.or_(job.c.state == JobState.RUNNING, job.c.end_time >= sa.bindparam("since", type_=sa.BigInteger)),
        job.c.id != sa.bindparam("job"),
        job.c.lane <= sa.bindparam("lane"),
        job.c.work <= sa.bindparam("most", type_=sa.BigInteger),
    )
    .limit(1)
)
_SEGMENTS = sa.select(segment).where(segment.c.job == sa.bindparam("job")).order_by(segment.c.number)
# What its owner does not know of: the commit that claimed it was not heard of.
_OWN_SEGMENT = sa.select(segment).where(
    segment.c.job == sa.bindparam("job"),
    segment.c.owner == sa.bindparam("owner"),
    segment.c.state == SegmentState.RUNNING,
)
_OPEN_SEGMENTS = (
    sa.select(sa.func.count())
    .select_from(segment)
    .where(segment.c.job == sa.bindparam("job"), segment.c.state != SegmentState.DONE)
)
_TAKEN_SEGMENTS = (
    sa.select(sa.func.count())
    .select_from(segment)
    .where(segment.c.job == sa.bindparam("job"), segment.c.state == SegmentState.RUNNING)
)
_DROP_SEGMENTS = sa.delete(segment).where(segment.c.job == sa.bindparam("of"))


class WorkQueue:
    """Methods that name a job that is not there raise Refusal JOB_NOT_FOUND."""

    _database: Database

    # Jobs

    def claim_job(self, owner: str, seconds: float) -> tuple[JobRecord, Lease] | None:
        """The job whose lease ran out, else the next by priority and turn, for so long; None: nothing to do now."""
        with self._database.writing() as tx:
            wanted = {"now": tx.now, "lane": MAX_PRIORITY}
            while (row := tx.first(_LOST_JOB, now=tx.now) or tx.first(_NEXT_JOB, **wanted)) is not None:
                if (failure := lost_too_often(tx, row["id"], None, row)) is not None:
                    end_job(tx, row, JobState.FAILED, "Failed.", failure)
                    continue
                return _claim_job(tx, row, owner, seconds)
        return None

    def claim_waiting_job(self, owner: str, seconds: float, least_priority: int) -> tuple[JobRecord, Lease] | None:
        """The next job of that priority or a higher one, for a worker that is helping; None: none waits."""
        with self._database.writing() as tx:
            row = tx.first(_NEXT_JOB, now=tx.now, lane=-least_priority)
            return None if row is None else _claim_job(tx, row, owner, seconds)

    def heartbeat(self, lease: Lease, seconds: float, progress: JobProgress | None = None) -> bool:
        """Extends the lease, of a job or segment, and tells how far its job is. False: it is lost, stop working."""
        with self._database.writing() as tx:
            try:
                row, _ = hold(tx, lease)
            except Refusal as refusal:
                if refusal.reason not in ("LEASE_LOST", "JOB_NOT_FOUND"):
                    raise
                return False
            update_leased(tx, lease, {"lease_until": tx.after(seconds)})
            if progress is not None:
                known = to_progress(row["progress"])
                told = replace(progress, done_segments=known.done_segments, total_segments=known.total_segments)
                if told != known:
                    change_job(tx, row, {"progress": encode_progress(told)})
            return True

    def note(self, lease: Lease, message: str) -> None:
        """Appends an event with a message for a person."""
        with self._database.writing() as tx:
            change_job(tx, hold(tx, lease)[0], {}, message)

    def release(self, lease: Lease, error: ErrorRecord | None = None) -> JobRecord:
        """Gives a job or segment back, to be claimed again.

        Without an error the claim does not count as an attempt. With one it waits for a while, longer each time; the
        job FAILED when the error cannot pass or has come too often.
        """
        with self._database.writing() as tx:
            row, part = hold(tx, lease)
            leased = row if part is None else part
            close_attempt(tx, lease, "RELEASED", error)
            pause = 0.0 if error is None else pause_before_retry(error, leased["attempts"])
            if pause is None:
                return to_job(end_job(tx, row, JobState.FAILED, "Failed.", error))
            values = {
                "state": JobState.QUEUED,
                "owner": None,
                "lease_until": None,
                "not_before": tx.after(pause),
                "attempts": leased["attempts"] - (error is None),
            }
            message = "Given back." if error is None else f"To be tried again in {pause:.0f} s: {error.message}"
            if part is None:
                return to_job(change_job(tx, row, values, message))
            update_leased(tx, lease, values)
            return to_job(change_job(tx, row, {}, f"Segment {lease.segment}: {message}"))

    def yield_turn(self, lease: Lease) -> bool:
        """Gives a job back right behind the next one, if one of its priority or a higher one waits; whether it did.

        Not while other workers render segments of it: they would lose them.
        """
        with self._database.writing() as tx:
            row, _ = hold(tx, lease)
            waiting = tx.first(_NEXT_JOB, now=tx.now, lane=row["lane"])
            if waiting is None or tx.value(_TAKEN_SEGMENTS, job=lease.job):
                return False
            close_attempt(tx, lease, "RELEASED")
            values = {"state": JobState.QUEUED, "owner": None, "lease_until": None, "not_before": 0}
            values |= {"turn": waiting["turn"] + 1, "attempts": row["attempts"] - 1}
            change_job(tx, row, values, "Waits for another job's turn.")
            return True

    def has_lighter(self, job_id: str, work: int) -> bool:
        """Whether jobs as urgent as this one and much lighter are being made, or were a moment ago.

        `work`: what is left of it, frames x thousands of pixels.
        """
        with self._database.reading() as tx:
            return _has_lighter(tx, find_job(tx, job_id), work)

    def finish_job(self, lease: Lease, result: Asset, report: Asset) -> JobRecord:
        """DONE, once every segment is."""
        with self._database.writing() as tx:
            row, _ = hold(tx, lease)
            if tx.value(_OPEN_SEGMENTS, job=lease.job):
                raise ValueError(f"job {lease.job} has segments that are not done")
            return to_job(end_job(tx, row, JobState.DONE, "Done.", None, result, report))

    # Segments

    def plan_segments(
        self, lease: Lease, plan: str, spans: Sequence[SegmentSpan], duration: float = 0, pixels: int = 0
    ) -> list[SegmentRecord]:
        """Writes the job's segments down. `plan`: digest of everything they are made from.

        For quotas and estimates, `duration` of the video in seconds and `pixels` of one frame.

        With the plan already written, by a worker before this one, its segments stay, finished ones finished; another
        plan's are dropped.
        """
        with self._database.writing() as tx:
            row, _ = hold(tx, lease)
            if row["plan"] != plan:
                tx.run(_DROP_SEGMENTS, of=lease.job)
                rows = [
                    {"job": lease.job, "number": span.index, "first_frame": span.first_frame}
                    | {"frame_count": span.frame_count, "state": SegmentState.QUEUED}
                    for span in spans
                ]
                tx.insert_all(segment, rows)
                progress = replace(to_progress(row["progress"]), done_segments=0, total_segments=len(spans))
                values: dict[str, Any] = {"plan": plan, "progress": encode_progress(progress), "attempts": 0}
                frames = sum(span.frame_count for span in spans)
                values |= {"duration": round(duration * 1000), "work": frames * pixels // 1000}
                change_job(tx, row, values, f"Planned as {len(spans)} segments.")
            return _list_segments(tx, lease.job)

    def list_segments(self, job_id: str) -> list[SegmentRecord]:
        """In order of time; empty before the plan is made."""
        with self._database.reading() as tx:
            find_job(tx, job_id)
            return _list_segments(tx, job_id)

    def claim_segment(self, job_id: str, owner: str, seconds: float) -> tuple[SegmentRecord, Lease] | None:
        """The first segment of a running job that waits or whose lease ran out; None: none now, or the job ended."""
        with self._database.writing() as tx:
            row = find_job(tx, job_id, lock=True)
            return _claim_segment(tx, row, owner, seconds)

    def claim_help(
        self, owner: str, seconds: float, gives_way: bool = False
    ) -> tuple[JobRecord, SegmentRecord, Lease] | None:
        """A segment of whichever running job has one to spare, for a worker that finds no job to claim.

        With `gives_way`, none while there are lighter jobs: the worker stays free for the next of them.
        """
        with self._database.writing() as tx:
            row = tx.first(_UNWATCHED_JOB_TO_HELP, now=tx.now) or tx.first(_JOB_TO_HELP, now=tx.now)
            if row is None or (gives_way and _has_lighter(tx, row, row["work"])):
                return None
            claimed = _claim_segment(tx, row, owner, seconds)
            return None if claimed is None else (to_job(row), *claimed)

    def finish_segment(self, lease: Lease, result: Asset, details: Mapping[str, Any] | None = None) -> JobRecord:
        """Publishes the segment's file. Telling the same twice, after a commit that was not heard of, does no harm."""
        with self._database.writing() as tx:
            return to_job(_publish(tx, lease, result, details or {}))

    def finish_and_claim(
        self, lease: Lease, result: Asset, details: Mapping[str, Any], seconds: float
    ) -> tuple[SegmentRecord, Lease] | None:
        """As finish_segment; then the job's next segment as claim_segment gives it, in the same transaction."""
        with self._database.writing() as tx:
            row = _publish(tx, lease, result, details)
            claimed = None
            if row["last_fence"] > lease.fence:
                claimed = tx.first(_OWN_SEGMENT, job=lease.job, owner=lease.owner)
            if claimed is not None:
                return to_segment(claimed), replace(lease, segment=claimed["number"], fence=claimed["fence"])
            return _claim_segment(tx, row, lease.owner, seconds)


def _claim_job(tx: Transaction, row: Row, owner: str, seconds: float) -> tuple[JobRecord, Lease]:
    lease = Lease(row["id"], None, owner, row["last_fence"] + 1)
    open_attempt(tx, lease, row)
    values = lease_values(tx, lease, seconds, row) | {"last_fence": lease.fence}
    begun = row["start_time"] is not None
    values |= {} if begun else {"start_time": tx.now}
    return to_job(change_job(tx, row, values, "Taken up again." if begun else "Begun.")), lease


def _publish(tx: Transaction, lease: Lease, result: Asset, details: Mapping[str, Any]) -> Row:
    """The job's row; as it was when the same was published before."""
    row = find_job(tx, lease.job, lock=True)
    part = find_segment(tx, lease)
    published = {"state": SegmentState.DONE, "fence": lease.fence, "digest": result.digest}
    if {name: part[name] for name in published} == published:
        return row
    check_held(lease, row, part)
    close_attempt(tx, lease, SegmentState.DONE)
    values = published | {"size": result.size, "details": encode_json(details), "owner": None}
    update_leased(tx, lease, values | {"lease_until": None})
    known = to_progress(row["progress"])
    progress = replace(known, done_segments=known.done_segments + 1)
    return change_job(tx, row, {"progress": encode_progress(progress), "attempts": 0})


def _has_lighter(tx: Transaction, row: Row, work: int) -> bool:
    since = tx.after(-_LATELY_SECONDS)
    lighter = tx.first(_LIGHTER_JOB, job=row["id"], lane=row["lane"], most=work // _LIGHTER, since=since)
    return lighter is not None


def _claim_segment(tx: Transaction, row: Row, owner: str, seconds: float) -> tuple[SegmentRecord, Lease] | None:
    part = tx.first(_NEXT_SEGMENT, job=row["id"], now=tx.now) if row["state"] == JobState.RUNNING else None
    if part is None:
        return None
    if (failure := lost_too_often(tx, row["id"], part["number"], part)) is not None:
        end_job(tx, row, JobState.FAILED, "Failed.", failure)
        return None
    lease = Lease(row["id"], part["number"], owner, row["last_fence"] + 1)
    open_attempt(tx, lease, part)
    tx.update(job, {"id": row["id"]}, {"last_fence": lease.fence})
    claimed = lease_values(tx, lease, seconds, part)
    update_leased(tx, lease, claimed)
    return to_segment({**part, **claimed}), lease


def _list_segments(tx: Transaction, job_id: str) -> list[SegmentRecord]:
    return [to_segment(row) for row in tx.all(_SEGMENTS, job=job_id)]
