"""How much work waits for the restorers, in seconds of one of them: what they are scaled by."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.orchestrator.database import Database, now
from services.orchestrator.records import JobState, SegmentState
from services.orchestrator.schema import job, segment

TARGET_SECONDS = 60.0  # of work that one restorer may have before it
_LATEST = 100  # segments that the cost of a frame is measured on
_SECONDS_PER_FRAME = 0.01  # until a segment was measured
_FRAMES_PER_JOB = 1500  # of a job that is not planned yet, until one was: a minute at 25 frames a second
_OPEN = (JobState.QUEUED, JobState.RUNNING)


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
    waiting = sa.select(sa.func.coalesce(sa.func.sum(segment.c.frame_count), 0))
    waiting = waiting.join(job, job.c.id == segment.c.job)
    waiting = waiting.where(job.c.state.in_(_OPEN), segment.c.state != SegmentState.DONE)
    planned = sa.exists().where(segment.c.job == job.c.id)
    per_job = sa.select(sa.func.sum(segment.c.frame_count).label("frames")).group_by(segment.c.job).subquery()
    latest = sa.select(segment.c.frame_count, segment.c.details).join(job, job.c.id == segment.c.job)
    latest = latest.where(segment.c.state == SegmentState.DONE)
    latest = latest.order_by(job.c.number.desc(), segment.c.number.desc()).limit(_LATEST)
    count = sa.select(sa.func.count()).select_from(job).where(job.c.state.in_(_OPEN))
    with database.reading() as connection:
        jobs = connection.scalar(count) or 0
        unplanned = connection.scalar(count.where(~planned)) or 0
        frames = float(connection.scalar(waiting) or 0)
        mean = connection.scalar(sa.select(sa.func.avg(per_job.c.frames))) or _FRAMES_PER_JOB
        measured = connection.execute(latest).all()
    return Backlog(jobs, frames + unplanned * float(mean), _cost_of_a_frame(measured))


def _cost_of_a_frame(measured: Iterable[Sequence[Any]]) -> float:
    """`measured`: frames and details of segments."""
    frames, seconds = 0, 0.0
    for count, details in measured:
        spent = json.loads(details or "{}").get("seconds", {}).get("restore")
        if spent:
            frames, seconds = frames + count, seconds + spent
    return seconds / frames if frames else _SECONDS_PER_FRAME


def count_leases(database: Database) -> dict[str, int]:
    """How many jobs and segments a worker holds now."""
    with database.reading() as connection:
        return {kind: connection.scalar(_held(table)) or 0 for kind, table in (("job", job), ("segment", segment))}


def _held(table: sa.Table) -> sa.Select[int]:
    return sa.select(sa.func.count()).select_from(table).where(table.c.lease_until > now())


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
