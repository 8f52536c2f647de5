"""The PyAV engine on media whose truth is known: every frame carries its number as its luma."""

import struct
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from services.decoder.engines import MediaKind
from services.decoder.engines.pyav import PyAVDecoder
from services.runtime.frames import Frame, PixelFormat
from services.runtime.refusal import Refusal

STEP = 4  # luma from frame to frame: more than lossy coding blurs
BASE = 20


def level(number: int) -> int:
    return BASE + STEP * (number % 50)


def write_video(
    path: Path,
    count: int = 40,
    size: tuple[int, int] = (64, 48),
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    tone: tuple[Fraction, Fraction, int] | None = None,
    sample_aspect_ratio: Fraction | None = None,
) -> Path:
    """`tone`: start, length (seconds) and rate of a sound track. The top left quarter is brighter by 20."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=1 / time_base if time_base.numerator == 1 else 25)
        video.width, video.height, video.pix_fmt = *size, pixel_format
        video.codec_context.time_base = video.time_base = time_base
        video.options = {"g": "12", "bf": "3", "crf": "5"} if options is None else options
        if sample_aspect_ratio is not None:
            video.codec_context.sample_aspect_ratio = sample_aspect_ratio
        sound = None
        if tone is not None:
            sound = container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=tone[2], layout="mono")
        for number in range(count):
            picture = av.VideoFrame(*size, pixel_format)
            deep = 4 if "10" in pixel_format else 1
            for index, plane in enumerate(picture.planes):
                samples = np.full((plane.height, plane.line_size // (2 if deep > 1 else 1)), 128 * deep, np.uint16)
                if not index:
                    samples[:] = level(number) * deep
                    samples[: size[1] // 2, : size[0] // 2] += 20 * deep
                plane.update(samples.astype("<u2" if deep > 1 else "u1").tobytes())
            picture.pts, picture.time_base = (number if pts is None else pts[number]), time_base
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None:
            start, length, rate = tone
            tone_samples = np.sin(np.arange(int(length * rate)) * 2 * np.pi * 440 / rate)
            for first in range(0, len(tone_samples), 1024):
                block = (tone_samples[first : first + 1024] * 16000).astype(np.int16).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(block, "s16", "mono")
                frame.sample_rate, frame.pts = rate, int(start * rate) + first
                frame.time_base = Fraction(1, rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def write_wave(path: Path, samples: np.ndarray, rate: int) -> Path:
    """`samples`: (n, channels) int16."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def set_rotation(path: Path, clockwise: int) -> Path:
    """Writes the turn into the track header of an MP4, where phones put it."""
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    matrix = (np.array([a, b, 0, -b, a, 0, 0, 0]) * 65536).astype(">i4")
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    content[start : start + 32] = matrix.tobytes()
    path.write_bytes(content)
    return path


def numbers(frames: Iterator[Frame]) -> list[int]:
    """The numbers painted into the frames, below the brighter quarter."""
    found = []
    for frame in frames:
        luma = frame.planes[0].astype(int) // (4 if frame.format.bit_depth == 10 else 1)
        found.append(round((float(np.median(np.sort(luma.ravel())[: luma.size // 2])) - BASE) / STEP))
    return found


def refusal_of(path: Path, act: str = "inspect") -> str:
    engine = PyAVDecoder()
    acts: dict[str, Callable[[], object]] = {
        "inspect": lambda: engine.inspect(path),
        "frames": lambda: list(engine.decode_frames(path, None, None).frames),
        "audio": lambda: list(engine.decode_audio(path, None, None)),
    }
    with pytest.raises(Refusal) as caught:
        acts[act]()
    assert len(caught.value.message) > 20
    return caught.value.reason


def hear(path: Path, rate: int | None = None, channels: int | None = None) -> tuple[np.ndarray, int]:
    """All samples, checked to be free of gaps."""
    parts, reached = [], 0
    for block in PyAVDecoder().decode_audio(path, rate, channels):
        assert block.first_sample == reached
        assert 0 < len(block.samples) <= block.sample_rate
        assert block.samples.dtype == np.float32
        reached += len(block.samples)
        parts.append(block.samples)
    return np.concatenate(parts), block.sample_rate


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("media") / "plain.mp4")


def test_facts_of_a_plain_video(plain: Path) -> None:
    facts = PyAVDecoder().inspect(plain)
    assert facts.kind is MediaKind.VIDEO
    assert facts.duration == Fraction(40, 25)
    assert facts.size_bytes == plain.stat().st_size
    assert facts.audio is None
    assert [advice.code for advice in facts.advice] == ["NO_AUDIO"]
    video = facts.video
    assert video is not None
    assert (video.codec, video.frame_count, video.frame_rate) == ("h264", 40, 25)
    assert (video.variable_frame_rate, video.start_time, video.rotation) == (False, 0, 0)
    assert (video.format.width, video.format.height, video.format.pixel_format) == (64, 48, PixelFormat.YUV420P)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_all_frames_in_order(tmp_path: Path, suffix: str) -> None:
    if suffix == "avi":
        path = write_video(tmp_path / "video.avi", codec="mpeg4", options={"qmin": "1", "qmax": "2"})
    else:
        path = write_video(tmp_path / f"video.{suffix}")
    stream = PyAVDecoder().decode_frames(path, None, None)
    frames = list(stream.frames)
    assert numbers(iter(frames)) == list(range(40))
    assert [round(frame.pts * stream.time_base * 25) for frame in frames] == list(range(40))
    assert all(frame.format == stream.format for frame in frames)
    assert not any(plane.flags.writeable for frame in frames for plane in frame.planes)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_every_range_gives_its_frames_and_no_others(tmp_path: Path, suffix: str) -> None:
    path, engine = write_video(tmp_path / f"video.{suffix}", count=120), PyAVDecoder()
    whole = engine.decode_frames(path, None, None)
    times = [frame.pts * whole.time_base for frame in whole.frames]
    for start, end in [(0, 5), (11, 13), (35, 36), (36, 37), (47, 60), (95, 119), (119, 130), (60, 60), (500, 600)]:
        begin, stop = Fraction(start, 25), Fraction(end, 25)
        found = numbers(engine.decode_frames(path, begin, stop).frames)
        assert found == [level_number(number) for number, time in enumerate(times) if begin <= time < stop]


def level_number(number: int) -> int:
    return number % 50


def test_range_borders_are_exact(tmp_path: Path) -> None:
    path = write_video(tmp_path / "ntsc.mp4", count=45, time_base=Fraction(1001, 30000))
    engine, border = PyAVDecoder(), Fraction(40 * 1001, 30000)
    assert numbers(engine.decode_frames(path, border, None).frames)[0] == 40
    assert numbers(engine.decode_frames(path, border + Fraction(1, 10**9), None).frames)[0] == 41
    assert numbers(engine.decode_frames(path, None, border).frames)[-1] == 39
    assert numbers(engine.decode_frames(path, None, border + Fraction(1, 10**9)).frames)[-1] == 40


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    pts = [0, 40, 80, 240, 280, 281, 400, 520, 1000, 1040]
    path = write_video(tmp_path / "vfr.mkv", count=10, pts=pts, time_base=Fraction(1, 1000))
    engine = PyAVDecoder()
    video = engine.inspect(path).video
    assert video is not None
    assert video.variable_frame_rate
    assert video.frame_rate == Fraction(9, 1) / Fraction(1040, 1000)
    stream = engine.decode_frames(path, None, None)
    frames = list(stream.frames)
    assert [frame.pts * stream.time_base * 1000 for frame in frames] == pts
    assert numbers(iter(frames)) == list(range(10))


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, clockwise: int) -> None:
    path = set_rotation(write_video(tmp_path / "turned.mp4", count=3), clockwise)
    engine = PyAVDecoder()
    facts = engine.inspect(path)
    assert facts.video is not None
    assert facts.video.rotation == clockwise
    assert "ROTATED" in [advice.code for advice in facts.advice]
    upright = (48, 64) if clockwise % 180 else (64, 48)
    assert (facts.video.format.width, facts.video.format.height) == upright
    frame = next(engine.decode_frames(path, None, None).frames)
    assert [plane.shape for plane in frame.planes] == facts.video.format.plane_shapes
    # The brighter quarter, top left as coded, ends where a clockwise turn carries it.
    rows, columns = frame.planes[0].shape
    quarters = [
        float(frame.planes[0][y * rows // 2 :, x * columns // 2 :][: rows // 2, : columns // 2].mean())
        for y, x in [(0, 0), (0, 1), (1, 1), (1, 0)]
    ]
    assert int(np.argmax(quarters)) == clockwise // 90


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("yuv420p", PixelFormat.YUV420P),
        ("yuv422p", PixelFormat.YUV422P),
        ("yuv444p", PixelFormat.YUV444P),
        ("yuv420p10le", PixelFormat.YUV420P10),
        ("yuv422p10le", PixelFormat.YUV422P10),
        ("yuv444p10le", PixelFormat.YUV444P10),
    ],
)
def test_layouts_are_kept(tmp_path: Path, given: str, expected: PixelFormat) -> None:
    path = write_video(tmp_path / "layout.mkv", count=3, pixel_format=given, options={"qp": "0"})  # lossless
    frames = list(PyAVDecoder().decode_frames(path, None, None).frames)
    assert frames[0].format.pixel_format is expected
    scale = 4 if frames[0].format.bit_depth == 10 else 1
    for number, frame in enumerate(frames):
        assert np.all(frame.planes[0][24:] == level(number) * scale)
        assert np.all(frame.planes[1] == 128 * scale)
        assert [plane.shape for plane in frame.planes] == frame.format.plane_shapes


@pytest.mark.parametrize(
    ("given", "codec", "expected"),
    [
        ("gray", "ffv1", PixelFormat.YUV420P),
        ("yuva420p", "ffv1", PixelFormat.YUV420P),
        ("yuv420p12le", "ffv1", PixelFormat.YUV420P10),
        ("nv12", "rawvideo", PixelFormat.YUV420P),
    ],
)
def test_other_layouts_go_to_the_nearest(tmp_path: Path, given: str, codec: str, expected: PixelFormat) -> None:
    path = tmp_path / "other.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, given
        source = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(source.planes, (90, 110, 140), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        picture = source.reformat(format=given, src_color_range="MPEG", dst_color_range="MPEG")
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
    frame = next(PyAVDecoder().decode_frames(path, None, None).frames)
    assert frame.format.pixel_format is expected
    scale = 4 if frame.format.bit_depth == 10 else 1
    chroma = (128, 128) if given == "gray" else (110, 140)
    for plane, value in zip(frame.planes, (90, *chroma), strict=True):
        assert np.abs(plane.astype(int) - value * scale).max() <= scale


def test_full_range_is_told_and_samples_are_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "full.mkv", count=2, pixel_format="yuvj420p", options={"qp": "0"})
    frame = next(PyAVDecoder().decode_frames(path, None, None).frames)
    assert frame.format.pixel_format is PixelFormat.YUV420P
    assert frame.format.color.full_range
    assert np.all(frame.planes[0][24:] == level(0))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "without a suffix"])
def test_photos(tmp_path: Path, suffix: str, named: bool) -> None:
    path = tmp_path / f"photo.{suffix}"
    cv2.imwrite(str(path), np.full((61, 80, 3), (40, 60, 200), np.uint8))  # BGR: a red
    if not named:
        path = path.rename(tmp_path / "0f1e2d")
    engine = PyAVDecoder()
    facts = engine.inspect(path)
    assert (facts.kind, facts.duration, facts.audio) == (MediaKind.PHOTO, None, None)
    assert facts.video is not None
    assert (facts.video.frame_count, facts.video.format.width, facts.video.format.height) == (1, 80, 60)
    assert [advice.code for advice in facts.advice] == ["ODD_SIZE"]
    frames = list(engine.decode_frames(path, None, None).frames)
    assert [frame.pts for frame in frames] == [0]
    assert frames[0].format == facts.video.format
    assert show_rgb(frames[0]) == pytest.approx((200, 60, 40), abs=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_and_mirrored_as_their_exif_says(tmp_path: Path, orientation: int) -> None:
    picture = np.full((48, 64, 3), 40, np.uint8)
    picture[:24, :32] = 200
    content = cv2.imencode(".jpg", picture)[1].tobytes()
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, orientation, 0)
    path = tmp_path / "phone.jpg"
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])
    frame = next(PyAVDecoder().decode_frames(path, None, None).frames)
    upright = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)  # OpenCV applies EXIF itself
    assert frame.planes[0].shape == upright.shape
    assert np.abs(frame.planes[0].astype(int) - upright).max() < 12


def show_rgb(frame: Frame) -> tuple[float, float, float]:
    """The middle's colour by the standards' formulas."""
    color = frame.format.color
    red, blue = (0.2126, 0.0722) if color.matrix == 1 else (0.299, 0.114)
    luma, u, v = (float(plane[plane.shape[0] // 2, plane.shape[1] // 2]) for plane in frame.planes)
    u, v = u - 128, v - 128
    if color.full_range:
        luma, u, v = luma / 255, u / 255, v / 255
    else:
        luma, u, v = (luma - 16) / 219, u / 224, v / 224
    r, b = luma + 2 * (1 - red) * v, luma + 2 * (1 - blue) * u
    return r * 255, (luma - red * r - blue * b) / (1 - red - blue) * 255, b * 255


def test_odd_sizes_lose_their_last_column_and_row(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mkv", count=2, size=(65, 49), pixel_format="yuv444p", options={"qp": "0"})
    frame = next(PyAVDecoder().decode_frames(path, None, None).frames)
    assert (frame.format.width, frame.format.height) == (64, 48)
    assert [plane.shape for plane in frame.planes] == [(48, 64)] * 3


def test_non_square_pixels_are_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wide.mp4", count=2, sample_aspect_ratio=Fraction(4, 3))
    facts = PyAVDecoder().inspect(path)
    assert facts.video is not None
    assert facts.video.sample_aspect_ratio == Fraction(4, 3)
    assert "NON_SQUARE_PIXELS" in [advice.code for advice in facts.advice]


def test_late_sound_begins_with_silence(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.mkv", tone=(Fraction(1, 2), Fraction(1), 16000))
    samples, rate = hear(path)
    assert (rate, len(samples)) == (16000, 24000)
    assert np.all(samples[:8000] == 0)
    expected = np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000) * 16000 / 32768
    assert np.abs(samples[8000:, 0] - expected).max() < 1e-3
    audio = PyAVDecoder().inspect(path).audio
    assert audio is not None
    assert (audio.start_time, audio.duration) == (Fraction(1, 2), 1)


def test_time_begins_with_the_first_stream(tmp_path: Path) -> None:
    pts = [90000 + 40 * number for number in range(40)]  # a minute and a half into a longer recording
    path = write_video(
        tmp_path / "cut.mkv", pts=pts, time_base=Fraction(1, 1000), tone=(Fraction(361, 4), Fraction(1), 16000)
    )
    stream = PyAVDecoder().decode_frames(path, Fraction(0), Fraction(1, 10))
    assert [frame.pts * stream.time_base for frame in stream.frames] == [0, Fraction(40, 1000), Fraction(80, 1000)]
    samples, _ = hear(path)
    assert int(np.flatnonzero(np.abs(samples) > 0.01)[0]) == pytest.approx(4000, abs=17)


def test_a_gap_in_the_sound_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "gap.mka"
    with av.open(str(path), "w", format="matroska") as container:
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for start in (0, 8000, 20000):  # the last half a second late
            frame = av.AudioFrame.from_ndarray(np.full((1, 8000), 8192, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    samples, _ = hear(path)
    assert len(samples) == 28000
    assert np.array_equal(samples[:, 0] == 0, (np.arange(28000) >= 16000) & (np.arange(28000) < 20000))


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_resampling_keeps_time_and_level(tmp_path: Path, rate: int) -> None:
    tone = (np.sin(np.arange(44100 * 2) * 2 * np.pi * 300 / 44100) * 16000).astype(np.int16)
    path = write_wave(tmp_path / "tone.wav", np.stack([tone, tone], 1), 44100)
    samples, got = hear(path, rate, 1)
    assert got == rate
    assert abs(len(samples) - 2 * rate) <= 1
    expected = np.sin(np.arange(len(samples)) * 2 * np.pi * 300 / rate) * 16000 / 32768
    assert np.abs(samples[:, 0] - expected)[rate // 10 : -rate // 10].max() < 0.01


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_as_asked(tmp_path: Path, channels: int) -> None:
    path = write_wave(tmp_path / "stereo.wav", np.full((4000, 2), 1000, np.int16), 8000)
    samples, _ = hear(path, None, channels)
    assert samples.shape == (4000, channels)


def test_a_recording_is_audio_alone(tmp_path: Path) -> None:
    path = write_wave(tmp_path / "voice.wav", np.ones((12000, 1), np.int16), 8000)
    facts = PyAVDecoder().inspect(path)
    assert (facts.kind, facts.video, facts.duration) == (MediaKind.AUDIO, None, Fraction(3, 2))
    assert refusal_of(path, "frames") == "NO_VIDEO"


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("mp3", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame(64, 64, "yuvj420p")
        picture.pts = 0
        container.mux(cover.encode(picture))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert PyAVDecoder().inspect(path).kind is MediaKind.AUDIO
    assert refusal_of(path, "frames") == "NO_VIDEO"


def test_video_without_sound_has_no_audio(plain: Path) -> None:
    assert refusal_of(plain, "audio") == "NO_AUDIO"


def test_sound_of_no_length_is_empty(tmp_path: Path) -> None:
    assert refusal_of(write_wave(tmp_path / "empty.wav", np.zeros((0, 1), np.int16), 8000), "audio") == "EMPTY_AUDIO"


@pytest.mark.parametrize("act", ["inspect", "frames", "audio"])
@pytest.mark.parametrize("content", [b"", b"hello, lips\n" * 400, bytes(5000), np.random.default_rng(0).bytes(50000)])
def test_what_is_no_media_is_refused(tmp_path: Path, content: bytes, act: str) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(content)
    assert refusal_of(path, act) == "NOT_MEDIA"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path) == "NOT_MEDIA"


def test_files_that_name_other_files_are_refused(tmp_path: Path, plain: Path) -> None:
    playlists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{plain}\n#EXT-X-ENDLIST\n",
        "list.txt": f"ffconcat version 1.0\nfile '{plain}'\n",
        "list.sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "list.mpd": f'<MPD type="static"><Period><BaseURL>{plain}</BaseURL></Period></MPD>',
    }
    for name, content in playlists.items():
        (tmp_path / name).write_text(content)
        assert refusal_of(tmp_path / name) == "NOT_MEDIA"


@pytest.mark.parametrize("size", [(2, 2), (14, 64), (64, 14)])
def test_tiny_pictures_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "tiny.mkv", count=2, size=size)
    assert refusal_of(path) == refusal_of(path, "frames") == "PICTURE_TOO_SMALL"


def test_a_photo_of_one_pixel_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    assert refusal_of(tmp_path / "dot.png") == "PICTURE_TOO_SMALL"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "png", "jpg"])
def test_truncated_files_give_their_frames_or_a_clear_refusal(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    if suffix in ("png", "jpg"):
        cv2.imwrite(str(whole), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    else:
        write_video(whole, tone=(Fraction(0), Fraction(3, 2), 16000) if suffix == "mkv" else None)
    content, engine, counts, reasons = whole.read_bytes(), PyAVDecoder(), [], set()
    for tenth in range(1, 10):
        path = tmp_path / f"cut{tenth}.{suffix}"
        path.write_bytes(content[: len(content) * tenth // 10])
        try:
            engine.inspect(path)
            counts.append(len(list(engine.decode_frames(path, None, None).frames)))
        except Refusal as refusal:
            reasons.add(refusal.reason)
            counts.append(0)
    assert reasons <= {"TRUNCATED_MEDIA"}
    assert counts == sorted(counts)  # more of the file, no fewer frames
    if suffix in ("mkv", "ts"):
        assert counts[-1] > 25


def test_damage_in_the_middle_costs_frames_but_not_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "damaged.ts", count=100, options={"g": "10", "bf": "0", "crf": "1"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(1).bytes(400)
    path.write_bytes(content)
    stream = PyAVDecoder().decode_frames(path, None, None)
    times = [frame.pts for frame in stream.frames]
    assert len(times) > 70
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] * stream.time_base == Fraction(99, 25)  # later frames keep their times


def test_repeated_times_are_made_to_increase(tmp_path: Path) -> None:
    path = tmp_path / "repeated.mkv"
    source = write_video(tmp_path / "source.mkv", count=6, time_base=Fraction(1, 1000), pts=[0, 40, 80, 120, 160, 200],
                         codec="mjpeg", pixel_format="yuvj420p", options={})  # fmt: skip
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        copied = container.add_stream_from_template(given.streams.video[0])
        for packet, time in zip(given.demux(video=0), [0, 40, 40, 40, 160, 200], strict=False):
            if packet.size:
                packet.pts = packet.dts = time
                packet.stream = copied
                container.mux(packet)
    stream = PyAVDecoder().decode_frames(path, None, None)
    assert [frame.pts * stream.time_base * 1000 for frame in stream.frames] == [0, 40, 41, 42, 160, 200]


def test_a_stream_that_changes_size_keeps_its_first_format(tmp_path: Path) -> None:
    parts = []
    for index, size in enumerate([(64, 48), (96, 80)]):
        parts.append(write_video(tmp_path / f"{index}.ts", count=10, size=size).read_bytes())
    path = tmp_path / "changing.ts"
    path.write_bytes(b"".join(parts))
    frames = list(PyAVDecoder().decode_frames(path, None, None).frames)
    assert len(frames) > 15
    assert {frame.planes[0].shape for frame in frames} == {(48, 64)}


def test_a_stream_can_be_left_early(plain: Path) -> None:
    frames = PyAVDecoder().decode_frames(plain, None, None).frames
    first = next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert np.all(first.planes[0][30:, 40:] >= 16)  # its memory is still there


def test_real_clips_keep_their_counts(clips: Path) -> None:
    engine = PyAVDecoder()
    names = ["rotated_face.mov", "vfr_face.mov", "data_streams.mp4", "iphone_hevc60_rotated_noface.mov"]
    for path in [clips / "odd" / name for name in names]:
        facts = engine.inspect(path)
        assert facts.video is not None
        stream = engine.decode_frames(path, None, None)
        assert sum(1 for _ in stream.frames) == facts.video.frame_count
        samples, rate = hear(path, 16000, 1)
        assert facts.audio is not None
        assert len(samples) / rate == pytest.approx(float(facts.audio.start_time + facts.audio.duration), abs=0.05)
