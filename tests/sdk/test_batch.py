import json
from pathlib import Path
from typing import Any

import pytest

from syncline import errors
from tests.sdk.fakes import REPORT, VIDEO, FakeOrchestrator
from tests.sdk.test_cli import invoke, lines_of


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Two videos and two speeches of other bytes each."""
    for name in ("anna.mp4", "bob.mp4", "one.wav", "two.wav"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    return tmp_path


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == ".mp4"}


def test_a_csv_manifest_makes_each_line_with_its_own_options(server: str, fake: FakeOrchestrator, media: Path) -> None:
    manifest = media / "manifest.csv"
    manifest.write_text(
        "video,audio,out,priority,crf,preset,restorer_strength,sync_mode\n"
        "anna.mp4,one.wav,first.mp4,7,20,slow,0.5,bounce\n"
        "bob.mp4,two.wav,,,,,,\n"
    )
    result = invoke("batch", manifest, "-o", media / "out", "--crf", 23, "--server", server, "--tenant", "acme")
    assert (result.exit_code, result.stderr) == (0, "")
    assert written(media / "out") == {"first.mp4", "bob-two.mp4"}
    assert (media / "out" / "first.mp4").read_bytes() == VIDEO
    assert json.loads((media / "out" / "first.report.json").read_text()) == REPORT
    first, second = [request.job for request in fake.requests_of("CreateJob")]
    assert (first.priority, first.options.crf, first.options.preset, first.options.sync_mode) == (7, 20, "slow", 3)
    assert first.options.restorer_strength == 0.5
    assert (second.priority, second.options.crf, second.options.preset) == (0, 23, "")
    assert all(call["syncline-tenant"] == "acme" for call in fake.metadata)
    assert result.stdout.splitlines()[-1] == "2 of 2 done, 0 failed, 0 running"


def test_a_jsonl_manifest(server: str, fake: FakeOrchestrator, media: Path) -> None:
    lines = [{"video": "anna.mp4", "audio": "one.wav", "crf": 30}, {"video": "anna.mp4", "audio": "two.wav"}]
    (media / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    result = invoke("batch", media / "manifest.jsonl", "-o", media / "out", "--server", server, "--json")
    assert result.exit_code == 0
    assert written(media / "out") == {"anna-one.mp4", "anna-two.mp4"}
    assert len(fake.requests_of("UploadAsset")) == 3  # the video once
    assert lines_of(result)[-1] == {"type": "batch", "done": 2, "failed": 0, "running": 0, "total": 2}


def test_what_the_server_fetches_is_not_sent(server: str, fake: FakeOrchestrator, media: Path) -> None:
    (media / "manifest.csv").write_text("video,audio\nhttps://cdn.example.com/films/anna.mp4?size=1,file:one.wav\n")
    assert invoke("batch", media / "manifest.csv", "-o", media / "out", "--server", server).exit_code == 0
    assert written(media / "out") == {"anna-one.mp4"}
    uris = [request.uri for request in fake.requests_of("ImportAsset")]
    assert uris == ["https://cdn.example.com/films/anna.mp4?size=1", "file:one.wav"]
    assert fake.requests_of("UploadAsset") == []


def test_every_video_says_every_speech(server: str, media: Path) -> None:
    inputs: list[Any] = ["--video", media / "anna.mp4", "--video", media / "bob.mp4"]
    inputs += ["--audio", media / "one.wav", "--audio", media / "two.wav"]
    assert invoke("batch", *inputs, "-o", media / "out", "--server", server).exit_code == 0
    assert written(media / "out") == {"anna-one.mp4", "anna-two.mp4", "bob-one.mp4", "bob-two.mp4"}


def test_run_again_it_goes_on_where_it_stopped(server: str, fake: FakeOrchestrator, media: Path) -> None:
    (media / "manifest.csv").write_text("video,audio\nanna.mp4,one.wav\nbob.mp4,one.wav\n")
    command = ["batch", media / "manifest.csv", "-o", media / "out", "--server", server]
    fake.job_error = errors.NoFace("no face in 100 frames")
    failed = invoke(*command)
    assert failed.exit_code == 1
    assert "anna-one.mp4: NO_FACE: no face in 100 frames" in failed.stdout
    assert failed.stdout.splitlines()[-1] == "0 of 2 done, 2 failed, 0 running"
    assert written(media / "out") == set()

    fake.job_error = None
    assert invoke(*command).exit_code == 0
    assert len(fake.jobs) == 2  # the same two, tried again
    assert [request.name for request in fake.requests_of("RetryJob")][-2:] == ["jobs/1", "jobs/2"]
    assert written(media / "out") == {"anna-one.mp4", "bob-one.mp4"}

    for job, name in (("jobs/1", "anna-one"), ("jobs/2", "bob-one")):
        (media / "out" / f"{name}.report.json").write_text(json.dumps({"job": job}))
    downloads, received = len(fake.requests_of("DownloadAsset")), fake.received_bytes
    assert invoke(*command).exit_code == 0
    assert (len(fake.requests_of("DownloadAsset")), fake.received_bytes) == (downloads, received)


def test_one_bad_job_does_not_stop_the_others(server: str, fake: FakeOrchestrator, media: Path) -> None:
    (media / "manifest.csv").write_text("video,audio,crf\nanna.mp4,one.wav,99\nbob.mp4,one.wav,20\n")
    result = invoke("batch", media / "manifest.csv", "-o", media / "out", "--server", server)
    assert result.exit_code == 1
    assert "anna-one.mp4: INVALID_OPTION: crf 99 is not 0 to 51" in result.stdout
    assert written(media / "out") == {"bob-one.mp4"}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("m.csv", "video,audio\nanna.mp4,three.wav\n", "line 2"),
        ("m.csv", "video,audio,quality\nanna.mp4,one.wav,good\n", "quality"),
        ("m.csv", "video,audio,out\nanna.mp4,one.wav,../x.mp4\n", "within"),
        ("m.csv", "video,audio\nanna.mp4,one.wav,5\n", "more or fewer"),
        ("m.csv", "video,audio\nanna.mp4,one.wav\nanna.mp4,one.wav\n", "two of the"),
        ("m.csv", "video,audio\n", "nothing to do"),
        ("m.jsonl", '{"video": "anna.mp4", "audio": "one.wav"}\n{oops', "line 2"),
        ("m.jsonl", '{"video": "anna.mp4", "audio": "one.wav", "priority": "high"}', "priority"),
    ],
)
def test_a_wrong_manifest_is_told_before_anything_is_sent(
    server: str, fake: FakeOrchestrator, media: Path, name: str, text: str, complaint: str
) -> None:
    (media / name).write_text(text)
    result = invoke("batch", media / name, "-o", media / "out", "--server", server)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.replace("│", " ").split())
    assert not fake.calls
