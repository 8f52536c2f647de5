"""The main job on generated media whose truth is known: what changes, what must not, and when."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from syncline import Client, errors
from syncline.cli import app
from syncline.types import JobState
from tests.end_to_end.conftest import RATE, read_video, sway, write_video

FACE = np.s_[60:280, 140:320]  # of the portrait: the head with room to sway
MOUTH = np.s_[150:215, 190:265]


def speech_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(container.streams.audio[0].duration * container.streams.audio[0].time_base)


@pytest.fixture(scope="session")
def spoken(client: Client, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """portrait.mp4 made to say speech.wav."""
    out = tmp_path_factory.mktemp("out") / "spoken.mp4"
    client.run(media / "portrait.mp4", media / "speech.wav", out, sync_mode="loop", crf=12)
    return out


def test_the_result_is_h264_and_aac_as_long_as_the_speech(spoken: Path, media: Path) -> None:
    seconds = speech_seconds(media / "speech.wav")
    with av.open(str(spoken)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height) == (512, 480)
        assert float(audio.duration * audio.time_base) == pytest.approx(seconds, abs=0.05)
    _, times = read_video(spoken)
    assert times == [Fraction(number) / RATE for number in range(len(times))]
    assert 0 <= len(times) / RATE - seconds < 1 / RATE


def test_the_file_says_that_it_is_ai_generated_and_plays_while_it_loads(spoken: Path) -> None:
    with av.open(str(spoken)) as container:
        assert "AI-generated" in container.metadata["comment"]
    head = spoken.read_bytes()[:4096]
    assert b"moov" in head
    assert b"mdat" not in head.split(b"moov")[0]


def test_the_mouth_moves_and_the_rest_stays(spoken: Path, media: Path) -> None:
    source, _ = read_video(media / "portrait.mp4")
    result, _ = read_video(spoken)
    inside, outside = [], []
    for number, frame in enumerate(result):
        change = np.abs(frame.astype(int) - source[number % len(source)])
        inside.append(change[MOUTH].mean())
        change[FACE] = 0
        outside.append(change.mean())
    assert max(outside) < 1.5  # the encoder's loss
    assert max(inside) > 4  # the mouth opens
    assert np.std(inside) > 0.5  # and does not just stand open


def test_the_report_accounts_for_every_frame(client: Client, media: Path, spoken: Path) -> None:
    job = client.create_job(
        client.upload(media / "portrait.mp4"), client.upload(media / "speech.wav"), sync_mode="loop", crf=12
    )
    job = client.result(job)
    report = client.report(job)
    json.dumps(report)
    assert report["result"]["encoder"] == "libx264"
    ranges = report["frames"]["ranges"]
    assert ranges[0]["first"] == 0
    assert all(after["first"] == before["last"] + 1 for before, after in pairwise(ranges))
    assert ranges[-1]["last"] + 1 == report["result"]["frames"] == sum(report["frames"]["by_outcome"].values())
    assert {stage: engine["name"] for stage, engine in report["engines"].items()} == {
        "decoder": "pyav",
        "detector": "blazeface",
        "lipsync": "rewrite",
        "restorer": "classic",
    }
    assert all(len(model["sha256"]) == 64 for engine in report["engines"].values() for model in engine["models"])
    # The source was analysed for the job before: the same job again costs no analysis, and gives the same bytes.
    assert report["seconds"]["analyse"] < 1
    assert client.download(job, spoken.with_name("again.mp4")).read_bytes() == spoken.read_bytes()


@pytest.mark.parametrize("sync_mode", ["loop", "bounce", "cut_off"])
def test_length_follows_the_sync_mode(client: Client, media: Path, tmp_path: Path, sync_mode: str) -> None:
    client.run(
        media / "portrait.mp4", media / "long.wav", tmp_path / "out.mp4", sync_mode=sync_mode, preset="ultrafast"
    )
    frames, times = read_video(tmp_path / "out.mp4")
    source, _ = read_video(media / "portrait.mp4")
    wanted = 60 / RATE if sync_mode == "cut_off" else speech_seconds(media / "long.wav")
    assert 0 <= len(frames) / RATE - wanted < 1 / RATE
    assert times == [Fraction(number) / RATE for number in range(len(times))]
    order = {
        "loop": lambda number: number % 60,
        "bounce": lambda number: min(number % 118, 118 - number % 118),
        "cut_off": lambda number: number,
    }[sync_mode]
    for number in (0, 30, 59, 60, 61, 100, 119, 125):
        if number < len(frames):
            strip = np.s_[300:, :]  # below the face: shows which source frame this is
            errors_ = [np.abs(frames[number][strip].astype(int) - picture[strip]).mean() for picture in source]
            best = errors_[order(number)]
            assert best <= min(errors_) + 0.3, f"frame {number} shows frame {int(np.argmin(errors_))}"


def test_a_photo_speaks_for_as_long_as_the_speech(client: Client, media: Path, tmp_path: Path) -> None:
    job = client.run(media / "portrait.png", media / "speech.wav", tmp_path / "out.mp4")
    frames, times = read_video(tmp_path / "out.mp4")
    assert times[1] == Fraction(1, 25)
    assert 0 <= len(frames) / 25 - speech_seconds(media / "speech.wav") < 1 / 25
    moving = np.std([frame[MOUTH].mean() for frame in frames])
    still = np.std([frame[300:].mean() for frame in frames])
    assert moving > 5 * still
    assert set(client.report(job)["frames"]["by_outcome"]) <= {"drawn", "warped"}


@pytest.fixture(scope="session")
def plain_photo(client: Client, media: Path) -> dict[str, Any]:
    """Report on portrait.png saying speech.wav with nothing asked for but speed."""
    assets = client.upload(media / "portrait.png"), client.upload(media / "speech.wav")
    return client.report(client.result(client.create_job(*assets, preset="ultrafast")))


@pytest.mark.parametrize(
    ("option", "value"), [("mouth-intensity", 1.5), ("smoothing", 1.0), ("closure-strength", 0.0), ("padding", 1.5)]
)
def test_an_option_of_expression_goes_from_the_command_line_to_the_lips(
    server: str, media: Path, plain_photo: dict[str, Any], tmp_path: Path, option: str, value: float
) -> None:
    out = tmp_path / "out.mp4"
    arguments = [media / "portrait.png", media / "speech.wav", "-o", out, "--server", server, "--preset", "ultrafast"]
    result = CliRunner().invoke(app, ["run", *map(str, arguments), f"--{option}", str(value)])
    assert result.exit_code == 0, result.output
    report = json.loads(out.with_suffix(".report.json").read_text())
    assert report["settings"] == plain_photo["settings"] | {option.replace("-", "_"): value}
    # The same speech over the same photo was rendered before: nothing of it may be taken for this.
    assert report["result"]["digest"] != plain_photo["result"]["digest"]


def test_the_head_of_a_photo_moves_and_its_background_does_not(client: Client, media: Path, tmp_path: Path) -> None:
    job = client.run(
        media / "portrait.png", media / "speech.wav", tmp_path / "out.mp4", idle_motion=1, preset="ultrafast", crf=12
    )
    report = client.report(job)
    assert (report["settings"]["idle_motion"], report["notes"]) == (1, [])
    frames, _ = read_video(tmp_path / "out.mp4")
    moved = np.std([frame.astype(float) for frame in frames[25::5]], axis=0)
    still = max(moved[:, 400:].mean(), moved[400:].mean())
    assert moved[20:60, 170:290].mean() > 5 * still  # hair, far above the mouth
    assert still < 0.5


def test_the_head_of_a_video_is_left_alone_and_the_job_says_so(client: Client, media: Path, tmp_path: Path) -> None:
    video, audio = client.upload(media / "portrait.mp4"), client.upload(media / "speech.wav")
    plain = client.result(client.create_job(video, audio, preset="ultrafast"))
    job = client.create_job(video, audio, preset="ultrafast", idle_motion=0.5)
    messages = [event.message for event in client.watch(job)]
    assert any("idle_motion" in message and "photo" in message for message in messages)
    report = client.report(job)
    assert report["notes"] == [message for message in messages if "idle_motion" in message]
    assert report["result"]["digest"] == client.report(plain)["result"]["digest"]


def test_frames_without_a_face_pass_through_and_are_counted(client: Client, media: Path, tmp_path: Path) -> None:
    import skimage.data

    photo = skimage.data.astronaut()
    noise = np.random.default_rng(0).integers(60, 120, (30, 32, 3), np.uint8)
    hidden = np.kron(noise, np.ones((16, 16, 1), np.uint8))
    pictures = [hidden if 20 <= number < 35 else sway(photo, number) for number in range(50)]
    write_video(tmp_path / "hidden.mp4", pictures)
    job = client.run(tmp_path / "hidden.mp4", media / "speech.wav", tmp_path / "out.mp4")
    report = client.report(job)
    passed = [run for run in report["frames"]["ranges"] if run["outcome"] == "no_face"]
    assert [(run["first"], run["last"]) for run in passed] == [(20, 34)]
    source, _ = read_video(tmp_path / "hidden.mp4")
    frames, _ = read_video(tmp_path / "out.mp4")
    assert np.abs(frames[27].astype(int) - source[27]).mean() < 2


def test_a_cancelled_job_ends_and_the_next_one_runs(client: Client, media: Path, tmp_path: Path) -> None:
    video, audio = client.upload(media / "portrait.mp4"), client.upload(media / "long.wav")
    job = client.create_job(video, audio, sync_mode="bounce", preset="slower")
    for event in client.watch(job):
        if event.job.state is JobState.RUNNING:
            client.cancel(job)
    assert client.get(job).state is JobState.CANCELLED
    with pytest.raises(errors.JobCancelled):
        client.result(job)
    with pytest.raises(errors.SynclineError):
        client.download(job, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())
    client.run(media / "portrait.png", media / "speech.wav", tmp_path / "next.mp4", preset="ultrafast")


def test_inspect_tells_what_the_files_mean_for_one_another(client: Client, media: Path, spoken: Path) -> None:
    """Faces once they are known, the speech beside the video, and how fast jobs were here."""
    facts = client.inspect(media / "portrait.mp4", media / "long.wav")
    told = {advice.code: advice.message for advice in facts.advice}
    assert "The video lasts 2.00 s" in told["LENGTH_MISMATCH"]
    assert "frames a second were rendered" in told["MEASURED_SPEED"]
    assert not {"SMALL_FACE", "TURNED_FACE", "NO_FACE", "NO_SPEECH", "CLIPPED_AUDIO"} & set(told)


def test_inspect_by_command_takes_the_speech(server: str, media: Path) -> None:
    arguments = ["inspect", str(media / "portrait.mp4"), "--speech", str(media / "long.wav"), "--server", server]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "LENGTH_MISMATCH" in result.output
