"""What a job can ask of its result: how long it is, which part of the video it shows, how it is written and heard."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from services.orchestrator.assembling import EncodedSound, assemble
from services.orchestrator.encoding import EncodeSettings, SegmentEncoder
from services.orchestrator.timeline import SyncMode, build_timeline
from services.runtime.frames import FrameFormat, PixelFormat
from syncline import Client
from tests.end_to_end.conftest import RATE, read_video
from tests.end_to_end.test_job import speech_seconds

VIDEO_SECONDS = 60 * 1001 / 30000


def facts_of(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        heard = sum(frame.samples / frame.rate for frame in container.decode(audio=0))
        codecs = (video.codec_context.name, audio.codec_context.name)
        return {"size": (video.width, video.height), "codecs": codecs, "heard": heard}


def heard_in(path: Path, first: float, last: float) -> float:
    """Root mean square of the sound between two times in seconds."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("fltp", "mono", rate)
        samples = np.concatenate(
            [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        )
    return float(np.sqrt((samples[round(first * rate) : round(last * rate)] ** 2).mean()))


def test_silence_lasts_as_long_as_the_video_and_is_silent(client: Client, media: Path, tmp_path: Path) -> None:
    spoken = speech_seconds(media / "speech.wav")
    assert spoken < VIDEO_SECONDS - 0.2
    out = tmp_path / "out.webm"
    client.run(
        media / "portrait.mp4", media / "speech.wav", out, sync_mode="silence", container="webm", preset="ultrafast"
    )
    frames, _ = read_video(out)
    facts = facts_of(out)
    assert (len(frames), facts["codecs"]) == (60, ("vp9", "opus"))
    assert facts["heard"] == pytest.approx(VIDEO_SECONDS, abs=0.05)
    assert heard_in(out, spoken + 0.05, VIDEO_SECONDS) < 0.02 * heard_in(out, 0, spoken)


def test_a_held_frame_goes_on_speaking_at_a_constant_rate_in_another_size(
    client: Client, media: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mkv"
    options = {"sync_mode": "hold", "frame_rate": 25, "max_lines": 240, "container": "mkv", "video_codec": "hevc"}
    client.run(media / "portrait.mp4", media / "long.wav", out, preset="ultrafast", **options)
    frames, times = read_video(out)
    seconds = speech_seconds(media / "long.wav")
    assert len(frames) == -(-seconds * 25 // 1)
    assert max(abs(time - Fraction(number, 25)) for number, time in enumerate(times)) <= Fraction(1, 2000)
    assert facts_of(out)["size"] == (256, 240)
    assert facts_of(out)["codecs"] == ("hevc", "aac")
    held = np.stack(frames[60:]).astype(float)
    mouth, hair = held[:, 75:107, 95:132].std(axis=0).mean(), held[:, 5:25, 90:140].std(axis=0).mean()
    assert mouth > 3 * hair


def test_a_part_of_the_video_plays_slower_to_fit_its_speech(client: Client, media: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mov"
    options = {"sync_mode": "remap", "start": 0.5, "end": 1.5, "container": "mov", "audio_codec": "pcm"}
    client.run(media / "portrait.mp4", media / "speech.wav", out, preset="ultrafast", **options)
    source, times = read_video(media / "portrait.mp4")
    kept = [frame for frame, time in zip(source, times, strict=True) if 0.5 <= time < 1.5]
    shown, moments = read_video(out)
    seconds = speech_seconds(media / "speech.wav")
    assert len(shown) == len(kept)
    for frame, original in zip(shown, kept, strict=True):
        assert np.abs(frame[300:].astype(int) - original[300:]).mean() < 3  # below the head
    assert float(moments[-1]) == pytest.approx(seconds * (len(kept) - 1) / len(kept), abs=1e-3)
    assert facts_of(out)["codecs"] == ("h264", "pcm_s16le")


def test_background_and_the_videos_own_sound_play_under_the_speech(client: Client, media: Path, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(24000) * 2 * np.pi * 330 / 48000)  # half a second
    write_sound(tmp_path / "tone.wav", tone)
    talking = tmp_path / "talking.mp4"
    with_sound(media / "portrait.mp4", np.full(48000 * 2, 0.2) * np.sign(np.sin(np.arange(96000) / 15)), talking)
    background = client.upload(tmp_path / "tone.wav")
    options = {"sync_mode": "silence", "background_audio": background, "background_gain": -6, "preset": "ultrafast"}
    spoken = speech_seconds(media / "speech.wav")

    client.run(media / "portrait.mp4", media / "speech.wav", tmp_path / "one.mp4", **options)
    after = heard_in(tmp_path / "one.mp4", spoken + 0.05, VIDEO_SECONDS - 0.05)
    assert after == pytest.approx(0.25 / np.sqrt(2), rel=0.05)  # 0.5 at -6 dB, again and again

    options |= {"source_gain": 0, "background_gain": -60}
    client.run(talking, media / "speech.wav", tmp_path / "other.mp4", **options)
    assert heard_in(tmp_path / "other.mp4", spoken + 0.05, 1.9) == pytest.approx(0.2, rel=0.1)


def test_pictures_without_a_face_are_copied_from_a_video_that_was_encoded_alike(
    client: Client, media: Path, tmp_path: Path
) -> None:
    talking, _ = read_video(media / "portrait.mp4")
    rows, columns = np.mgrid[:480, :512]
    empty = [((rows + columns + 3 * number) // 4 % 256).astype(np.uint8) for number in range(40)]
    path, parts = tmp_path / "video.mp4", [tmp_path / "talking", tmp_path / "empty"]
    for part, pictures in zip(parts, (talking[:40], empty), strict=True):
        with SegmentEncoder(part, EncodeSettings(FrameFormat(512, 480, PixelFormat.YUV420P), RATE)) as encoder:
            for picture in pictures:
                encoder.encode(av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p"))
    timeline = build_timeline(range(80), 1 / RATE, 1 / RATE, 80 / RATE, SyncMode.CUT_OFF)
    assemble(parts, timeline, EncodedSound([np.zeros((64000, 1), np.float32)], 16000), path)
    out = tmp_path / "out.mp4"
    job = client.run(path, media / "speech.wav", out, sync_mode="silence", hardware="off")
    report = client.report(job)
    assert report["result"]["copied_frames"] == report["frames"]["by_outcome"]["no_face"] == 40
    assert len(read_video(out)[0]) == 80
    with av.open(str(path)) as source, av.open(str(out)) as result:
        given = {bytes(packet) for packet in source.demux(video=0) if packet.size}
        taken = [bytes(packet) in given for packet in result.demux(video=0) if packet.size]
    assert taken == [False] * 40 + [True] * 40


def write_sound(path: Path, samples: np.ndarray) -> None:
    """(n,) float at 48 kHz."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def with_sound(video: Path, samples: np.ndarray, path: Path) -> None:
    """The video's pictures with (n,) samples at 48 kHz beside them."""
    with av.open(str(video)) as source, av.open(str(path), "w") as container:
        pictures = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream("aac", rate=48000, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = pictures
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
