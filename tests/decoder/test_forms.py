"""Fields, transparency, HDR and every form of sound: what is made of them, and what the file's owner is told."""

import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from services.decoder.engines import MediaFacts
from services.decoder.engines.pyav import PyAVDecoder
from services.runtime.frames import ContentLight, MasteringDisplay

RATE = 25
HDR10 = (
    "mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):cll=1000,400"
    ":colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
)


def write_pictures(
    path: Path, pictures: list[np.ndarray], layout: str, coder: str = "libx264", options: dict[str, str] | None = None
) -> Path:
    """`pictures`: luma (height, width); chroma is grey, and what is transparent opaque."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(coder, rate=RATE, options=options or {"qp": "0"})
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt = layout
        for number, luma in enumerate(pictures):
            picture = av.VideoFrame(stream.width, stream.height, layout)
            kind = np.dtype("<u2" if "10" in layout else "u1")
            for index, plane in enumerate(picture.planes):
                samples = np.full(
                    (plane.height, plane.line_size // kind.itemsize), 512 if kind.itemsize == 2 else 128, kind
                )
                if not index:
                    samples[:, : stream.width] = luma
                plane.update(samples.tobytes())
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return path


def draw_field(time: int) -> np.ndarray:
    """A bright bar that moves 4 pixels a field, as seen at that field's time. (64, 96) uint8."""
    picture = np.full((64, 96), 40, np.uint8)
    picture[:, 4 * time : 4 * time + 20] = 200
    return picture


def weave(frame: int) -> np.ndarray:
    """Two fields of different times in one picture, as an interlaced camera gives them; the lower one first."""
    picture = draw_field((2 * frame + 1) % 18)
    picture[1::2] = draw_field(2 * frame % 18)[1::2]
    return picture


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"qp": "0", "x264-params": "interlaced=1:bff=1:keyint=10:bframes=0"}
    path = tmp_path_factory.mktemp("media") / "fields.mp4"
    return write_pictures(path, [weave(frame) for frame in range(80)], "yuv420p", options=options)


def advice_of(facts: MediaFacts) -> dict[str, str]:
    return {advice.code: advice.message for advice in facts.advice}


def test_interlaced_pictures_lose_their_combs_and_keep_their_times(interlaced: Path) -> None:
    engine = PyAVDecoder()
    facts = engine.inspect(interlaced)
    assert facts.video is not None
    assert facts.video.interlaced
    assert "25.00 a second" in advice_of(facts)["INTERLACED"]
    stream = engine.decode_frames(interlaced, None, None)
    frames = list(stream.frames)
    assert [frame.pts * stream.time_base for frame in frames] == [Fraction(number, RATE) for number in range(80)]
    for number, frame in enumerate(frames[1:-1], 1):
        luma = frame.planes[0].astype(int)
        combs = np.abs(luma[1:-1:2] - (luma[:-2:2] + luma[2::2]) / 2).mean()
        assert combs < 6, number  # as woven: 20
        lower = draw_field(2 * number % 18)
        assert np.array_equal(frame.planes[0][1::2], lower[1::2])  # the first field stays as it is


def test_an_interlaced_frame_is_the_same_wherever_decoding_begins(interlaced: Path) -> None:
    engine = PyAVDecoder()
    whole = list(engine.decode_frames(interlaced, None, None).frames)
    for start in (29, 30, 31, 40, 55, 79):
        part = list(engine.decode_frames(interlaced, Fraction(start, RATE), Fraction(start + 3, RATE)).frames)
        assert [frame.pts for frame in part] == [frame.pts for frame in whole[start : start + 3]]
        for own, expected in zip(part, whole[start:], strict=False):
            assert all(map(np.array_equal, own.planes, expected.planes))


def test_progressive_pictures_pass_the_filter_by(tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "whole.mp4", [weave(frame) for frame in range(4)], "yuv420p")
    engine = PyAVDecoder()
    facts = engine.inspect(path)
    assert facts.video is not None
    assert not facts.video.interlaced
    for number, frame in enumerate(engine.decode_frames(path, None, None).frames):
        assert np.array_equal(frame.planes[0], weave(number))


@pytest.mark.parametrize(("layout", "coder"), [("yuva420p", "ffv1"), ("yuva444p10le", "prores_ks"), ("rgba", "png")])
def test_transparency_is_left_out_and_told(tmp_path: Path, layout: str, coder: str) -> None:
    luma = np.full((48, 64), 90, np.uint8)
    path = tmp_path / ("clear.mkv" if coder == "ffv1" else "clear.mov")
    if layout == "rgba":
        with av.open(str(path), "w") as file:
            stream = file.add_stream(coder, rate=RATE)
            stream.width, stream.height, stream.pix_fmt = 64, 48, layout
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 4), 90, np.uint8), format="rgba")))
            file.mux(stream.encode(None))
    else:
        options = {"profile": "4"} if coder == "prores_ks" else {"level": "3"}
        write_pictures(path, [luma], layout, coder, options)
    engine = PyAVDecoder()
    facts = engine.inspect(path)
    assert facts.video is not None
    assert facts.video.alpha
    assert "left out" in advice_of(facts)["ALPHA"]
    assert len(next(engine.decode_frames(path, None, None).frames).planes) == 3


def test_what_an_hdr_picture_says_of_its_light_is_told(tmp_path: Path) -> None:
    luma = np.full((48, 64), 400, np.uint16)
    options = {"qp": "0", "x264-params": HDR10}
    facts = PyAVDecoder().inspect(write_pictures(tmp_path / "hdr.mp4", [luma] * 3, "yuv420p10le", options=options))
    video = facts.video
    assert video is not None
    assert (video.format.color.matrix, video.format.color.primaries, video.format.color.transfer) == (9, 9, 16)
    primaries = (34000, 16000, 13250, 34500, 7500, 3000)
    assert video.mastering_display == MasteringDisplay(primaries, (15635, 16450), 50, 10_000_000)
    assert video.content_light == ContentLight(1000, 400)
    assert "PQ, 10 bits" in advice_of(facts)["HDR"]


def test_super_whites_are_kept(tmp_path: Path) -> None:
    luma = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))  # below 16 and above 235, too
    path = write_pictures(tmp_path / "ramp.mp4", [luma], "yuv420p")
    frame = next(PyAVDecoder().decode_frames(path, None, None).frames)
    assert not frame.format.color.full_range
    assert np.array_equal(frame.planes[0], luma)


SOUNDS = [
    ("wav", "pcm_s16le"),
    ("wav", "pcm_f32le"),
    ("mp3", "libmp3lame"),
    ("m4a", "aac"),
    ("aac", "aac"),
    ("flac", "flac"),
    ("ogg", "libopus"),
    ("opus", "libopus"),
    ("webm", "libopus"),
    ("mka", "flac"),
]


@pytest.mark.parametrize(("suffix", "coder"), SOUNDS)
@pytest.mark.parametrize("rate", [48000, 44100])
def test_sounds_come_whole_and_on_time(tmp_path: Path, suffix: str, coder: str, rate: int) -> None:
    """A click at half a second stays there, whatever priming and padding the codec adds."""
    if coder == "libopus" and rate != 48000:
        pytest.skip("Opus has no such rate")
    samples = (np.sin(np.arange(rate * 5 // 4) * 2 * np.pi * 300 / rate) * 300).astype(np.int16)
    samples[rate // 2 : rate // 2 + 40] = 20000
    path = tmp_path / f"sound.{suffix}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(coder, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for resampled in av.AudioResampler(stream.codec_context.format, "mono", rate, stream.frame_size).resample(
            frame
        ):
            file.mux(stream.encode(resampled))
        file.mux(stream.encode(None))
    heard = np.concatenate([block.samples for block in PyAVDecoder().decode_audio(path, None, 1)])[:, 0]
    priming = 0.05 if suffix == "aac" else 0.001  # a bare AAC stream cannot say how much of it is priming
    assert len(heard) / rate == pytest.approx(1.25, abs=0.08 if suffix in ("mp3", "aac") else 0.03)
    assert int(np.argmax(np.abs(heard))) / rate == pytest.approx(0.5, abs=priming + 0.001)


def test_what_is_heard_of_a_video_is_on_its_frames_time(tmp_path: Path) -> None:
    """Opus in WebM begins before time 0; a picture and a click of one moment stay of one moment."""
    path, rate = tmp_path / "priming.webm", 48000
    samples = np.zeros(rate * 2, np.float32)
    samples[rate : rate + 60] = 0.9
    with av.open(str(path), "w") as file:
        video = file.add_stream("libvpx", rate=RATE, options={"crf": "10", "b": "1M", "deadline": "realtime"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = file.add_stream("libopus", rate=rate, layout="mono")
        for number in range(2 * RATE):
            picture = av.VideoFrame(64, 48, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([220 if number >= RATE else 30]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            file.mux(video.encode(picture))
        file.mux(video.encode(None))
        for first in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + 960], "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
    engine = PyAVDecoder()
    stream = engine.decode_frames(path, None, None)
    flash = next(frame.pts * stream.time_base for frame in stream.frames if frame.planes[0].mean() > 100)
    heard = np.concatenate([block.samples for block in engine.decode_audio(path, None, 1)])[:, 0]
    assert int(np.argmax(np.abs(heard) > 0.3)) / rate == pytest.approx(float(flash), abs=0.003)


def test_a_wave_file_is_heard_to_the_sample(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-20000, 20000, 12345).astype("<i2")
    with wave.open(str(tmp_path / "exact.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    heard = np.concatenate([block.samples for block in PyAVDecoder().decode_audio(tmp_path / "exact.wav", None, None)])
    assert np.array_equal(np.round(heard[:, 0] * 32768), samples)


def add_clean_aperture(path: Path, aperture: tuple[int, ...]) -> Path:
    """Puts a clap box into the first sample entry of an MP4 whose index comes last."""
    content = bytearray(path.read_bytes())
    entry = content.index(b"avc1", content.index(b"stsd")) - 4
    size = int.from_bytes(content[entry : entry + 4], "big")
    content[entry + size : entry + size] = struct.pack(">I4s8i", 40, b"clap", *aperture)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = content.index(kind, content.index(b"moov")) - 4
        content[at : at + 4] = (int.from_bytes(content[at : at + 4], "big") + 40).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def number_pixels(x: int, y: int) -> np.ndarray:
    """(96, 128) uint8: luma that tells where it is, from (x, y) on."""
    rows, columns = np.mgrid[y : y + 96, x : x + 128]
    return (16 + (rows + columns) % 200).astype(np.uint8)


@pytest.mark.parametrize(
    ("aperture", "expected"),
    [
        ((100, 1, 80, 1, 0, 1, 0, 1), (14, 8, 100, 80)),
        ((100, 1, 80, 1, 10, 1, -8, 1), (24, 0, 100, 80)),
        ((101, 1, 81, 1, 0, 1, 0, 1), (14, 8, 100, 80)),  # half a pixel off the grid
        ((300, 1, 80, 1, 0, 1, 0, 1), (0, 0, 128, 96)),  # larger than the picture
        ((100, 0, 80, 1, 0, 1, 0, 1), (0, 0, 128, 96)),
    ],
)
def test_the_clean_aperture_is_shown(
    tmp_path: Path, aperture: tuple[int, ...], expected: tuple[int, int, int, int]
) -> None:
    path = write_pictures(tmp_path / "clap.mp4", [number_pixels(0, 0)] * 2, "yuv420p")
    add_clean_aperture(path, aperture)
    engine = PyAVDecoder()
    facts = engine.inspect(path)
    x, y, width, height = expected
    frame = next(engine.decode_frames(path, None, None).frames)
    assert frame.planes[0].shape == (height, width)
    assert np.array_equal(frame.planes[0], number_pixels(0, 0)[y : y + height, x : x + width])
    assert ("CROPPED" in advice_of(facts)) == (expected != (0, 0, 128, 96))


def test_matroskas_crop_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "crop.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        picture = av.VideoFrame(128, 96, "yuv420p")
        for index, plane in enumerate(picture.planes):
            samples = np.full((plane.height, plane.line_size), 128, np.uint8)
            if not index:
                samples[:, :128] = number_pixels(0, 0)
            plane.update(samples.tobytes())
        file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    content = path.read_bytes()
    unit = b"\x54\xb2\x81\x04"  # of a size to show it at: made into what to leave out at the left
    assert unit in content
    path.write_bytes(content.replace(unit, b"\x54\xcc\x81\x0a"))
    frame = next(PyAVDecoder().decode_frames(path, None, None).frames)
    assert np.array_equal(frame.planes[0], number_pixels(0, 0)[:, 10:])
