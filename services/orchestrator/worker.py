"""The worker: claims jobs one after another and makes their videos; with none to claim, helps with others' segments."""

import asyncio
import contextlib
import gc
import os
import platform
import time
import uuid
from collections.abc import Coroutine
from fractions import Fraction
from typing import Any

import structlog

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.attempt import JobRun
from services.orchestrator.delivering import Deliveries
from services.orchestrator.leases import claim, give_back, record_error, while_held
from services.orchestrator.metrics import ATTEMPTS
from services.orchestrator.pacing import Pace
from services.orchestrator.progress import Beacon
from services.orchestrator.records import JobRecord, Lease
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from services.runtime.tracing import job_span
from syncline.errors import CATALOGUE

_log = structlog.get_logger("worker")
_IDLE_SECONDS = 0.25  # between looks for work
_RETRY_SECONDS = 2.0  # between looks while the database is out of reach
_UNFIT_SECONDS = 60.0  # without helping, once a job was planned by engines other than those we reach


class Worker:
    """Runs until cancelled. Everything a job needs again after a crash lies in the store or is derived from it."""

    def __init__(
        self,
        store: JobStore,
        artifacts: ArtifactStore,
        stages: Stages,
        deliveries: Deliveries,
        lease_seconds: float,
        segment_seconds: float,
        turn_seconds: float,
        pace: float,
    ) -> None:
        """`pace`: share of its speed at which a job goes on beside lighter ones."""
        self._store = store
        self._artifacts = artifacts
        self._stages = stages
        self._deliveries = deliveries
        self._lease_seconds = lease_seconds
        self._segment_seconds = Fraction(segment_seconds)
        self._turn_seconds = turn_seconds
        self._pace = pace
        self._owner = f"{platform.node()[:64]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._no_help_before = 0.0

    async def run(self) -> None:
        idle = False
        while True:
            try:
                if await self._lead() or await self._help():
                    idle = False
                    continue
            except Exception as error:  # the store is out of reach: what was claimed comes back when its lease runs out
                _log.error("no work can be claimed or given back", error=str(error), exc_info=error)
                await asyncio.sleep(_RETRY_SECONDS)
            if not idle:
                gc.collect()  # an error and the frames that it passed refer to each other, and these to open files
                idle = True
            await asyncio.sleep(_IDLE_SECONDS)

    async def _lead(self) -> bool:
        """Makes a job's video, or writes down why not. A job that is taken away is dropped within one batch."""
        claimed = await claim(self._store, self._store.claim_job, self._owner, self._lease_seconds)
        if claimed is None:
            return False
        await self._make(*claimed)
        return True

    async def _make(self, job: JobRecord, lease: Lease) -> None:
        progress = Beacon()
        pace = self._pace_of(job, progress)
        run = self._open(job, lease, progress, pace)
        making = while_held(self._store, lease, self._lease_seconds, run.make(), lambda: progress.value)
        await self._work(job, lease, making, pace)

    async def _help(self) -> bool:
        """Renders segments of a job that another worker leads, until there is a job to claim as urgent as that."""
        if time.monotonic() < self._no_help_before:
            return False
        terms = (self._owner, self._lease_seconds)
        claimed = await claim(self._store, self._store.claim_help, *terms, self._pace < 1)
        if claimed is None:
            return False
        job, segment, lease = claimed
        progress = Beacon()
        pace = self._pace_of(job, progress)
        help_on = self._open(job, lease, progress, pace).help(segment)
        helping = asyncio.ensure_future(self._work(job, lease, help_on, pace))
        own = None
        try:
            while own is None and not (await asyncio.wait({helping}, timeout=_IDLE_SECONDS))[0]:
                with contextlib.suppress(Refusal):  # the store is out of reach: what is being done goes on
                    own = await claim(self._store, self._store.claim_waiting_job, *terms, job.priority)
        finally:
            helping.cancel()  # what it has begun it gives back
            await asyncio.gather(helping, return_exceptions=True)
        if own is not None:
            await self._make(*own)
        return True

    def _pace_of(self, job: JobRecord, progress: Beacon) -> Pace:
        return Pace(self._pace, lambda: self._store.has_lighter(job.id, progress.work))

    def _open(self, job: JobRecord, lease: Lease, progress: Beacon, pace: Pace) -> JobRun:
        terms = (self._owner, self._lease_seconds, self._segment_seconds, self._turn_seconds)
        stages = self._stages.at_pace(pace)
        return JobRun(self._store, self._artifacts, stages, self._deliveries, *terms, job, lease, progress)

    async def _work(self, job: JobRecord, lease: Lease, work: Coroutine[Any, Any, None], pace: Pace) -> None:
        _log.info("begun", job=lease.job, segment=lease.segment)
        try:
            with job_span(job.id, job.trace):
                async with pace.kept():
                    await work
            _log.info("done", job=lease.job, segment=lease.segment)
            ATTEMPTS.labels("done", "").inc()
        except asyncio.CancelledError:  # the process is stopping: another worker goes on at once
            give_back(self._store, lease)
            raise
        except Exception as error:
            await self._give_up(lease, error)

    async def _give_up(self, lease: Lease, error: Exception) -> None:
        record = record_error(error)
        if record.reason == "LEASE_LOST":
            _log.info("taken away", job=lease.job, segment=lease.segment)
            ATTEMPTS.labels("taken_away", "").inc()
            return
        about = {"job": lease.job, "segment": lease.segment, "reason": record.reason, "error": record.message}
        _log.warning("failed", **about, exc_info=error)
        ATTEMPTS.labels("retried" if CATALOGUE[record.reason].retryable else "failed", record.reason).inc()
        with contextlib.suppress(Refusal):  # the lease is lost: the job is no longer ours to fail
            if record.reason == "PLAN_DIFFERS":
                self._no_help_before = time.monotonic() + _UNFIT_SECONDS
                await in_thread(self._store.release, lease)
            else:
                await in_thread(self._store.release, lease, record)
