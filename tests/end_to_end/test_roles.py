"""The orchestrator's two roles in processes of their own, sharing one store; and a worker killed in mid-job."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.orchestrator.store import JobStore
from syncline import Client
from syncline.local import LocalStack
from syncline.types import JobState, Phase
from tests.end_to_end.cluster import await_serving
from tests.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    with LocalStack(tmp_path / "data") as stack:
        yield stack


@pytest.fixture
def database(postgres: Postgres) -> str:
    return postgres.new_database()


def start_orchestrator(stack: LocalStack, data: Path, roles: str, database: str) -> tuple[subprocess.Popen[bytes], str]:
    """Another orchestrator on the stack's files and stages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        "ORCHESTRATOR_STORE": str(data),
        "ORCHESTRATOR_DATABASE": database,
        "ORCHESTRATOR_ROLES": roles,
        "ORCHESTRATOR_PORT": str(port),
        "ORCHESTRATOR_LEASE_SECONDS": "2",
        **{f"ORCHESTRATOR_{stage.upper()}": address for stage, address in stack.addresses.items()},
    }
    command = [sys.executable, "-m", "services.orchestrator"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ}, stderr=subprocess.DEVNULL)
    return process, f"127.0.0.1:{port}"


def test_a_killed_worker_costs_nothing_but_time(stack: LocalStack, media: Path, tmp_path: Path, database: str) -> None:
    processes = []
    try:
        api, address = start_orchestrator(stack, tmp_path / "data", "api", database)
        first, _ = start_orchestrator(stack, tmp_path / "data", "worker", database)
        processes += [api, first]
        await_serving(address, "the api")
        with Client(address) as client:
            video, audio = client.upload(media / "portrait.mp4"), client.upload(media / "long.wav")
            job = client.create_job(video, audio, sync_mode="bounce")
            for event in client.watch(job):
                if event.job.progress.phase is Phase.RENDER and event.job.progress.done_segments == 0:
                    first.kill()
                    first.wait()
                    second, _ = start_orchestrator(stack, tmp_path / "data", "worker", database)
                    processes.append(second)
                    break
            job = client.result(job)
            killed = client.download(job, tmp_path / "killed.mp4").read_bytes()
            again = client.result(client.create_job(video, audio, sync_mode="bounce"))
            assert client.download(again, tmp_path / "undisturbed.mp4").read_bytes() == killed
        scratch = tmp_path / "data" / "scratch"
        assert len(list(scratch.iterdir())) <= 1  # what the killed worker had open; swept at a later start
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_second_orchestrator_on_one_sqlite_file_does_not_start(stack: LocalStack, tmp_path: Path) -> None:
    second, _ = start_orchestrator(stack, tmp_path / "data", "api,worker", "")
    assert second.wait(60) == 1
    with Client(stack.server) as client:
        assert list(client.list()) == []


def test_an_api_without_workers_queues(stack: LocalStack, media: Path, tmp_path: Path, database: str) -> None:
    api, address = start_orchestrator(stack, tmp_path / "data", "api", database)
    try:
        await_serving(address, "the api")
        with Client(address) as client:
            job = client.create_job(client.upload(media / "portrait.png"), client.upload(media / "speech.wav"))
            time.sleep(1)
            assert client.get(job).state is JobState.QUEUED
            client.cancel(job)
            assert client.get(job).state is JobState.CANCELLED
    finally:
        api.kill()
        api.wait()
    store = JobStore(database)
    assert store.claim_job("test", 1) is None
    store.close()


def test_a_stopped_worker_gives_its_job_back_at_once(
    stack: LocalStack, media: Path, tmp_path: Path, database: str
) -> None:
    api, address = start_orchestrator(stack, tmp_path / "data", "api", database)
    first, _ = start_orchestrator(stack, tmp_path / "data", "worker", database)
    try:
        await_serving(address, "the api")
        with Client(address) as client:
            video, audio = client.upload(media / "portrait.mp4"), client.upload(media / "long.wav")
            job = client.create_job(video, audio, sync_mode="bounce")
            for event in client.watch(job):
                if event.job.progress.phase is Phase.RENDER:
                    first.terminate()
                    break
            assert first.wait(60) == 0
            assert client.get(job).state is JobState.QUEUED
        store = JobStore(database)
        claimed = store.claim_job("test", 5)
        assert claimed is not None
        assert store.claim_segment(claimed[0].id, "test", 5) is not None  # nobody holds it any more
        store.close()
    finally:
        for process in (api, first):
            process.kill()
            process.wait()
