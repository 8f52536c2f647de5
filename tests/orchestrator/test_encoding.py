"""Segments and the finished file, read back with FFmpeg: every frame, every time, every tag."""

import hashlib
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from services.orchestrator.assembling import AI_LABEL, CopiedSound, EncodedSound, assemble
from services.orchestrator.encoding import EncodeSettings, PictureStock, SegmentEncoder, to_picture
from services.orchestrator.formats import CONTAINERS, VIDEO_CODECS
from services.orchestrator.timeline import SyncMode, Timeline, build_timeline, cut_segments
from services.runtime.frames import Color, Frame, FrameFormat, PixelFormat
from services.runtime.refusal import Refusal

WIDTH, HEIGHT = 168, 96  # rows that FFmpeg pads
YUV420P = FrameFormat(WIDTH, HEIGHT, PixelFormat.YUV420P, Color(1, 1, 1))
SPEECH_RATE = 16000  # hertz


def draw_frame(number: int, frame_format: FrameFormat = YUV420P) -> Frame:
    """A soft gradient that drifts, with the number in its lower half as eight dark or light fields."""
    depth = 1 << (frame_format.bit_depth - 8)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    luma = 60 + 60 * (1 + np.sin((columns + 2 * rows + 3 * number) / 25))
    for bit in range(8):
        luma[HEIGHT // 2 :, bit * 21 : (bit + 1) * 21] = 200 if number >> bit & 1 else 40
    chroma = frame_format.plane_shapes[1]
    planes = (luma * depth, np.full(chroma, 110 * depth), np.full(chroma, (120 + number % 20) * depth))
    return Frame(0, frame_format, tuple(plane.astype(frame_format.dtype) for plane in planes))


def read_number(picture: np.ndarray) -> int:
    """The number that draw_frame drew, from the luma of an 8-bit picture."""
    fields = [picture[HEIGHT * 3 // 4, bit * 21 + 10] for bit in range(8)]
    return sum(1 << bit for bit, field in enumerate(fields) if field > 120)


def encode_segments(folder: Path, timeline: Timeline, settings: EncodeSettings, seconds: int = 1) -> list[Path]:
    paths = []
    for span in cut_segments(timeline, Fraction(seconds)):
        paths.append(folder / f"{span.index}.mp4")
        with SegmentEncoder(paths[-1], settings) as encoder:
            for frame in range(span.first_frame, span.first_frame + span.frame_count):
                encoder.encode(to_picture(draw_frame(int(timeline.source[frame]), settings.format))[0])
    return paths


def make_speech(seconds: float, channels: int = 1, rate: int = SPEECH_RATE):
    """A tone, in blocks of odd length."""
    samples = 0.3 * np.sin(np.arange(int(seconds * rate)) * (2 * np.pi * 440 / rate))
    tone = np.repeat(samples[:, None], channels, axis=1).astype(np.float32)
    return (tone[start : start + 3001] for start in range(0, len(tone), 3001))


def decode_pictures(path: Path) -> list[av.VideoFrame]:
    with av.open(path) as container:
        return list(container.decode(video=0))


def read_packets(path: Path) -> list[av.Packet]:
    with av.open(path) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def build_even(frame_count: int, duration: Fraction, mode: SyncMode = SyncMode.CUT_OFF) -> Timeline:
    pts = [1001 * index for index in range(frame_count)]
    return build_timeline(pts, Fraction(1, 30000), Fraction(1001, 30000), duration, mode)


def build_uneven(duration: Fraction) -> Timeline:
    gaps = np.random.default_rng(5).integers(20, 90, 40)
    return build_timeline(np.cumsum(gaps), Fraction(1, 1000), Fraction(1, 20), duration, SyncMode.BOUNCE)


@pytest.mark.parametrize("preset", ["ultrafast", "veryfast", "medium"])
@pytest.mark.parametrize(
    "timeline", [build_even(80, Fraction(4)), build_uneven(Fraction(41, 9))], ids=["even", "uneven"]
)
def test_the_finished_file_shows_every_frame_at_its_time(tmp_path, timeline, preset):
    settings = EncodeSettings(YUV420P, timeline.frame_rate, preset=preset)
    segments = encode_segments(tmp_path, timeline, settings)
    path = tmp_path / "out.mp4"
    assemble(segments, timeline, EncodedSound(make_speech(10), SPEECH_RATE), path)

    assert len(segments) > 1
    pictures = decode_pictures(path)
    assert [picture.pts * picture.time_base for picture in pictures] == [
        pts * timeline.time_base for pts in timeline.pts.tolist()
    ]
    assert [read_number(picture.to_ndarray()) for picture in pictures] == timeline.source.tolist()

    packets = read_packets(path)
    assert all(before.dts < after.dts for before, after in pairwise(packets))
    assert all(packet.dts <= packet.pts for packet in packets)
    with av.open(path) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.start_time == 0
        assert video.duration * video.time_base == timeline.end
        assert abs(audio.duration * audio.time_base - timeline.duration) <= Fraction(1, 1000)
        assert audio.start_time == 0


def test_an_even_rate_is_kept_exactly(tmp_path):
    timeline = build_even(80, Fraction(2))
    segments = encode_segments(tmp_path, timeline, EncodeSettings(YUV420P, timeline.frame_rate))
    assemble(segments, timeline, EncodedSound(make_speech(2), SPEECH_RATE), tmp_path / "out.mp4")

    with av.open(tmp_path / "out.mp4") as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
        assert container.streams.video[0].frames == timeline.frame_count == 60


def test_joining_changes_no_picture(tmp_path):
    timeline = build_even(75, Fraction(4))
    segments = encode_segments(tmp_path, timeline, EncodeSettings(YUV420P, timeline.frame_rate))
    assemble(segments, timeline, EncodedSound(make_speech(4), SPEECH_RATE), tmp_path / "out.mp4")

    alone = [picture.to_ndarray() for segment in segments for picture in decode_pictures(segment)]
    joined = [picture.to_ndarray() for picture in decode_pictures(tmp_path / "out.mp4")]
    assert len(alone) == 75
    assert all(np.array_equal(before, after) for before, after in zip(alone, joined, strict=True))


@pytest.mark.parametrize("pixel_format", [PixelFormat(number) for number in range(1, 7)])
def test_pictures_keep_their_format_and_their_looks(tmp_path, pixel_format):
    frame_format = FrameFormat(WIDTH, HEIGHT, pixel_format)
    frames = [draw_frame(number, frame_format) for number in range(5)]
    with SegmentEncoder(tmp_path / "out.mp4", EncodeSettings(frame_format, Fraction(25), crf=12)) as encoder:
        for frame in frames:
            encoder.encode(to_picture(frame)[0])

    for frame, picture in zip(frames, decode_pictures(tmp_path / "out.mp4"), strict=True):
        for plane, decoded in zip(frame.planes, picture.planes, strict=True):
            height, width = plane.shape
            samples = np.frombuffer(memoryview(decoded), frame_format.dtype).reshape(height, -1)[:, :width]
            error = np.abs(samples.astype(int) - plane) / (1 << (frame_format.bit_depth - 8))
            assert error.mean() < 2


@pytest.mark.parametrize("color", [Color(9, 9, 16, False), Color(5, 5, 6, True), Color(1, 1, 1, False), Color()])
def test_colour_and_pixel_shape_are_told(tmp_path, color):
    frame_format = FrameFormat(WIDTH, HEIGHT, PixelFormat.YUV420P10, color)
    timeline = build_even(10, Fraction(1))
    settings = EncodeSettings(frame_format, timeline.frame_rate, sample_aspect_ratio=Fraction(4, 3))
    segments = encode_segments(tmp_path, timeline, settings)
    assemble(segments, timeline, EncodedSound(make_speech(1), SPEECH_RATE), tmp_path / "out.mp4")

    with av.open(tmp_path / "out.mp4") as container:
        video = container.streams.video[0]
        context = video.codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (
            color.matrix,
            color.primaries,
            color.transfer,
        )
        assert context.color_range in ((2,) if color.full_range else (1, 0))  # not told: limited
        assert video.sample_aspect_ratio == Fraction(4, 3)


def test_segments_stand_alone_and_come_out_alike(tmp_path):
    timeline = build_even(75, Fraction(4))
    settings = EncodeSettings(YUV420P, timeline.frame_rate)
    (tmp_path / "again").mkdir()
    segments = encode_segments(tmp_path, timeline, settings)
    again = encode_segments(tmp_path / "again", timeline, settings)

    assert [path.read_bytes() for path in segments] == [path.read_bytes() for path in again]
    assert all(read_packets(path)[0].is_keyframe for path in segments)
    headers = set()
    for path in segments:
        with av.open(path) as container:
            headers.add(container.streams.video[0].codec_context.extradata)
    assert len(headers) == 1


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_segment_may_have_few_frames(tmp_path: Path, codec: str, frames: int) -> None:
    settings = EncodeSettings(YUV420P, Fraction(25), VIDEO_CODECS[codec].crf, "ultrafast", codec=codec)
    for attempt in range(8):
        path = tmp_path / f"segment{attempt}"
        with SegmentEncoder(path, settings) as encoder:
            for number in range(frames):
                encoder.encode(to_picture(draw_frame(number))[0])
        with av.open(path) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        times = [packet.dts for packet in packets]
        assert len(times) == frames
        assert times == sorted(set(times))
        assert all(packet.pts - packet.dts <= 4 * packet.duration for packet in packets)


def test_a_single_frame_is_a_video(tmp_path):
    timeline = build_even(1, Fraction(1, 100))
    segments = encode_segments(tmp_path, timeline, EncodeSettings(YUV420P, timeline.frame_rate))
    assemble(segments, timeline, EncodedSound(make_speech(1), SPEECH_RATE), tmp_path / "out.mp4")

    [picture] = decode_pictures(tmp_path / "out.mp4")
    assert picture.pts == 0


def test_the_file_plays_while_it_loads_and_says_that_it_is_generated(tmp_path):
    timeline = build_even(30, Fraction(1))
    segments = encode_segments(tmp_path, timeline, EncodeSettings(YUV420P, timeline.frame_rate))
    path = tmp_path / "out.mp4"
    assemble(
        segments,
        timeline,
        EncodedSound(make_speech(1), SPEECH_RATE),
        path,
        metadata={"title": "A title", "comment": ""},
    )

    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(path) as container:
        assert container.metadata.items() >= {**AI_LABEL, "title": "A title"}.items()


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (48000, 2), (10000, 1), (192000, 1)])
def test_the_speech_is_heard_from_the_start_and_cut_at_the_end(tmp_path, rate, channels):
    timeline = build_even(60, Fraction(3, 2))
    segments = encode_segments(tmp_path, timeline, EncodeSettings(YUV420P, timeline.frame_rate))
    path = tmp_path / "out.mp4"
    assemble(segments, timeline, EncodedSound(make_speech(5, channels, rate), rate), path)

    with av.open(path) as container:
        stream = container.streams.audio[0]
        assert stream.channels == channels
        assert abs(stream.duration * stream.time_base - Fraction(3, 2)) <= Fraction(2, 1000)
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
        heard = sound[: int(1.5 * stream.rate)]
        spectrum = np.abs(np.fft.rfft(heard))
        assert abs(spectrum.argmax() * stream.rate / len(heard) - 440) < 2
        assert np.abs(heard[: stream.rate // 20]).max() > 0.25  # no silence before it
        assert abs(np.sqrt((heard**2).mean()) - 0.3 / np.sqrt(2)) < 0.02


def test_short_speech_leaves_the_pictures_alone(tmp_path):
    timeline = build_even(90, Fraction(3))
    segments = encode_segments(tmp_path, timeline, EncodeSettings(YUV420P, timeline.frame_rate))
    assemble(segments, timeline, EncodedSound(make_speech(0.5), SPEECH_RATE), tmp_path / "out.mp4")
    assert len(decode_pictures(tmp_path / "out.mp4")) == 90


def test_speech_without_samples_is_refused(tmp_path):
    timeline = build_even(10, Fraction(1))
    segments = encode_segments(tmp_path, timeline, EncodeSettings(YUV420P, timeline.frame_rate))
    with pytest.raises(Refusal) as refused:
        assemble(segments, timeline, EncodedSound(iter([]), SPEECH_RATE), tmp_path / "out.mp4")
    assert refused.value.reason == "EMPTY_AUDIO"


def test_segments_that_do_not_fit_are_refused(tmp_path):
    timeline = build_even(75, Fraction(4))
    settings = EncodeSettings(YUV420P, timeline.frame_rate)
    segments = encode_segments(tmp_path, timeline, settings)
    (tmp_path / "other").mkdir()
    other = encode_segments(
        tmp_path / "other", timeline, EncodeSettings(YUV420P, timeline.frame_rate, preset="ultrafast")
    )

    for wrong in (segments[:-1], [*segments, segments[0]], [segments[0], *other[1:]]):
        with pytest.raises(Refusal) as refused:
            assemble(wrong, timeline, EncodedSound(make_speech(4), SPEECH_RATE), tmp_path / "out.mp4")
        assert refused.value.reason == "INTERNAL_ERROR"


def test_a_frame_of_another_format_does_not_enter_a_segment(tmp_path):
    with (
        pytest.raises(ValueError, match="does not fit"),
        SegmentEncoder(tmp_path / "out.mp4", EncodeSettings(YUV420P, Fraction(25))) as encoder,
    ):
        encoder.encode(to_picture(draw_frame(0, FrameFormat(WIDTH, HEIGHT, PixelFormat.YUV444P)))[0])


def test_a_real_clips_frames_survive_with_their_times(tmp_path, clips):
    with av.open(clips / "talking" / "retalking_1.mp4") as container:
        stream = container.streams.video[0]
        time_base = stream.time_base
        pictures = [picture.reformat(format="yuv420p") for picture in container.decode(stream)]
    frame_format = FrameFormat(pictures[0].width, pictures[0].height, PixelFormat.YUV420P)
    frames = []
    for picture in pictures:
        shapes = zip(picture.planes, frame_format.plane_shapes, strict=True)
        planes = [
            np.frombuffer(memoryview(plane), "u1").reshape(shape[0], -1)[:, : shape[1]] for plane, shape in shapes
        ]
        frames.append(Frame(picture.pts, frame_format, tuple(planes)))
    pts = [frame.pts for frame in frames]
    timeline = build_timeline(pts, time_base, Fraction(1, 25), Fraction(30), SyncMode.CUT_OFF)
    settings = EncodeSettings(frame_format, timeline.frame_rate)
    segments = []
    for span in cut_segments(timeline):
        segments.append(tmp_path / f"{span.index}.mp4")
        with SegmentEncoder(segments[-1], settings) as encoder:
            for frame in frames[span.first_frame : span.first_frame + span.frame_count]:
                encoder.encode(to_picture(frame)[0])
    assemble(segments, timeline, EncodedSound(make_speech(30), SPEECH_RATE), tmp_path / "out.mp4")

    decoded = decode_pictures(tmp_path / "out.mp4")
    assert [picture.pts * picture.time_base for picture in decoded] == [(time - pts[0]) * time_base for time in pts]
    for frame, picture in zip(frames, decoded, strict=True):
        luma = np.frombuffer(memoryview(picture.planes[0]), "u1").reshape(picture.height, -1)[:, : picture.width]
        assert np.abs(luma.astype(int) - frame.planes[0]).mean() < 3


def test_the_digest_does_not_depend_on_how_planes_lie_in_memory(tmp_path):
    digests = set()
    for name, order in (("rows", "C"), ("columns", "F")):
        with SegmentEncoder(tmp_path / name, EncodeSettings(YUV420P, Fraction(25))) as encoder:
            for number in range(10):
                frame = draw_frame(number)
                encoder.encode(
                    to_picture(Frame(number, YUV420P, tuple(np.array(plane, order=order) for plane in frame.planes)))[0]
                )
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_pictures_whose_memory_was_used_before_are_encoded_alike(tmp_path: Path, codec: str) -> None:
    """Whatever the encoder still holds of those that came back."""
    digests = []
    for name, stock in (("fresh", None), ("used", PictureStock())):
        settings = EncodeSettings(YUV420P, Fraction(25), VIDEO_CODECS[codec].crf, "ultrafast", codec=codec)
        with SegmentEncoder(tmp_path / name, settings) as encoder:
            for number in range(20):
                take = stock.take if stock else to_picture
                picture = take(draw_frame(number))
                encoder.encode(picture.video)
                if stock:
                    stock.give_back(picture)
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_stock_gives_out_again_what_came_back_to_frames_of_the_same_format() -> None:
    stock = PictureStock()
    first = stock.take(draw_frame(1))
    assert stock.take(draw_frame(2)).video is not first.video
    stock.give_back(first)
    ten_bits = FrameFormat(WIDTH, HEIGHT, PixelFormat.YUV420P10)
    assert stock.take(draw_frame(3, ten_bits)).video is not first.video
    again = stock.take(draw_frame(4))
    assert again.video is first.video
    for plane, wanted in zip(again.frame.planes, draw_frame(4).planes, strict=True):
        assert np.array_equal(plane, wanted)


FORMS = [(container, codec) for container, form in CONTAINERS.items() for codec in form.video]


@pytest.mark.parametrize(("container", "codec"), FORMS)
def test_every_container_holds_every_frame_in_time_and_the_sound(tmp_path: Path, container: str, codec: str) -> None:
    timeline = build_even(20, Fraction(20 * 1001, 30000))
    settings = EncodeSettings(YUV420P, timeline.frame_rate, VIDEO_CODECS[codec].crf, "ultrafast", codec=codec)
    segments = [tmp_path / "0", tmp_path / "1"]
    for number, path in enumerate(segments):
        with SegmentEncoder(path, settings) as encoder:
            for frame in range(10 * number, 10 * number + 10):
                encoder.encode(to_picture(draw_frame(frame))[0])
    path = tmp_path / f"out.{container}"
    assemble(
        segments, timeline, EncodedSound(make_speech(2), SPEECH_RATE, CONTAINERS[container].audio[0]), path, container
    )

    pictures = decode_pictures(path)
    assert [read_number(picture.to_ndarray(format="yuv420p")) for picture in pictures] == list(range(20))
    exact = Fraction(1, 2000) if CONTAINERS[container].muxer in ("matroska", "webm") else 0
    for number, picture in enumerate(pictures):
        assert abs(picture.pts * picture.time_base - Fraction(1001 * number, 30000)) <= exact
    with av.open(path) as container_read:
        heard = sum(frame.samples / frame.rate for frame in container_read.decode(audio=0))
        tag = container_read.streams.video[0].codec_context.codec_tag
        assert container_read.metadata.get("comment", container_read.metadata.get("COMMENT")) == AI_LABEL["comment"]
    assert heard == pytest.approx(float(timeline.duration), abs=0.05)
    assert (codec, container) not in (("hevc", "mp4"), ("hevc", "mov")) or tag == "hvc1"


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_the_same_frames_give_the_same_bytes_in_every_codec(tmp_path: Path, codec: str) -> None:
    settings = EncodeSettings(YUV420P, Fraction(25), VIDEO_CODECS[codec].crf, "ultrafast", codec=codec)
    for name in ("one", "other"):
        with SegmentEncoder(tmp_path / name, settings) as encoder:
            for number in range(12):
                encoder.encode(to_picture(draw_frame(number))[0])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_no_encoder_takes_the_processor_for_itself(tmp_path: Path, codec: str) -> None:
    """Where root runs it, SVT-AV1 would."""
    settings = EncodeSettings(YUV420P, Fraction(25), VIDEO_CODECS[codec].crf, "ultrafast", codec=codec)
    with SegmentEncoder(tmp_path / "segment", settings) as encoder:
        encoder.encode(to_picture(draw_frame(0))[0])
        threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}


def test_a_large_picture_is_scaled_down_and_converted_to_what_the_codec_holds(tmp_path: Path) -> None:
    wide = FrameFormat(WIDTH, HEIGHT, PixelFormat.YUV444P, Color(1, 1, 1))
    settings = EncodeSettings(wide, Fraction(25), 20, "ultrafast", codec="av1", max_lines=64)
    assert (settings.output.width, settings.output.height) == (112, 64)
    with SegmentEncoder(tmp_path / "small", settings) as encoder:
        for number in range(3):
            encoder.encode(to_picture(draw_frame(number, wide))[0])
    picture = decode_pictures(tmp_path / "small")[1]
    assert (picture.width, picture.height, picture.format.name) == (112, 64, "yuv420p")
    wanted = draw_frame(1, wide).planes[0].mean()
    assert picture.to_ndarray(format="yuv420p")[:64].mean() == pytest.approx(wanted, abs=1)
    assert EncodeSettings(wide, Fraction(25), max_lines=HEIGHT).output == wide


@pytest.mark.parametrize(("bit_rate", "least", "most"), [(100_000, 50_000, 200_000), (400_000, 200_000, 800_000)])
def test_a_bit_rate_is_kept_instead_of_a_quality(tmp_path: Path, bit_rate: int, least: int, most: int) -> None:
    noise = np.random.default_rng(0)
    settings = EncodeSettings(YUV420P, Fraction(25), None, "veryfast", bit_rate=bit_rate)
    with SegmentEncoder(tmp_path / "out", settings) as encoder:
        for number in range(75):
            frame = draw_frame(number)
            frame.planes[0][:] += noise.integers(0, 30, frame.planes[0].shape, np.uint8)
            encoder.encode(to_picture(frame)[0])
    assert least < (tmp_path / "out").stat().st_size * 8 / 3 < most


def decode_sound(path: Path) -> np.ndarray:
    """(n,) at the file's own rate, its priming cut off as players do."""
    with av.open(path) as container:
        blocks = [(frame.pts * frame.time_base * frame.rate, frame.to_ndarray()) for frame in container.decode(audio=0)]
    first = max(0, -int(blocks[0][0]))
    return np.concatenate([block[0] for _, block in blocks])[first:]


@pytest.mark.parametrize(
    ("name", "codec", "container"), [("speech.m4a", "aac", "mp4"), ("speech.ogg", "libopus", "webm")]
)
def test_copied_sound_is_the_speech_sample_for_sample(tmp_path: Path, name: str, codec: str, container: str) -> None:
    with av.open(tmp_path / name, "w") as speech:
        stream = speech.add_stream(codec, rate=48000, layout="mono")
        for start, block in zip(range(0, 10**9, 3001), make_speech(1, rate=48000), strict=False):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, start
            speech.mux(stream.encode(frame))
        speech.mux(stream.encode(None))
    timeline = build_even(30, Fraction(1))
    codec = CONTAINERS[container].video[0]
    settings = EncodeSettings(YUV420P, timeline.frame_rate, 30, "ultrafast", codec=codec)
    segments = encode_segments(tmp_path, timeline, settings, 2)
    assemble(segments, timeline, CopiedSound(tmp_path / name), tmp_path / "out", container)

    original, copied = decode_sound(tmp_path / name), decode_sound(tmp_path / "out")
    assert abs(len(original) - len(copied)) <= 1024  # the last packet's padding
    assert np.array_equal(original[:47000], copied[:47000])
    with av.open(tmp_path / "out") as result:
        assert result.streams.audio[0].start_time in (0, None) or result.streams.audio[
            0
        ].start_time * result.streams.audio[0].time_base < Fraction(1, 1000)
