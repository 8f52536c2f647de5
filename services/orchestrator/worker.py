"""The worker: claims jobs one after another and makes their videos."""

import asyncio
import contextlib
import os
import platform

import structlog

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.making import Beacon, JobRun, claim
from services.orchestrator.metrics import JOB_ATTEMPTS
from services.orchestrator.records import ErrorRecord, JobRecord, Lease
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.runtime.interceptors import as_failure
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from services.runtime.tracing import job_span

_log = structlog.get_logger("worker")
_IDLE_SECONDS = 0.25  # between looks for work
_BEAT_SECONDS = 0.5  # between heartbeats: how soon a cancel is noticed
_RETRY_SECONDS = 2.0  # before a failure that may pass is tried again


class Worker:
    """Runs until cancelled. Everything a job needs again after a crash lies in the store or is derived from it."""

    def __init__(self, store: JobStore, artifacts: ArtifactStore, stages: Stages, lease_seconds: float) -> None:
        self._store = store
        self._artifacts = artifacts
        self._stages = stages
        self._lease_seconds = lease_seconds
        self._owner = f"{platform.node()}-{os.getpid()}"

    async def run(self) -> None:
        while True:
            try:
                claimed = await claim(self._store, self._store.claim_job, self._owner, self._lease_seconds)
                if claimed is not None:
                    await self._work_on(*claimed)
                    continue
            except Exception as error:  # the store is out of reach: what was claimed comes back when its lease runs out
                _log.error("no work can be claimed or given back", error=str(error), exc_info=error)
                await asyncio.sleep(_RETRY_SECONDS)
            await asyncio.sleep(_IDLE_SECONDS)

    async def _work_on(self, job: JobRecord, lease: Lease) -> None:
        """Makes the job's video, or writes down why not. A job that is taken away is dropped within one batch."""
        _log.info("job begun", job=job.id)
        progress = Beacon()
        run = JobRun(self._store, self._artifacts, self._stages, self._owner, self._lease_seconds, job, lease, progress)
        making = asyncio.ensure_future(_make(run))
        beating = asyncio.ensure_future(self._keep_lease(lease, progress))
        try:
            await asyncio.wait({making, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done():
                _log.info("job taken away", job=job.id)
                JOB_ATTEMPTS.labels("taken_away", "").inc()
                return
            making.result()
            _log.info("job done", job=job.id)
            JOB_ATTEMPTS.labels("done", "").inc()
        except asyncio.CancelledError:  # the process is stopping: another worker goes on at once
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)  # gives its segment back, while the job is still ours
            with contextlib.suppress(Refusal):
                self._store.release(lease)
            raise
        except Exception as error:
            await self._give_up(job, lease, error)
        finally:
            for task in (making, beating):
                task.cancel()
            await asyncio.gather(making, beating, return_exceptions=True)

    async def _keep_lease(self, lease: Lease, progress: "Beacon") -> None:
        """Returns when the lease is lost: cancelled, or claimed by another."""
        while True:
            try:
                if not await in_thread(self._store.heartbeat, lease, self._lease_seconds, progress.value):
                    return
            except Exception as error:  # may pass; if it does not, the lease runs out and nothing more is published
                _log.warning("heartbeat failed", job=lease.job, error=str(error))
            await asyncio.sleep(_BEAT_SECONDS)

    async def _give_up(self, job: JobRecord, lease: Lease, error: Exception) -> None:
        failure = as_failure(error)
        _log.warning("job failed", job=job.id, reason=failure.reason(), error=failure.message, exc_info=error)
        JOB_ATTEMPTS.labels("retried" if failure.retryable else "failed", failure.reason()).inc()
        record = ErrorRecord(failure.reason(), failure.message, failure.metadata)
        with contextlib.suppress(Refusal):  # the lease is lost: the job is no longer ours to fail
            if failure.retryable:
                await in_thread(self._store.release, lease, record, _RETRY_SECONDS)
            else:
                await in_thread(self._store.fail_job, lease, record)


async def _make(run: JobRun) -> None:
    with job_span(run.job.id):
        await run.make()
