"""Whether a job is taken in, when its turn comes, and what it would cost."""

import sqlalchemy as sa

from services.orchestrator.database import Database, Transaction
from services.orchestrator.records import Cost, JobState, Limits, NewJob
from services.orchestrator.schema import asset, job
from services.runtime.refusal import Refusal

_DAY = 24 * 3600 * 1000  # milliseconds

_WAITING = sa.select(sa.func.count()).where(sa.or_(job.c.state == JobState.QUEUED, job.c.state == JobState.RUNNING))
_WAITING_OF_TENANT = _WAITING.where(job.c.tenant == sa.bindparam("tenant"))
_MADE_BY_TENANT = sa.select(sa.func.sum(job.c.duration)).where(
    job.c.tenant == sa.bindparam("tenant"), job.c.create_time > sa.bindparam("since")
)
_KEPT_BYTES = sa.select(sa.func.sum(asset.c.size)).where(asset.c.tenant == sa.bindparam("tenant"))
# Start-time fair queueing (Goyal, Vin, Cheng 1996), a job being the unit of service: a tenant's next job has the turn
# after its last one's, but none earlier than the turn that is being served.
_IN_LANE = job.c.lane == sa.bindparam("lane")
_TURN = sa.select(
    sa.select(sa.func.max(job.c.turn))
    .where(job.c.tenant == sa.bindparam("tenant"), _IN_LANE)
    .scalar_subquery()
    .label("own"),
    sa.func.coalesce(
        sa.select(sa.func.min(job.c.turn)).where(job.c.state == JobState.QUEUED, _IN_LANE).scalar_subquery(),
        sa.select(sa.func.max(job.c.turn)).where(_IN_LANE).scalar_subquery(),
        0,
    ).label("served"),
)
_COSTS = (
    sa.select(job.c.work, (job.c.end_time - job.c.start_time).label("time"), job.c.result_size)
    .where(job.c.state == JobState.DONE, job.c.work > 0)
    .order_by(job.c.number.desc())
    .limit(50)
)
_AHEAD = _WAITING.where(
    sa.or_(
        job.c.lane < sa.bindparam("lane"),
        sa.and_(job.c.lane == sa.bindparam("lane"), job.c.turn <= sa.bindparam("turn")),
    )
)


class Admission:
    _database: Database
    _limits: Limits

    def check_room(self, tenant: str, size: int) -> None:
        """Raises Refusal QUOTA_EXCEEDED when an upload of so many bytes is more than the tenant may keep."""
        most = self._limits.tenant_bytes
        if most:
            with self._database.reading() as tx:
                kept = int(tx.value(_KEPT_BYTES, tenant=tenant) or 0)
            if kept + size > most:
                raise _over_quota(tenant, "bytes kept", kept, most)

    def latest_costs(self) -> list[Cost]:
        """Of the latest jobs that are done, at most 50."""
        with self._database.reading() as tx:
            return [Cost(row["work"], row["time"] / 1000, row["result_size"]) for row in tx.all(_COSTS)]

    def count_ahead(self, new: NewJob) -> int:
        """The jobs that wait or run and would be served before it."""
        with self._database.reading() as tx:
            turn = find_turn(tx, new.tenant, -new.priority)
            return int(tx.value(_AHEAD, lane=-new.priority, turn=turn))


def admit(tx: Transaction, limits: Limits, tenant: str, jobs: int) -> None:
    """Raises Refusal QUEUE_FULL, QUOTA_EXCEEDED unless the tenant may queue so many more jobs."""
    if limits.jobs and tx.value(_WAITING) + jobs > limits.jobs:
        message = f"the queue holds {limits.jobs} jobs and is full: try again when some have ended"
        raise Refusal("QUEUE_FULL", message, limit=limits.jobs)
    if limits.tenant_jobs:
        waiting = tx.value(_WAITING_OF_TENANT, tenant=tenant)
        if waiting + jobs > limits.tenant_jobs:
            raise _over_quota(tenant, "jobs that have not ended", waiting, limits.tenant_jobs)
    if limits.tenant_minutes:
        made = int(tx.value(_MADE_BY_TENANT, tenant=tenant, since=tx.now - _DAY) or 0) / 60000
        if made >= limits.tenant_minutes:
            raise _over_quota(tenant, "minutes of video within 24 hours", round(made, 1), limits.tenant_minutes)


def find_turn(tx: Transaction, tenant: str, lane: int) -> int:
    """Of the tenant's next job."""
    row = tx.first(_TURN, tenant=tenant, lane=lane)
    assert row is not None
    return int(row["served"] if row["own"] is None else max(row["served"], row["own"] + 1))


def _over_quota(tenant: str, what: str, used: float, limit: float) -> Refusal:
    message = f"tenant {tenant!r} has {used:g} of {limit:g} {what}: try again when there are fewer"
    return Refusal("QUOTA_EXCEEDED", message, tenant=tenant, used=used, limit=limit)
