import hashlib
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import pytest

from syncline import Client, errors
from syncline.types import Asset, Face, FaceBox, Job, JobEvent, JobState, NewJob, Person, Phase, Speaker, SyncMode
from syncline.v1 import orchestrator_pb2 as pb
from tests.sdk.fakes import REPORT, VIDEO, FakeOrchestrator, digest, serving


def test_upload_sends_the_file_under_its_digest(client: Client, fake: FakeOrchestrator, video: Path) -> None:
    asset = client.upload(video)
    assert asset.digest == hashlib.sha256(video.read_bytes()).hexdigest()
    assert asset.size_bytes == video.stat().st_size
    assert fake.assets[asset.digest] == video.read_bytes()


def test_upload_of_what_is_there_sends_no_bytes(client: Client, fake: FakeOrchestrator, video: Path) -> None:
    client.upload(video)
    sent = fake.received_bytes
    assert client.upload(video).size_bytes == sent
    assert fake.received_bytes == sent


def test_upload_goes_on_where_it_broke_off(client: Client, fake: FakeOrchestrator, video: Path) -> None:
    fake.fail("UploadAsset", errors.ServiceUnavailable("gone"), after=2)
    progress: list[tuple[int, int]] = []
    client.upload(video, lambda done, total: progress.append((done, total)))
    size = video.stat().st_size
    assert fake.received_bytes == size  # nothing twice
    assert len(fake.requests_of("UploadAsset")) == 2
    assert progress[-1] == (size, size)


def test_upload_that_gets_further_each_time_is_not_given_up(
    client: Client, fake: FakeOrchestrator, tmp_path: Path
) -> None:
    long = tmp_path / "long.mp4"
    long.write_bytes(bytes(14 * 1024 * 1024))
    fake.fail("UploadAsset", errors.ServiceUnavailable("gone"), after=1, times=12)
    assert client.upload(long).size_bytes == long.stat().st_size
    assert fake.received_bytes == long.stat().st_size


def test_upload_that_gets_nowhere_is_given_up(client: Client, fake: FakeOrchestrator, video: Path) -> None:
    fake.fail("UploadAsset", errors.DiskFull("no room"), times=99)
    with pytest.raises(errors.DiskFull, match="no room"):
        client.upload(video)
    assert len(fake.requests_of("UploadAsset")) == 10


def test_upload_of_an_empty_file(client: Client, fake: FakeOrchestrator, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert client.upload(empty).size_bytes == 0
    assert fake.assets[digest(b"")] == b""


def test_upload_says_when_the_file_is_missing(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.upload(tmp_path / "nothing.mp4")


def test_upload_fails_once_when_the_file_changes_underway(client: Client, fake: FakeOrchestrator, video: Path) -> None:
    def change(done: int, total: int) -> None:
        if done == 0:
            video.write_bytes(b"other")

    with pytest.raises(errors.ChecksumMismatch, match="changed while it was sent"):
        client.upload(video, change)
    assert len(fake.requests_of("UploadAsset")) == 1


def test_upload_raises_what_the_callback_raises(client: Client, video: Path) -> None:
    def refuse(done: int, total: int) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        client.upload(video, refuse)


def test_create_job_carries_options_and_ids(client: Client, fake: FakeOrchestrator) -> None:
    job = client.create_job("a" * 64, "b" * 64, sync_mode="bounce", crf=20, preset="slow", restorer_strength=0.5)
    assert job.options.sync_mode is SyncMode.BOUNCE
    assert (job.options.crf, job.options.preset, job.options.restorer_strength) == (20, "slow", 0.5)
    (request,) = fake.requests_of("CreateJob")
    assert UUID(request.request_id).version == 4
    assert UUID(fake.metadata[-1]["syncline-request-id"])


def test_options_left_out_are_none_and_zero_is_not_left_out(client: Client, fake: FakeOrchestrator) -> None:
    options = client.create_job("a" * 64, "b" * 64, smoothing=0, padding=1.5).options
    assert (options.smoothing, options.padding, options.crf, options.mouth_intensity) == (0, 1.5, None, None)


def test_create_job_leaves_defaults_to_the_server(client: Client, fake: FakeOrchestrator) -> None:
    job = client.create_job("a" * 64, "b" * 64, crf=None)
    assert not fake.requests_of("CreateJob")[0].job.options.HasField("crf")
    assert job.options.sync_mode is None


def test_crf_zero_is_not_the_default(client: Client, fake: FakeOrchestrator) -> None:
    assert client.create_job("a" * 64, "b" * 64, crf=0).options.crf == 0


def test_create_job_whose_answer_is_lost_makes_one_job(client: Client, fake: FakeOrchestrator) -> None:
    fake.fail("CreateJob", errors.ServiceUnavailable("gone"), after=1)
    client.create_job("a" * 64, "b" * 64)
    assert len(fake.requests_of("CreateJob")) == 2
    assert len(fake.jobs) == 1


def test_reused_request_id_is_refused(client: Client) -> None:
    client.create_job("a" * 64, "b" * 64, request_id="one")
    with pytest.raises(errors.RequestReused):
        client.create_job("c" * 64, "b" * 64, request_id="one")


@pytest.mark.parametrize("options", [{"sync_mode": "stretch"}, {"crf": -1}, {"crf": "x"}, {"speed": 2}])
def test_options_without_a_place_on_the_wire_are_invalid(client: Client, options: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidOption, match=next(iter(options))):
        client.create_job("a" * 64, "b" * 64, **options)  # type: ignore[arg-type]


def test_errors_keep_class_message_and_metadata(client: Client) -> None:
    with pytest.raises(errors.InvalidOption, match="0 to 51") as caught:
        client.create_job("a" * 64, "b" * 64, crf=99)
    assert caught.value.metadata == {"option": "crf"}
    with pytest.raises(errors.JobNotFound):
        client.get("jobs/none")


def test_unreachable_server_is_unavailable() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(errors.ServiceUnavailable):
        client.get("jobs/1")


def test_watch_brings_every_event_in_order(client: Client) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    events = list(client.watch(job))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [event.job.progress.phase for event in events[1:-1:3] if event.job.progress] == list(Phase)[:5]
    assert events[0].job.state is JobState.QUEUED
    assert events[-1].job.state is JobState.DONE


def test_watch_goes_on_after_the_last_event_seen(client: Client, fake: FakeOrchestrator) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    fake.fail("WatchJob", errors.ServerDraining("restarting"), after=3)
    fake.fail("WatchJob", errors.ServerDraining("restarting"), after=0, times=8)
    fake.fail("WatchJob", errors.ServerDraining("restarting"), after=1)
    numbers = [event.number for event in client.watch(job)]
    assert numbers == list(range(1, len(fake.events[job.name]) + 1))
    assert [request.after_event for request in fake.requests_of("WatchJob")] == [0, *[3] * 9, 4]


def test_watch_survives_a_restart_of_the_server(fake: FakeOrchestrator) -> None:
    fake.holding = True
    with serving(fake) as address, Client(address) as client:
        job = client.create_job("a" * 64, "b" * 64)
        events = client.watch(job)
        assert next(events).number == 1
        events.close()  # type: ignore[attr-defined]
    with serving(fake, address) as again, Client(again) as client:
        client.cancel(job)
        assert [event.number for event in client.watch(job, after_event=1)][-1] == len(fake.events[job.name])


def test_watch_survives_a_server_that_cancels_its_calls(client: Client, fake: FakeOrchestrator) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    fake.fail("WatchJob", errors.Cancelled(), after=3)
    assert [event.number for event in client.watch(job)] == list(range(1, len(fake.events[job.name]) + 1))


def test_watch_that_is_left_ends_its_call(client: Client, fake: FakeOrchestrator) -> None:
    fake.holding = True
    job = client.create_job("a" * 64, "b" * 64)
    for event in client.watch(job):
        assert event.number == 1
        break
    client.cancel(job)
    assert client.get(job).state is JobState.CANCELLED


def test_list_turns_all_pages_newest_first(client: Client, fake: FakeOrchestrator) -> None:
    names = [client.create_job("a" * 64, "b" * 64).name for _ in range(5)]
    assert [job.name for job in client.list()] == names[::-1]
    assert len(fake.requests_of("ListJobs")) == 3


def test_download_writes_the_result(client: Client, tmp_path: Path) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    out = client.download(job, tmp_path / "out.mp4")
    assert out.read_bytes() == VIDEO
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("error", [errors.ServiceUnavailable("gone"), None])
def test_download_goes_on_where_it_broke_off(
    client: Client, fake: FakeOrchestrator, tmp_path: Path, error: errors.SynclineError | None
) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    fake.fail("DownloadAsset", error, after=3, times=2)
    assert client.download(job, tmp_path / "out.mp4").read_bytes() == VIDEO
    offsets = [request.offset for request in fake.requests_of("DownloadAsset")]
    assert offsets == [0, 3 * 64 * 1024, 6 * 64 * 1024]


def test_download_that_gets_nowhere_is_given_up(client: Client, fake: FakeOrchestrator, tmp_path: Path) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    fake.fail("DownloadAsset", None, times=99)
    with pytest.raises(errors.ServiceUnavailable, match="after 0 of"):
        client.download(job, tmp_path / "out.mp4")
    assert len(fake.requests_of("DownloadAsset")) == 10
    assert list(tmp_path.iterdir()) == []


def test_download_of_other_bytes_leaves_the_old_file(client: Client, fake: FakeOrchestrator, tmp_path: Path) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    fake.assets[digest(VIDEO)] = VIDEO[:-1] + b"?"
    out = tmp_path / "out.mp4"
    out.write_bytes(b"the one before")
    with pytest.raises(errors.ChecksumMismatch):
        client.download(job, out)
    assert out.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [out]


def test_download_that_fails_leaves_nothing(client: Client, fake: FakeOrchestrator, tmp_path: Path) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    fake.fail("DownloadAsset", errors.InternalError("broken disk"), after=2)
    with pytest.raises(errors.InternalError):
        client.download(job, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_download_before_the_end_is_too_early(client: Client, fake: FakeOrchestrator, tmp_path: Path) -> None:
    fake.holding = True
    job = client.create_job("a" * 64, "b" * 64)
    with pytest.raises(errors.JobNotDone):
        client.download(job, tmp_path / "out.mp4")


def test_report_is_what_the_server_wrote(client: Client) -> None:
    assert client.report(client.create_job("a" * 64, "b" * 64)) == REPORT


def test_inspect_uploads_a_path(client: Client, fake: FakeOrchestrator, video: Path) -> None:
    info = client.inspect(video)
    assert (info.kind, info.duration, info.size_bytes) == ("video", Fraction(1001, 100), video.stat().st_size)
    assert info.video is not None
    assert (info.video.pixel_format, info.video.frame_rate) == ("yuv420p10", Fraction(30000, 1001))
    assert info.audio is None
    assert info.advice[0].code == "HIGH_BIT_RATE"
    assert client.inspect(client.upload(video)) == info


def test_result_raises_the_jobs_own_error(client: Client, fake: FakeOrchestrator) -> None:
    fake.job_error = errors.NoFace("no face in 100 frames", {"frames": "100"})
    job = client.create_job("a" * 64, "b" * 64)
    with pytest.raises(errors.NoFace, match="no face in 100 frames") as caught:
        client.result(job)
    assert caught.value.metadata == {"frames": "100"}
    failed = client.get(job)
    assert failed.state is JobState.FAILED
    assert isinstance(failed.error, errors.NoFace)


def test_result_of_a_cancelled_job_is_cancelled(client: Client, fake: FakeOrchestrator) -> None:
    fake.holding = True
    job = client.create_job("a" * 64, "b" * 64)
    client.cancel(job)
    with pytest.raises(errors.JobCancelled):
        client.result(job)


def test_run_does_it_all(client: Client, video: Path, audio: Path, tmp_path: Path) -> None:
    events: list[JobEvent] = []
    job = client.run(video, audio, tmp_path / "out.mp4", events.append, sync_mode="loop")
    assert (tmp_path / "out.mp4").read_bytes() == VIDEO
    assert job.state is JobState.DONE
    assert job.options.sync_mode is SyncMode.LOOP
    assert events[-1].job == job


def test_run_that_is_broken_off_cancels_the_job(
    client: Client, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    fake.holding = True

    def interrupt(event: JobEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.run(video, audio, tmp_path / "out.mp4", interrupt)
    assert client.get("jobs/1").state is JobState.CANCELLED
    assert not (tmp_path / "out.mp4").exists()


def test_a_newer_servers_words_are_unknown_not_errors(client: Client, fake: FakeOrchestrator) -> None:
    job = client.create_job("a" * 64, "b" * 64)
    fake.jobs[job.name].state = 99
    assert client.get(job).state is JobState.UNKNOWN


def test_values_are_frozen(client: Client) -> None:
    job: Job = client.create_job("a" * 64, "b" * 64)
    with pytest.raises(FrozenInstanceError):
        job.name = "jobs/2"  # type: ignore[misc]


def test_a_batch_and_what_its_jobs_carry(client: Client, fake: FakeOrchestrator) -> None:
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    jobs = [NewJob("a" * 64, "b" * 64, {"crf": 20}, 3, deadline), NewJob("a" * 64, "c" * 64)]
    batch = client.create_batch(jobs, "request")
    assert (batch.name, batch.total, batch.done, batch.ended) == ("batches/1", 2, 2, True)
    sent = fake.requests_of("CreateBatch")[0]
    assert (sent.request_id, [job.audio[0] for job in sent.jobs]) == ("request", ["b", "c"])
    assert (sent.jobs[0].options.crf, sent.jobs[0].priority) == (20, 3)
    assert sent.jobs[0].deadline.ToDatetime(tzinfo=UTC) == deadline
    assert not sent.jobs[1].HasField("deadline")
    assert client.get_batch(batch) == client.cancel_batch("batches/1") == batch
    list(client.list(["done", JobState.FAILED], tenant="acme", batch=batch))
    asked = fake.requests_of("ListJobs")[0]
    assert (list(asked.states), asked.tenant, asked.batch) == ([3, 4], "acme", "batches/1")


def test_a_job_can_be_checked_and_estimated_without_being_queued(client: Client, fake: FakeOrchestrator) -> None:
    job = NewJob("a" * 64, "b" * 64)
    client.check(job)
    assert fake.requests_of("CreateJob")[0].validate_only
    estimate = client.estimate(job)
    assert (estimate.work_seconds, estimate.result_bytes, estimate.jobs_ahead) == (20, 3_000_000, 4)
    with pytest.raises(errors.InvalidOption):
        client.check(NewJob("a" * 64, "b" * 64, {"crf": 99}))
    with pytest.raises(errors.InvalidOption):
        client.check(NewJob("a" * 64, "b" * 64, priority=1 << 40))
    assert fake.jobs == {}


BOX = FaceBox(0.25, 0.5, 0.125, 0.75, 1.5, "fractions")


@pytest.mark.parametrize(
    ("face", "sent", "told"),
    [
        (3, {"index": 3}, 3),
        (BOX, {"box": {"x": 0.25, "y": 0.5, "width": 0.125, "height": 0.75, "unit": 2, "time": 1.5}}, BOX),
        (Asset("a" * 64, 9), {"reference": "a" * 64}, "a" * 64),
        ("b" * 64, {"reference": "b" * 64}, "b" * 64),
        ("auto", {}, None),
    ],
)
def test_faces_on_the_wire(
    client: Client, fake: FakeOrchestrator, face: Face, sent: dict[str, object], told: Face | None
) -> None:
    job = client.create_job("1" * 64, "2" * 64, face=face)
    assert fake.requests_of("CreateJob")[0].job.options.face == pb.FaceChoice(**sent)
    assert job.options.face == told


def test_speakers_on_the_wire(client: Client, fake: FakeOrchestrator) -> None:
    job = client.create_job("1" * 64, speakers=[Speaker(1, "2" * 64), Speaker(BOX, Asset("3" * 64, 5), 2.5)])
    wanted = fake.requests_of("CreateJob")[0].job
    assert (wanted.audio, len(wanted.speakers)) == ("", 2)
    assert (wanted.speakers[0].face.index, wanted.speakers[1].audio, wanted.speakers[1].start) == (1, "3" * 64, 2.5)
    assert job.speakers == (Speaker(1, "2" * 64), Speaker(BOX, "3" * 64, 2.5))


@pytest.mark.parametrize("face", [True, 1.5, FaceBox(0, 0, 1, 1, unit="miles"), -1])  # type: ignore[arg-type]
def test_what_is_no_face_is_refused(client: Client, face: Face) -> None:
    with pytest.raises(errors.InvalidOption, match="face"):
        client.create_job("1" * 64, "2" * 64, face=face)
    with pytest.raises(errors.InvalidOption):
        client.create_job("1" * 64, speakers=[Speaker(face, "2" * 64)])


def test_persons_of_a_video(client: Client, video: Path) -> None:
    assert client.persons(video) == (Person(1, 50, FaceBox(5, 6, 70, 80, 0.5), ((0.5, 2.5),)),)


def test_a_done_job_has_an_address_for_a_while(client: Client, fake: FakeOrchestrator, video: Path) -> None:
    job = client.create_job(client.upload(video), client.upload(video), output_uri="s3://results/anna")
    assert fake.requests_of("CreateJob")[0].job.options.output_uri == "s3://results/anna"
    client.result(job)
    signed = client.download_url(job, 90)
    assert signed.url == f"https://example.com/{digest(VIDEO)}?signed"
    assert signed.expire_time == datetime.fromtimestamp(1_800_000_090, UTC)


def test_import_names_what_the_server_fetches(client: Client, fake: FakeOrchestrator) -> None:
    asset = client.import_asset("https://cdn.example.com/anna.mp4")
    assert fake.requests_of("ImportAsset")[0].uri == "https://cdn.example.com/anna.mp4"
    assert asset.digest in fake.assets
