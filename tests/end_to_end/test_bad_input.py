"""Files that cannot be worked with: each a clear error with its reason, no hang, nothing half-made left."""

import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from syncline import Client, errors
from syncline.types import JobState
from tests.end_to_end.conftest import write_video


def write_wav(path: Path, samples: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * samples))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.mp4").write_text("This is not a video.\n" * 100)
    whole = (media / "portrait.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "playlist.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    blank = np.full((240, 320, 3), 90, np.uint8)
    write_video(folder / "faceless.mp4", [blank] * 20)
    write_wav(folder / "empty.wav", 0)
    cv2.imwrite(str(folder / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(str(folder / "faceless.png"), blank)
    with av.open(str(folder / "cut.wav"), "w") as container:
        container.add_stream("pcm_s16le", rate=16000)
    return folder


@pytest.mark.parametrize(
    ("video", "audio", "error"),
    [
        ("bad/text.mp4", "speech.wav", errors.NotMedia),
        ("bad/truncated.mp4", "speech.wav", errors.InvalidInput),
        ("bad/playlist.m3u8", "speech.wav", errors.InvalidInput),
        ("bad/faceless.mp4", "speech.wav", errors.NoFace),
        ("bad/faceless.png", "speech.wav", errors.NoFace),
        ("bad/dot.png", "speech.wav", errors.PictureTooSmall),
        ("speech.wav", "speech.wav", errors.NoVideo),
        ("portrait.mp4", "portrait.mp4", errors.NoAudio),
        ("portrait.mp4", "portrait.png", errors.NoAudio),
        ("portrait.mp4", "bad/empty.wav", errors.InvalidInput),
        ("portrait.mp4", "bad/text.mp4", errors.NotMedia),
    ],
)
def test_the_job_fails_with_the_reason(
    client: Client, media: Path, bad: Path, tmp_path: Path, video: str, audio: str, error: type[errors.SynclineError]
) -> None:
    def find(name: str) -> Path:
        return bad / name.removeprefix("bad/") if name.startswith("bad/") else media / name

    with pytest.raises(error) as raised:
        client.run(find(video), find(audio), tmp_path / "out.mp4")
    assert len(raised.value.message) > 15
    assert str(tmp_path) not in raised.value.message  # the server's own paths and the client's are nobody's business
    assert not list(tmp_path.iterdir())


def test_an_empty_file_is_refused_before_a_job_is_made(client: Client, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(errors.InvalidInput):
        client.upload(tmp_path / "empty.mp4")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"crf": 52}, "0 to 51"),
        ({"crf": 64}, "0 to 63"),
        ({"preset": "warp"}, "veryfast"),
        ({"restorer_strength": 2}, "0 to 1"),
        ({"mouth_intensity": 1.6}, "0.5 to 1.5"),
        ({"smoothing": -1}, "0 to 1"),
        ({"closure_strength": float("nan")}, "0 to 1"),
        ({"padding": 0.4}, "0.5 to 1.5"),
        ({"idle_motion": 1.5}, "0 to 1"),
        ({"start": -1}, "0 to 86400"),
        ({"start": 2, "end": 1}, "after start"),
        ({"frame_rate": 500}, "1 to 240"),
        ({"frame_rate": 25, "fps_mode": "passthrough"}, "source's own"),
        ({"profile": "best"}, "publish-1080p"),
        ({"container": "avi"}, "mkv"),
        ({"container": "webm", "video_codec": "h264"}, "vp9"),
        ({"video_codec": "h265"}, "hevc"),
        ({"crf": 60}, "0 to 51"),
        ({"crf": 20, "video_bit_rate": 1_000_000}, "exclude"),
        ({"container": "mkv", "video_codec": "ffv1", "crf": 20}, "nothing"),
        ({"video_bit_rate": 1000}, "100000"),
        ({"max_lines": 100}, "144"),
        ({"audio_codec": "mp3"}, "opus"),
        ({"audio_codec": "flac"}, "mp4 holds"),
        ({"audio_codec": "copy", "source_gain": 0}, "mixed"),
        ({"background_gain": 20}, "-60 to 12"),
        ({"source_gain": -10, "sync_mode": "bounce"}, "bounce"),
    ],
)
def test_options_out_of_range_are_refused(client: Client, media: Path, options: dict[str, object], told: str) -> None:
    video, audio = client.upload(media / "portrait.mp4"), client.upload(media / "speech.wav")
    with pytest.raises(errors.InvalidOption, match=told) as raised:
        client.create_job(video, audio, **options)
    assert raised.value.metadata["field"] in options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"start": 5}, "No frame of the video lies between"),
        ({"sync_mode": "remap", "end": 0.5}, "times its speed"),
        ({"audio_codec": "copy"}, "cannot be copied"),
    ],
)
def test_options_that_do_not_fit_the_files_fail_the_job_and_say_why(
    client: Client, media: Path, options: dict[str, object], told: str
) -> None:
    video, audio = client.upload(media / "portrait.mp4"), client.upload(media / "speech.wav")
    with pytest.raises(errors.InvalidOption, match=told):
        client.result(client.create_job(video, audio, preset="ultrafast", **options))


def test_jobs_on_files_that_are_not_there_are_refused(client: Client, media: Path) -> None:
    audio = client.upload(media / "speech.wav")
    with pytest.raises(errors.AssetNotFound):
        client.create_job("0" * 64, audio)
    with pytest.raises(errors.InvalidName):
        client.create_job("../../etc/passwd", audio)


def test_one_bad_job_does_not_hold_up_the_next(client: Client, media: Path, bad: Path, tmp_path: Path) -> None:
    failing = client.create_job(client.upload(bad / "text.mp4"), client.upload(media / "speech.wav"))
    client.run(media / "portrait.png", media / "speech.wav", tmp_path / "out.mp4", preset="ultrafast")
    assert client.get(failing).state is JobState.FAILED
    assert isinstance(client.get(failing).error, errors.NotMedia)
