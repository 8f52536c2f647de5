"""What nobody asks for: jobs past their deadline end, old ones are forgotten, and files nobody refers to are named."""

import re
from collections.abc import Collection

import sqlalchemy as sa

from services.orchestrator.artifacts import Asset
from services.orchestrator.database import Database
from services.orchestrator.records import ErrorRecord, JobState
from services.orchestrator.schema import asset, job, segment
from services.orchestrator.transitions import end_job, find_job

_AT_ONCE = 100  # jobs in one transaction

_NOT_ENDED = (JobState.QUEUED, JobState.RUNNING)
_LATE = (
    sa.select(job.c.id)
    .where(
        sa.or_(*[job.c.state == state for state in _NOT_ENDED]),
        job.c.deadline < sa.bindparam("now", type_=sa.BigInteger),
    )
    .order_by(job.c.number)  # whoever else does this locks them in the same order
    .limit(_AT_ONCE)
)
_OLD = sa.select(job.c.id).where(job.c.end_time < sa.bindparam("before", type_=sa.BigInteger)).limit(_AT_ONCE)
_DELETE = sa.delete(job).where(job.c.id == sa.bindparam("of"), job.c.end_time.is_not(None))
_OF_JOBS = sa.select(job.c.video, job.c.audio, job.c.options, job.c.result, job.c.report)
_DIGEST = re.compile(r'"([0-9a-f]{64})"')  # as it stands in JSON
# What a job that is not done can be taken up from; the segments of one that is lie in its result.
_OF_SEGMENTS = (
    sa.select(segment.c.digest)
    .join(job, job.c.id == segment.c.job)
    .where(segment.c.digest.is_not(None), job.c.state != JobState.DONE)
)
_OF_UPLOADS = sa.select(asset.c.digest).where(asset.c.use_time >= sa.bindparam("since", type_=sa.BigInteger))
_FORGET_ASSET = sa.delete(asset).where(asset.c.digest == sa.bindparam("of"))
_SEEN = sa.update(asset).where(asset.c.digest == sa.bindparam("of")).values(use_time=sa.bindparam("now"))


class Upkeep:
    """Any number of orchestrators may call these at any time."""

    _database: Database

    def put_asset(self, stored: Asset, tenant: str = "") -> None:
        """Notes an upload; of one that is there already, that it is used."""
        with self._database.writing() as tx:
            values = {"digest": stored.digest, "size": stored.size, "tenant": tenant}
            new = tx.insert_new(asset, values | {"create_time": tx.now, "use_time": tx.now}, unless="digest")
            if new is None:
                tx.run(_SEEN, of=stored.digest, now=tx.now)

    def end_late_jobs(self) -> int:
        """FAILED: the jobs whose deadline has passed."""
        with self._database.writing() as tx:
            late = [row["id"] for row in tx.all(_LATE, now=tx.now)]
            for job_id in late:
                row = find_job(tx, job_id, lock=True)
                if row["state"] in _NOT_ENDED:
                    error = ErrorRecord("JOB_EXPIRED", "the job's deadline passed before it was done", {"job": job_id})
                    end_job(tx, row, JobState.FAILED, "Failed.", error)
            return len(late)

    def forget_old_jobs(self, seconds: float) -> int:
        """Deletes the jobs that ended longer ago."""
        forgotten = 0
        while True:
            with self._database.writing() as tx:
                old = [row["id"] for row in tx.all(_OLD, before=tx.after(-seconds))]
                for job_id in old:
                    tx.run(_DELETE, of=job_id)
            forgotten += len(old)
            if len(old) < _AT_ONCE:
                return forgotten

    def live_digests(self, seconds: float) -> set[str]:
        """Of the files that jobs refer to, and of the uploads used within so long."""
        with self._database.reading() as tx:
            live: set[str] = set()
            for row in tx.all(_OF_JOBS):
                live |= {row[name] for name in ("video", "audio", "result", "report") if row[name]}
                live.update(_DIGEST.findall(row["options"]))  # speakers' speeches, photos of faces
            live |= {row["digest"] for row in tx.all(_OF_SEGMENTS)}
            return live | {row["digest"] for row in tx.all(_OF_UPLOADS, since=tx.after(-seconds))}

    def forget_assets(self, digests: Collection[str]) -> None:
        """Their files are gone."""
        with self._database.writing() as tx:
            for digest in digests:
                tx.run(_FORGET_ASSET, of=digest)
