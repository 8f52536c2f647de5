"""The keeper: ends late jobs, forgets old ones, and removes the files that nobody needs any more."""

import asyncio

import structlog

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.store import JobStore
from services.runtime.streams import in_thread

_log = structlog.get_logger("keeper")
_LOOK_SECONDS = 2.0  # between looks for late jobs
_SWEEP_SECONDS = 600.0  # between sweeps of the files


class Keeper:
    """Runs until cancelled; any number of orchestrators may have one. `keep_seconds`: for which what ended is kept."""

    def __init__(self, store: JobStore, artifacts: ArtifactStore, keep_seconds: float) -> None:
        self._store = store
        self._artifacts = artifacts
        self._keep_seconds = keep_seconds

    async def run(self) -> None:
        swept = float("-inf")
        while True:
            try:
                await in_thread(self._store.end_late_jobs)
                now = asyncio.get_running_loop().time()
                if now - swept >= _SWEEP_SECONDS:
                    swept = now
                    await in_thread(self.sweep)
            except Exception as error:  # the database or disk is out of reach: the next look comes
                _log.warning("clean-up failed", error=str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    def sweep(self) -> None:
        jobs = self._store.forget_old_jobs(self._keep_seconds)
        removed = self._artifacts.sweep(lambda: self._store.live_digests(self._keep_seconds), self._keep_seconds)
        self._store.forget_assets(removed)
        if jobs or removed:
            _log.info("cleaned up", jobs=jobs, files=len(removed))
