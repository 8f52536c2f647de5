"""What asyncio could get wrong by itself; the protocol is tested in test_client."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from syncline import AsyncClient, Client, errors
from syncline.types import JobEvent, JobState
from tests.sdk.fakes import REPORT, VIDEO, FakeOrchestrator, digest


def run(server: str, test: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with AsyncClient(server) as client:
            return await test(client)

    return asyncio.run(inside())


def test_has_the_methods_of_the_client() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in methods if name[0] != "_"}

    assert public(AsyncClient) == public(Client)


def test_upload_goes_on_where_it_broke_off(server: str, fake: FakeOrchestrator, video: Path) -> None:
    fake.fail("UploadAsset", errors.ServiceUnavailable("gone"), after=2)
    asset = run(server, lambda client: client.upload(video))
    assert fake.assets[asset.digest] == video.read_bytes()
    assert fake.received_bytes == video.stat().st_size
    run(server, lambda client: client.upload(video))
    assert fake.received_bytes == video.stat().st_size


def test_upload_raises_what_reading_raises(server: str, video: Path) -> None:
    def remove(done: int, total: int) -> None:
        video.unlink()

    with pytest.raises(FileNotFoundError):
        run(server, lambda client: client.upload(video, remove))


def test_run_does_it_all(server: str, video: Path, audio: Path, tmp_path: Path) -> None:
    events: list[JobEvent] = []

    async def test(client: AsyncClient) -> None:
        job = await client.run(video, audio, tmp_path / "out.mp4", events.append, crf=20)
        assert await client.report(job) == REPORT
        assert [listed.name async for listed in client.list()] == [job.name]
        assert (await client.inspect(video)).container == "mov,mp4"

    run(server, test)
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO
    assert events[-1].job.state is JobState.DONE


def test_streams_go_on_where_they_broke_off(server: str, fake: FakeOrchestrator, tmp_path: Path) -> None:
    async def test(client: AsyncClient) -> list[int]:
        job = await client.create_job("a" * 64, "b" * 64)
        fake.fail("WatchJob", errors.ServerDraining("restarting"), after=3)
        fake.fail("DownloadAsset", None, after=2)
        numbers = [event.number async for event in client.watch(job)]
        await client.download(job, tmp_path / "out.mp4")
        return numbers

    numbers = run(server, test)
    assert numbers == list(range(1, len(numbers) + 1))
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO
    assert [request.offset for request in fake.requests_of("DownloadAsset")] == [0, 2 * 64 * 1024]


def test_download_of_other_bytes_leaves_nothing(server: str, fake: FakeOrchestrator, tmp_path: Path) -> None:
    async def test(client: AsyncClient) -> None:
        job = await client.create_job("a" * 64, "b" * 64)
        fake.assets[digest(VIDEO)] = VIDEO[:-1] + b"?"
        await client.download(job, tmp_path / "out.mp4")

    with pytest.raises(errors.ChecksumMismatch):
        run(server, test)
    assert list(tmp_path.iterdir()) == []


def test_errors_are_ours(server: str, fake: FakeOrchestrator) -> None:
    with pytest.raises(errors.JobNotFound) as caught:
        run(server, lambda client: client.get("jobs/none"))
    assert caught.value.metadata == {"job": "jobs/none"}
    fake.job_error = errors.NoFace("no face")

    async def test(client: AsyncClient) -> None:
        await client.result(await client.create_job("a" * 64, "b" * 64))

    with pytest.raises(errors.NoFace):
        run(server, test)


def test_a_cancelled_task_cancels_its_job(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    fake.holding = True

    async def test(client: AsyncClient) -> None:
        watching = asyncio.Event()
        task = asyncio.create_task(client.run(video, audio, tmp_path / "out.mp4", lambda event: watching.set()))
        await watching.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.get("jobs/1")).state is JobState.CANCELLED

    run(server, test)
