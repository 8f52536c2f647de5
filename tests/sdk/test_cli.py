import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncline import errors
from syncline.cli import app
from syncline.v1 import orchestrator_pb2 as pb
from tests.sdk.fakes import REPORT, VIDEO, FakeOrchestrator

COMMAND = [sys.executable, "-m", "syncline.cli"]


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines_of(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_run_writes_video_and_report(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    options = ["--sync-mode", "bounce", "--crf", 20, "--preset", "slow", "--restorer-strength", 0.5]
    options += ["--mouth-intensity", 1.25, "--smoothing", 0, "--closure-strength", 0.75, "--padding", 0.5]
    options += ["--idle-motion", 1, "--frame-rate", "30000/1001", "--profile", "master", "--background-audio", audio]
    result = invoke("run", video, audio, "-o", out, "--server", server, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert out.read_bytes() == VIDEO
    assert json.loads((tmp_path / "out.report.json").read_text()) == REPORT
    sent = fake.requests_of("CreateJob")[0].job.options
    assert (sent.sync_mode, sent.crf, sent.preset, sent.restorer_strength) == (3, 20, "slow", 0.5)
    assert (sent.mouth_intensity, sent.smoothing, sent.closure_strength, sent.padding) == (1.25, 0, 0.75, 0.5)
    assert sent.HasField("smoothing")
    assert (sent.idle_motion, sent.profile, sent.container) == (1, "master", "mp4")
    assert (sent.frame_rate.numerator, sent.frame_rate.denominator) == (30000, 1001)
    assert sent.background_audio == hashlib.sha256(audio.read_bytes()).hexdigest()
    assert "render  50/100 frames" in result.stdout
    assert result.stdout.splitlines()[-1] == f"wrote {out} and {tmp_path / 'out.report.json'}"


def test_json_is_all_there_is_on_stdout(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    fake.fail("GetJob", errors.ServiceUnavailable("gone"))
    result = invoke("run", video, audio, "-o", tmp_path / "out.mp4", "--server", server, "--json")
    lines = lines_of(result)
    kinds = [line["type"] for line in lines]
    assert kinds[:2] == ["upload", "upload"]
    assert kinds[-1] == "result"
    assert "retry" in kinds
    events = [line["event"] for line in lines if line["type"] == "event"]
    assert events[-1]["job"]["state"] == "done"
    assert events[-1]["job"]["create_time"] == "2023-11-14T22:13:20+00:00"
    assert events[1]["job"]["progress"]["phase"] == "inspect"


def test_failed_job_is_one_line_and_no_file(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    fake.job_error = errors.NoFace("no face in 100 frames;\nshow one")
    result = invoke("run", video, audio, "-o", tmp_path / "out.mp4", "--server", server, "--json")
    assert result.exit_code == 1
    assert result.stderr == "NO_FACE: no face in 100 frames; show one\n"
    assert lines_of(result)[-1]["event"]["job"]["error"]["reason"] == "NO_FACE"
    assert sorted(tmp_path.iterdir()) == [audio, video]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "missing.mp4", "{audio}", "-o", "out.mp4"],
        ["run", "{video}", "{audio}"],
        ["run", "{video}", "{audio}", "-o", "no/such/folder/out.mp4"],
        ["run", "{video}", "{audio}", "-o", "out.mp4", "--crf", "64"],
        ["run", "{video}", "{audio}", "-o", "out.mp4", "--frame-rate", "fast"],
        ["submit", "{video}", "{audio}", "--sync-mode", "stretch"],
        ["dance"],
    ],
)
def test_wrong_usage_is_status_2(server: str, video: Path, audio: Path, arguments: list[str]) -> None:
    result = invoke(*[word.format(video=video, audio=audio) for word in arguments])
    assert result.exit_code == 2
    assert result.stdout == ""


def test_job_commands(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCLINE_SERVER", server)
    submitted = lines_of(invoke("submit", video, audio, "--json"))[-1]["job"]
    assert submitted["name"] == "jobs/1"
    assert lines_of(invoke("get", "1", "--json"))[0]["job"]["state"] == "done"
    assert "state    done" in invoke("get", "jobs/1").stdout
    assert invoke("watch", "jobs/1").stdout.splitlines()[-1] == "done"
    fake.holding = True
    invoke("submit", video, audio)
    assert [line.split()[0] for line in invoke("list").stdout.splitlines()] == ["jobs/2", "jobs/1"]
    assert lines_of(invoke("cancel", "2", "--json"))[0]["job"]["state"] == "cancelled"
    watched = invoke("watch", "2")
    assert (watched.exit_code, watched.stderr) == (1, "JOB_CANCELLED: jobs/2 was cancelled\n")
    downloaded = invoke("download", "1", "-o", tmp_path / "copy.mp4")
    assert downloaded.exit_code == 0
    assert (tmp_path / "copy.mp4").read_bytes() == VIDEO
    assert (tmp_path / "copy.report.json").exists()
    assert invoke("url", "1", "--expires", 90).stdout.startswith("https://example.com/")
    assert fake.requests_of("GenerateDownloadUrl")[0].ttl.seconds == 90
    assert invoke("url", "1", "--expires", 9).exit_code == 2
    imported = lines_of(invoke("import", "s3://footage/anna.mp4", "--json"))[0]
    assert imported["digest"] in fake.assets
    assert fake.requests_of("ImportAsset")[0].uri == "s3://footage/anna.mp4"
    missing = invoke("get", "none")
    assert (missing.exit_code, missing.stderr) == (1, "JOB_NOT_FOUND: there is no job 'jobs/none'\n")


def test_preview_of_a_frame_and_of_the_begin(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    frame, begin = tmp_path / "frame.png", tmp_path / "begin.webm"
    shown = invoke("preview", video, audio, "-o", frame, "--at", 2.5, "--crf", 20, "--server", server)
    assert shown.stdout.splitlines()[-1] == f"wrote {frame}: synced"
    assert invoke("preview", video, audio, "-o", begin, "--server", server).exit_code == 0
    assert frame.read_bytes() == begin.read_bytes() == VIDEO
    first, second = fake.requests_of("PreviewJob")
    assert (first.time, first.job.options.crf, second.seconds, second.job.options.container) == (2.5, 20, 3, "webm")
    assert invoke("preview", video, audio, "-o", begin, "--at", 1, "--server", server).exit_code == 2
    assert invoke("preview", video, audio, "-o", frame, "--seconds", 1, "--server", server).exit_code == 2


def test_submit_with_a_deadline_or_only_checked(server: str, fake: FakeOrchestrator, video: Path, audio: Path) -> None:
    checked = invoke("submit", video, audio, "--validate-only", "--server", server)
    assert checked.stdout.splitlines()[-1] == "the job can be queued"
    assert fake.requests_of("CreateJob")[0].validate_only
    assert invoke("submit", video, audio, "--deadline", "2030-01-02T03:04:05Z", "--server", server).exit_code == 0
    assert fake.requests_of("CreateJob")[1].job.deadline.ToJsonString() == "2030-01-02T03:04:05Z"
    assert invoke("submit", video, audio, "--deadline", "soon", "--server", server).exit_code == 2


def test_watch_goes_on_behind_an_event_and_a_list_ends_early(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path
) -> None:
    for _ in range(3):
        submitted = invoke("submit", video, audio, "--server", server, "--json")
    job = lines_of(submitted)[-1]["job"]["name"]
    assert invoke("watch", job, "--after", 2, "--server", server, "--json").exit_code == 0
    assert fake.requests_of("WatchJob")[0].after_event == 2
    assert len(lines_of(invoke("list", "--limit", 1, "--server", server, "--json"))) == 1


def test_a_batch_is_shown_and_cancelled_by_its_name(server: str, fake: FakeOrchestrator) -> None:
    fake.jobs["jobs/1"] = pb.Job(name="jobs/1", batch="batches/1", state=pb.Job.STATE_DONE)
    assert invoke("get", "batches/1", "--server", server).stdout == "batches/1: 1 jobs: 1 done\n"
    assert lines_of(invoke("cancel", "batches/1", "--json", "--server", server))[0]["batch"]["done"] == 1
    assert [request.name for request in fake.requests_of("CancelBatch")] == ["batches/1"]


def test_a_webhook_is_named_and_told_again(server: str, fake: FakeOrchestrator, video: Path, audio: Path) -> None:
    invoke("submit", video, audio, "--webhook", "https://hooks.example.com/", "--server", server)
    assert fake.requests_of("CreateJob")[0].job.webhook == "https://hooks.example.com/"
    assert invoke("replay-webhook", "1", "--after", 3, "--server", server).stdout == "to be told again: jobs/1\n"
    (asked,) = fake.requests_of("ReplayWebhook")
    assert (asked.name, asked.after_event) == ("jobs/1", 3)


def test_retry_delete_estimate_and_filters(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCLINE_SERVER", server)
    fake.job_error = errors.NoFace("no face in 100 frames")
    invoke("submit", video, audio, "--priority", 5)
    assert fake.requests_of("CreateJob")[0].job.priority == 5
    assert [line.split()[0] for line in invoke("list", "--state", "failed").stdout.splitlines()] == ["jobs/1"]
    assert invoke("list", "--state", "done").stdout == ""
    assert invoke("list", "--state", "asleep").exit_code == 1
    fake.job_error = None
    assert lines_of(invoke("retry", "1", "--json"))[0]["job"]["state"] == "done"
    estimate = invoke("estimate", video, audio).stdout
    assert "20.0 s, by 50 jobs before" in estimate
    assert "4 jobs" in estimate
    assert invoke("delete", "1").stdout == "deleted jobs/1\n"
    assert invoke("get", "1").exit_code == 1


def test_inspect_shows_facts_and_advice(server: str, video: Path) -> None:
    shown = invoke("inspect", video, "--server", server).stdout
    assert "h264, 1080 x 1920, yuv420p10, 29.970 fps" in shown
    assert "HIGH_BIT_RATE: 20 Mbit/s" in shown
    info = lines_of(invoke("inspect", video, "--server", server, "--json"))[0]["info"]
    assert (info["duration"], info["video"]["frame_rate"]) == ("1001/100", "30000/1001")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which nobody can write")
def test_file_that_cannot_be_written_is_a_failure(server: str, video: Path, audio: Path) -> None:
    result = invoke("run", video, audio, "-o", "/proc/out.mp4", "--server", server)
    assert result.exit_code == 1
    assert result.stderr.startswith(("FILE_NOT_FOUND_ERROR: ", "PERMISSION_ERROR: "))
    assert result.stderr.count("\n") == 1


def test_ctrl_c_cancels_the_job(server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path) -> None:
    fake.holding = True
    arguments = ["run", str(video), str(audio), "-o", str(tmp_path / "out.mp4"), "--server", server]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("inspect"):
            break
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "CANCELLED: stopped on request" in stderr.splitlines()  # gRPC may have lines of its own
    assert "Traceback" not in stderr
    assert fake.jobs["jobs/1"].state == 5
    assert sorted(tmp_path.iterdir()) == [audio, video]


def test_terminal_gets_a_bar(server: str, video: Path, audio: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    arguments = ["run", str(video), str(audio), "-o", str(tmp_path / "out.mp4"), "--server", server]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([*COMMAND, *arguments], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while process.poll() is None or shown[-1:] != b"":
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        time.sleep(0.01)
    os.close(ours)
    assert process.wait(30) == 0
    text = shown.decode()
    assert "━━━" in text
    assert all(word in text for word in ("upload video", "render", "100/100 frames", "download", "wrote"))


def test_a_face_is_named_in_words(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"a photo")
    for word in ("auto", "2", "10,20,30.5,40@1.5", "25%,50%,10%,10%", photo):
        result = invoke("submit", video, audio, "--face", word, "--server", server)
        assert (result.exit_code, result.stderr) == (0, "")
    faces = [request.job.options.face for request in fake.requests_of("CreateJob")]
    assert [face.WhichOneof("choice") for face in faces] == [None, "index", "box", "box", "reference"]
    assert (faces[2].box.width, faces[2].box.unit, faces[2].box.time) == (30.5, 1, 1.5)
    assert (faces[3].box.x, faces[3].box.unit, faces[3].box.time) == (0.25, 2, 0)
    assert fake.assets[faces[4].reference] == b"a photo"


def test_each_speaker_has_a_face_and_a_speech(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(b"more sound")
    speakers = ["--speaker", f"1={audio}", "--speaker", f"5%,5%,20%,20%@2={other}@3.5"]
    result = invoke("run", video, "-o", tmp_path / "out.mp4", *speakers, "--server", server)
    assert (result.exit_code, result.stderr) == (0, "")
    wanted = fake.requests_of("CreateJob")[0].job
    assert wanted.audio == ""
    first, second = wanted.speakers
    assert (first.face.index, first.start, fake.assets[first.audio]) == (1, 0, audio.read_bytes())
    assert (second.face.box.time, second.start, fake.assets[second.audio]) == (2, 3.5, b"more sound")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["AUDIO", "--face", "nobody"], "neither a face nor a file"),
        (["AUDIO", "--face", "5%,5,20,20"], "all with %"),
        (["AUDIO", "--speaker", "1=AUDIO"], "either AUDIO or --speaker"),
        ([], "either AUDIO or --speaker"),
        (["--speaker", "auto=AUDIO"], "must name a face"),
        (["--speaker", "1=nothing.wav"], "there is no file nothing.wav"),
        (["--speaker", "1"], "write FACE=AUDIO"),
    ],
)
def test_words_that_name_no_face_are_wrong_usage(
    server: str, fake: FakeOrchestrator, video: Path, audio: Path, words: list[str], told: str
) -> None:
    result = invoke("submit", video, *(word.replace("AUDIO", str(audio)) for word in words), "--server", server)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert not fake.calls


def test_inspect_lists_faces(server: str, video: Path) -> None:
    result = invoke("inspect", video, "--faces", "--server", server)
    assert result.stdout.splitlines()[-1] == "face 1  first at 5,6,70,80@0.50  seen 0.50-2.50 s, 50 frames"
    assert lines_of(invoke("inspect", video, "--faces", "--json", "--server", server))[-1]["person"]["index"] == 1
