"""A heavy job beside lighter ones rests between its batches; one that helps leaves off for a job that waits."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.orchestrator import pacing, worker
from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.delivering import Deliveries
from services.orchestrator.pacing import Pace, Stride
from services.orchestrator.progress import Beacon
from services.orchestrator.records import JobProgress, JobState, Lease, NewJob, Phase, SegmentRecord, SegmentState
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan
from services.orchestrator.worker import Worker
from services.runtime.config import ConfigError
from services.runtime.refusal import Refusal
from tests.stages import run

BATCH_SECONDS = 0.004
MADE = Asset("c" * 64, 1)


def work(pace: Pace, stride: Stride, batches: int) -> float:
    """Seconds that so many batches took."""

    async def call() -> float:
        begun = time.monotonic()
        for _ in range(batches):
            await stride.rest()
            await asyncio.to_thread(time.sleep, BATCH_SECONDS)
        return time.monotonic() - begun

    return run(call())


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the work rested, each time."""
    seen: list[float] = []
    to_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        seen.append(seconds)
        await to_sleep(seconds)

    monkeypatch.setattr(pacing.asyncio, "sleep", sleep)
    return seen


def test_a_job_alone_never_rests(rests: list[float]) -> None:
    pace = Pace(0.25, lambda: False)
    work(pace, Stride(pace), 40)
    assert rests == []


def test_beside_lighter_jobs_it_goes_on_at_its_share(rests: list[float]) -> None:
    pace = Pace(0.25, lambda: True)
    stride = Stride(pace)
    work(pace, stride, 20)
    pace.slowed = True
    assert work(pace, stride, 10) >= 9 * BATCH_SECONDS / 0.25
    assert len(rests) == 10
    pace.slowed = False
    work(pace, stride, 3)
    assert len(rests) == 10


def test_what_is_slowed_from_the_start_learns_its_speed_first_and_never_stops(rests: list[float]) -> None:
    pace = Pace(0.25, lambda: True)
    pace.slowed = True
    work(pace, Stride(pace), 40)
    assert 20 <= len(rests) < 40
    assert max(rests) <= 2.0


def test_lighter_jobs_are_looked_for_and_a_store_out_of_reach_slows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_LOOK_SECONDS", 0.01)
    answers, before = [True, None, False], []  # None: out of reach

    def look() -> bool:
        before.append(pace.slowed)
        answer = answers.pop(0) if answers else True
        if answer is None:
            raise Refusal("SERVICE_UNAVAILABLE", "gone")
        return answer

    async def call() -> None:
        async with asyncio.timeout(20), pace.kept():
            while len(before) < 4:
                await asyncio.sleep(0.01)

    pace = Pace(0.25, look)
    run(call())
    assert before[:4] == [False, True, False, False]


def test_work_left_counts_the_source_until_it_is_rendered() -> None:
    beacon = Beacon()
    assert beacon.work == 0
    beacon.pixels = 2_000_000
    beacon.enter(Phase.ANALYSE, 300)
    beacon.advance(299)
    assert beacon.work == 600_000
    beacon.enter(Phase.RENDER, 100)
    beacon.advance(60)
    assert beacon.work == 80_000
    assert beacon.value == JobProgress(Phase.RENDER, 60, 100)


@dataclass(frozen=True)
class Attempt:
    """Stands in for JobRun: leads a job to its end at once, helps without end."""

    store: JobStore
    artifacts: object
    stages: object
    deliveries: object
    owner: str
    lease_seconds: float
    segment_seconds: object
    turn_seconds: float
    job: object
    lease: Lease
    progress: object

    async def make(self) -> None:
        self.store.finish_job(self.lease, MADE, MADE)

    async def help(self, segment: SegmentRecord) -> None:
        await asyncio.sleep(60)


def test_a_helper_gives_its_segment_back_for_a_job_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "JobRun", Attempt)
    store, artifacts = JobStore(f"sqlite:///{tmp_path}/jobs.db"), ArtifactStore(tmp_path)
    long = store.create_job(NewJob("a" * 64, "b" * 64, {})).id
    _, lease = store.claim_job("leader", 60) or pytest.fail("no job")
    store.plan_segments(lease, "plan", [SegmentSpan(0, 0, 100)], 4.0, 8_000_000)

    async def until(ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not ready():
                await asyncio.sleep(0.02)

    async def call() -> None:
        stages = Stages("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1")
        helper = Worker(store, artifacts, stages, Deliveries(), 30.0, 4.0, 10.0, 0.25)
        working = asyncio.ensure_future(helper.run())
        await until(lambda: store.list_segments(long)[0].state is SegmentState.RUNNING)
        less = store.create_job(NewJob("a" * 64, "b" * 64, {}, priority=-1)).id
        short = store.create_job(NewJob("a" * 64, "b" * 64, {})).id
        await until(lambda: store.get_job(short).state is JobState.DONE)
        assert store.get_job(long).state is JobState.RUNNING
        await until(lambda: store.get_job(less).state is JobState.DONE)  # once it has no segment to leave
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await stages.close()

    run(call())
    assert store.claim_segment(long, "leader", 60) is not None
    store.close()


def test_a_pace_that_would_stop_a_job_is_refused(tmp_path: Path) -> None:
    for pace in (0.0, 1.5):
        with pytest.raises(ConfigError, match="ORCHESTRATOR_PACE"):
            OrchestratorConfig(store=tmp_path, pace=pace)
