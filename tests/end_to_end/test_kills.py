"""Whatever is killed, stopped or taken away in mid-job: the job ends with the same bytes, nothing is done twice.

A few faults run with every test-suite; `make chaos` runs every fault on every service.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.keeper import Keeper
from services.orchestrator.store import JobStore
from syncline import Client
from syncline.types import Asset, Job, JobState, Phase
from tests.end_to_end.cluster import LEASE_SECONDS, Cluster
from tests.postgres import HOW, Postgres, find_programs, list_children, running

DISK_BYTES = 256 << 20
UPLOAD_BYTES = 32 << 20
FAULTS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)
SERVICES = ("decoder", "detector", "lipsync", "restorer", "worker1", "api")
OFTEN = {("worker1", signal.SIGKILL), ("worker1", signal.SIGSTOP), ("lipsync", signal.SIGKILL), ("api", signal.SIGTERM)}


@dataclass
class Stage:
    """A cluster, its files uploaded, and what an undisturbed job makes of them."""

    cluster: Cluster
    postgres: Postgres
    database: str
    client: Client
    video: Asset
    audio: Asset
    disk: bool  # the cluster's files have one of their own, which can be filled
    digest: str = ""

    def create(self) -> Job:
        """A job that begins from nothing but its two files."""
        shutil.rmtree(self.cluster.data / "artifacts")
        (self.cluster.data / "artifacts").mkdir()
        return self.client.create_job(self.video, self.audio, sync_mode="bounce", preset="ultrafast")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own for the folder, kept in memory; False where this user may mount none."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "syncline-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def stage(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if find_programs() is None:
        pytest.skip(HOW)
    with running() as postgres:  # of its own: it is struck as well
        database = postgres.new_database()
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), database)
        with small_disk(cluster.data) as disk, cluster, Client(cluster.server) as client:
            video, audio = client.upload(media / "portrait.mp4"), client.upload(media / "long.wav")
            stage = Stage(cluster, postgres, database, client, video, audio, disk)
            cluster.processes["worker2"].send_signal(signal.SIGSTOP)  # one worker by itself
            done = client.result(stage.create())
            cluster.processes["worker2"].send_signal(signal.SIGCONT)
            assert done.progress is not None
            assert done.progress.total_segments >= 18
            assert done.result is not None
            stage.digest = done.result.digest
            yield stage


def disturb(stage: Stage, strike: Callable[[], None]) -> Job:
    """The job after a strike at some moment of its work."""
    job = stage.create()
    at = random.Random().choice([(Phase.ANALYSE, 0), (Phase.RENDER, 1), (Phase.RENDER, 5), (Phase.RENDER, 12)])
    for event in stage.client.watch(job):
        progress = event.job.progress
        if progress and (progress.phase, progress.done_segments) >= at and event.job.state is JobState.RUNNING:
            break
    striking = threading.Thread(target=strike)
    striking.start()
    try:
        return stage.client.result(job)
    finally:
        striking.join()


def check(stage: Stage, job: Job) -> None:
    """The same bytes; each segment published once; nothing that was finished done again; nothing left behind."""
    assert job.result is not None
    assert job.result.digest == stage.digest
    with psycopg.connect(stage.database.replace("+psycopg", "")) as connection:
        attempts = connection.execute(
            "SELECT segment, outcome FROM attempt WHERE job = %s AND segment IS NOT NULL ORDER BY fence",
            [job.name.removeprefix("jobs/")],
        ).fetchall()
    finished: set[int] = set()
    for segment, outcome in attempts:
        assert segment not in finished, f"segment {segment} was done and claimed again"
        if outcome == "DONE":
            finished.add(segment)
    assert len(finished) == job.progress.total_segments if job.progress else False
    assert settled(lambda: ring_files(stage.cluster)) == []
    assert settled(lambda: held_files(stage.cluster)) == []
    assert [child for process in stage.cluster.processes.values() for child in list_children(process.pid)] == []
    assert {name for name, process in stage.cluster.processes.items() if process.poll() is not None} == set()


def settled(look: Callable[[], list[str]]) -> list[str]:
    """What is still there a moment later."""
    for _ in range(30):
        if not (left := look()):
            break
        time.sleep(0.1)
    return left


def ring_files(cluster: Cluster) -> list[str]:
    """Shared memory that has a name."""
    pids = {str(process.pid) for process in cluster.processes.values()}
    return [path.name for path in Path("/dev/shm").glob("syncline-*") if path.name.split("-")[1] in pids]


def held_files(cluster: Cluster) -> list[str]:
    """Shared memory and files of the store that a service holds open.

    Not the two rings of each worker's stream to the restorer, which is kept open from job to job.
    """
    left = []
    lasting = f"/dev/shm/syncline-{cluster.processes['restorer'].pid}-"
    rings: dict[str, set[str]] = {}
    for name, process in cluster.processes.items():
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                target = str(descriptor.readlink())
                if target.startswith(lasting):
                    rings.setdefault(name, set()).add(target)
                elif target.startswith(("/dev/shm/", str(cluster.data))):
                    left.append(f"{name}: {target}")
    held_by_workers = [rings.pop(name, set()) for name in ("worker1", "worker2")]
    assert all(len(held) <= 2 for held in held_by_workers), held_by_workers
    unheld = rings.pop("restorer", set()) - set().union(*held_by_workers)
    return [*left, *unheld, *rings]


@pytest.mark.parametrize("how", FAULTS, ids=lambda how: how.name)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_struck_in_mid_job(
    request: pytest.FixtureRequest, stage: Stage, service: str, how: signal.Signals
) -> None:
    if (service, how) not in OFTEN and not request.config.getoption("chaos"):
        pytest.skip("make chaos runs this one")
    check(stage, disturb(stage, lambda: stage.cluster.strike(service, how)))


@pytest.mark.parametrize("how", FAULTS, ids=lambda how: how.name)
def test_the_api_struck_in_mid_upload(
    request: pytest.FixtureRequest, stage: Stage, tmp_path: Path, how: signal.Signals
) -> None:
    if not request.config.getoption("chaos"):
        pytest.skip("make chaos runs this one")
    path, told, striking = tmp_path / "film", [], threading.Thread(target=stage.cluster.strike, args=["api", how])
    path.write_bytes(os.urandom(UPLOAD_BYTES))

    def strike(done: int, _total: int) -> None:
        told.append(done)
        if done >= UPLOAD_BYTES // 2 and striking.ident is None:
            striking.start()

    stored = stage.client.upload(path, strike)
    striking.join()
    assert stored.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told[-1] == UPLOAD_BYTES
    assert not any(later == 0 for later in told[1:]), "it began anew"
    assert list((stage.cluster.data / "uploads").iterdir()) == []
    assert ArtifactStore(stage.cluster.data).path_of(stored.digest).read_bytes() == path.read_bytes()


def test_the_database_restarted_in_mid_job(stage: Stage) -> None:
    def restart() -> None:
        stage.postgres.stop()
        time.sleep(2)
        stage.postgres.start()

    check(stage, disturb(stage, restart))


def test_the_database_out_of_reach_past_the_leases(request: pytest.FixtureRequest, stage: Stage) -> None:
    if not request.config.getoption("chaos"):
        pytest.skip("make chaos runs this one")
    check(stage, disturb(stage, lambda: stage.postgres.pause(LEASE_SECONDS + 2)))


def test_a_full_disk(request: pytest.FixtureRequest, stage: Stage) -> None:
    if not request.config.getoption("chaos"):
        pytest.skip("make chaos runs this one")
    if not stage.disk:
        pytest.skip("only root may mount the small disk that this test fills")
    ballast = stage.cluster.data / "ballast"

    def fill() -> None:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:  # the system keeps nothing back on such a disk
                file.write(bytes(1 << 16))
        time.sleep(2)
        ballast.unlink()

    job = disturb(stage, fill)
    check(stage, job)
    assert any("disk is full" in event.message for event in stage.client.watch(job))


def test_the_files_out_of_reach_for_a_while(stage: Stage) -> None:
    scratch = stage.cluster.data / "scratch"

    def hide() -> None:
        scratch.rename(scratch.with_name("hidden"))
        time.sleep(1.5)
        scratch.with_name("hidden").rename(scratch)

    check(stage, disturb(stage, hide))


def test_two_holders_of_one_lease(stage: Stage) -> None:
    """A worker that sleeps past its lease finds its segments done by another, and publishes nothing."""

    def strike() -> None:
        stage.cluster.strike("worker1", signal.SIGSTOP)
        stage.cluster.strike("worker2", signal.SIGSTOP)

    job = disturb(stage, strike)
    check(stage, job)


def test_nothing_is_left_once_the_jobs_are_forgotten(stage: Stage) -> None:
    store, artifacts = JobStore(stage.database), ArtifactStore(stage.cluster.data)
    then = time.time() - 1e6
    for path in stage.cluster.data.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
    Keeper(store, artifacts, keep_seconds=-1).sweep()
    left = [path for path in stage.cluster.data.rglob("*") if path.is_file() and "logs" not in path.parts]
    store.close()
    assert left == []
