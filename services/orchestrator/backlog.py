"""How much work waits for the restorers, in seconds of one of them: what they are scaled by."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.orchestrator.database import Database, Row
from services.orchestrator.records import JobState, SegmentState
from services.orchestrator.schema import job, segment

TARGET_SECONDS = 60.0  # of work that one restorer may have before it
_LATEST = 100  # segments that the cost of a frame is measured on
_SECONDS_PER_FRAME = 0.01  # until a segment was measured
_FRAMES_PER_JOB = 1500  # of a job that is not planned yet, until one was: a minute at 25 frames a second

_OPEN = sa.or_(job.c.state == JobState.QUEUED, job.c.state == JobState.RUNNING)
_OPEN_JOBS = sa.select(sa.func.count()).select_from(job).where(_OPEN)
_UNPLANNED_JOBS = _OPEN_JOBS.where(~sa.exists().where(segment.c.job == job.c.id))
_WAITING_FRAMES = (
    sa.select(sa.func.sum(segment.c.frame_count))
    .join(job, job.c.id == segment.c.job)
    .where(_OPEN, segment.c.state != SegmentState.DONE)
)
_PER_JOB = sa.select(sa.func.sum(segment.c.frame_count).label("frames")).group_by(segment.c.job).subquery()
_MEAN_FRAMES = sa.select(sa.func.avg(_PER_JOB.c.frames))
_MEASURED = (
    sa.select(segment.c.frame_count, segment.c.details)
    .join(job, job.c.id == segment.c.job)
    .where(segment.c.state == SegmentState.DONE)
    .order_by(job.c.number.desc(), segment.c.number.desc())
    .limit(_LATEST)
)
_HELD = {
    kind: sa.select(sa.func.count())
    .select_from(table)
    .where(table.c.lease_until > sa.bindparam("now", type_=sa.BigInteger))
    for kind, table in (("job", job), ("segment", segment))
}


@dataclass(frozen=True)
class Backlog:
    """`frames`: of all open jobs, not rendered yet; for jobs not planned yet, as many as jobs have on average.

    `seconds_per_frame`: measured, of one restorer.
    """

    jobs: int = 0
    frames: float = 0
    seconds_per_frame: float = _SECONDS_PER_FRAME

    @property
    def seconds(self) -> float:
        """Of one restorer's work."""
        return self.frames * self.seconds_per_frame


def wanted_replicas(backlog: Backlog, target: float, most: int, least: int = 0) -> int:
    """So many that none has more than `target` seconds of work before it; one at least while there is a job.

    As KEDA and the HorizontalPodAutoscaler compute it from what the scaler tells them.
    """
    wanted = math.ceil(backlog.seconds / target)
    return min(most, max(least, wanted, 1 if backlog.jobs else 0))


def read_backlog(database: Database) -> Backlog:
    """Blocks: call it in an executor."""
    with database.reading() as tx:
        jobs, unplanned = tx.value(_OPEN_JOBS), tx.value(_UNPLANNED_JOBS)
        frames = float(tx.value(_WAITING_FRAMES) or 0)
        mean = float(tx.value(_MEAN_FRAMES) or _FRAMES_PER_JOB)
        measured = tx.all(_MEASURED)
    return Backlog(jobs, frames + unplanned * mean, _cost_of_a_frame(measured))


def _cost_of_a_frame(measured: Iterable[Row]) -> float:
    frames, seconds = 0, 0.0
    for row in measured:
        spent = json.loads(row["details"] or "{}").get("seconds", {}).get("restore")
        if spent:
            frames, seconds = frames + row["frame_count"], seconds + spent
    return seconds / frames if frames else _SECONDS_PER_FRAME


def count_leases(database: Database) -> dict[str, int]:
    """How many jobs and segments a worker holds now."""
    with database.reading() as tx:
        return {kind: tx.value(query, now=tx.now) for kind, query in _HELD.items()}


class BacklogCollector(Collector):
    """The same figure for Prometheus, and so for a HorizontalPodAutoscaler without KEDA."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterable[GaugeMetricFamily]:
        backlog = read_backlog(self._database)
        yield GaugeMetricFamily("syncline_backlog_jobs", "Jobs that have not ended", value=backlog.jobs)
        yield GaugeMetricFamily("syncline_backlog_frames", "Frames that are not rendered yet", value=backlog.frames)
        work = "Seconds of one restorer's work that wait; divided by the restorers, each one's backlog"
        yield GaugeMetricFamily("syncline_backlog_seconds", work, value=backlog.seconds)
        leases = GaugeMetricFamily("syncline_leases", "Jobs and segments that workers hold", labels=["kind"])
        for kind, count in count_leases(self._database).items():
            leases.add_metric([kind], count)
        yield leases
