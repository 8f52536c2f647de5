"""Groups of pictures without a face are copied packet for packet, where the source was encoded as the job encodes."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from services.orchestrator import smart_render
from services.orchestrator.assembling import EncodedSound, assemble
from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, to_picture
from services.orchestrator.smart_render import Run, copy_segment, cut_around, find_copies
from services.orchestrator.timeline import SegmentSpan, SyncMode, Timeline, build_timeline
from services.runtime.refusal import Refusal
from syncline.v1 import decoder_pb2
from tests.orchestrator.test_encoding import (
    SPEECH_RATE,
    YUV420P,
    decode_pictures,
    draw_frame,
    make_speech,
    read_number,
    read_packets,
)

FRAMES, GROUP = 120, 30
STEP = Fraction(1, 25)
SETTINGS = EncodeSettings(YUV420P, 1 / STEP, 20)
HIDDEN = [*range(20, 95)]  # frames of the source without a face: the groups from 30 and 60 on, and parts of others


@dataclass
class Track:
    windows: list[object | None]


TRACK = Track([None if frame in HIDDEN else object() for frame in range(FRAMES)])


def make_source(folder: Path, settings: EncodeSettings = SETTINGS, container: str = "mp4") -> Path:
    timeline = build_timeline(range(FRAMES), STEP, STEP, FRAMES * STEP, SyncMode.CUT_OFF)
    segments = []
    for number in range(FRAMES // GROUP):
        segments.append(folder / f"group {number}")
        with SegmentEncoder(segments[-1], settings) as encoder:
            for frame in range(number * GROUP, (number + 1) * GROUP):
                encoder.encode(to_picture(draw_frame(frame))[0])
    path = folder / f"source.{container}"
    assemble(segments, timeline, EncodedSound(make_speech(4.8), SPEECH_RATE), path, container)
    return path


def find(
    path: Path, timeline: Timeline, settings: EncodeSettings = SETTINGS, track: Track = TRACK, **facts: object
) -> list[Run]:
    video = decoder_pb2.VideoInfo(**{"codec": settings.codec, **facts})  # type: ignore[arg-type]
    info = decoder_pb2.MediaInfo(kind=decoder_pb2.MediaInfo.KIND_VIDEO, video=video)
    with av.open(path) as container:
        step = int(STEP / container.streams.video[0].time_base)
    return find_copies(path, info, np.arange(FRAMES) * step + 7, timeline, [track], settings)  # type: ignore[list-item]


def plan(mode: SyncMode = SyncMode.CUT_OFF, seconds: Fraction = Fraction(9)) -> Timeline:
    return build_timeline(range(FRAMES), STEP, STEP, seconds, mode)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_what_has_no_face_is_copied_and_shown_in_time(container: str, tmp_path: Path) -> None:
    source, timeline = make_source(tmp_path, SETTINGS, container), plan(SyncMode.LOOP, Fraction(8))
    copies = find(source, timeline)
    assert copies == [(30, 30), (60, 30), (150, 30)]  # the last one of the second round would go beyond the end

    segments, time_base = [], av.open(source).streams.video[0].time_base
    other = replace(SETTINGS, crf=35)  # as is seen in what was not copied
    for span in cut_around(timeline, copies, Fraction(4)):
        first, path = int(timeline.source[span.first_frame]), tmp_path / str(span.index)
        segments.append(path)
        if (span.first_frame, span.frame_count) in copies:
            copy_segment(source, int(first * STEP / time_base), span.frame_count, path)
            continue
        with SegmentEncoder(path, other) as encoder:
            for number in timeline.source[span.first_frame : span.first_frame + span.frame_count].tolist():
                encoder.encode(to_picture(draw_frame(number))[0])
    assemble(segments, timeline, EncodedSound(make_speech(9), SPEECH_RATE), tmp_path / "out.mp4")

    original, made = read_packets(source), read_packets(tmp_path / "out.mp4")
    for first, count in copies:
        begin = int(timeline.source[first])
        group = [bytes(packet) for packet in original[begin : begin + count]]
        assert group == [bytes(packet) for packet in made[first : first + count]]
    pictures, truth = decode_pictures(tmp_path / "out.mp4"), decode_pictures(source)
    assert [picture.pts * picture.time_base for picture in pictures] == [frame * STEP for frame in range(200)]
    for frame, picture in enumerate(pictures):
        number = int(timeline.source[frame])
        assert read_number(picture.to_ndarray()) == number
        same = np.array_equal(picture.to_ndarray(), truth[number].to_ndarray())
        copied = any(first <= frame < first + count for first, count in copies)
        assert same == copied
    with av.open(tmp_path / "out.mp4") as result:
        video = result.streams.video[0]
        for frame in (29, 31, 58, 61, 95, 149, 152, 199):  # sought, before and behind every border
            result.seek(int(frame * STEP / video.time_base), stream=video)
            shown = next(p for p in result.decode(video) if p.pts * p.time_base == frame * STEP)
            assert np.array_equal(shown.to_ndarray(), pictures[frame].to_ndarray())


@pytest.mark.parametrize(
    "other",
    [
        {"preset": "medium"},
        {"codec": "hevc"},
        {"max_lines": 64},
        {"sample_aspect_ratio": Fraction(4, 3)},
        {"hardware": "card"},
    ],
    ids=str,
)
def test_nothing_is_copied_into_what_is_encoded_otherwise(other: dict, tmp_path: Path) -> None:
    assert find(make_source(tmp_path), plan(), replace(SETTINGS, **other)) == []


def test_a_mezzanine_is_as_jobs_encode(tmp_path: Path) -> None:
    # Few bits for a small picture: with more, a level that only mezzanines of large ones share with jobs.
    source = make_source(tmp_path, replace(SETTINGS, crf=None, bit_rate=50_000))
    assert find(source, plan(), replace(SETTINGS, crf=18)) == [(30, 30), (60, 30)]


def test_nothing_is_copied_that_is_shown_otherwise(tmp_path: Path) -> None:
    path = make_source(tmp_path)
    assert find(path, plan()) == [(30, 30), (60, 30)]
    assert find(path, plan(), rotation=180) == []
    assert find(path, plan(), mirrored=True) == []
    assert find(path, plan(), codec="hevc") == []
    assert find(path, plan(), track=Track([object()] * FRAMES)) == []
    backwards = replace(plan(), source=np.arange(FRAMES)[::-1])
    assert find(path, backwards) == []
    skipping = replace(plan(), source=np.arange(FRAMES) // 2 * 2)
    assert find(path, skipping) == []
    late = replace(plan(), source=np.minimum(np.arange(FRAMES) + 10, FRAMES - 1))
    assert find(path, late) == [(20, 30), (50, 30)]


def test_an_open_group_is_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "open.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "open-gop=1:keyint=30:scenecut=0"})
        stream.width, stream.height, stream.pix_fmt = 168, 96, "yuv420p"
        for number in range(FRAMES):
            picture, _ = to_picture(draw_frame(number))
            picture.pts, picture.time_base = number, STEP
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert sum(packet.is_keyframe for packet in read_packets(path)) > 1
    with av.open(path) as container:
        headers = container.streams.video[0].codec_context.extradata
    monkeypatch.setattr(smart_render, "_read_headers", lambda settings: headers)
    found = find(path, plan(), track=Track([None] * FRAMES))
    assert [run for run in found if run[0]] == []  # the first group is closed: nothing comes before it


def test_segments_are_cut_around_what_is_copied() -> None:
    spans = cut_around(plan(), [(0, 30), (60, 30)], Fraction(1))
    assert spans == [
        SegmentSpan(0, 0, 30),
        SegmentSpan(1, 30, 30),
        SegmentSpan(2, 60, 30),
        SegmentSpan(3, 90, 30),
    ]
    long = cut_around(plan(), [(30, 30)], Fraction(2, 5))
    assert [span.first_frame for span in long] == [0, 10, 20, 30, *range(60, 120, 10)]
    assert [span.index for span in long] == list(range(len(long)))
    assert cut_around(plan(), [], Fraction(9)) == [SegmentSpan(0, 0, FRAMES)]


def test_a_source_that_lost_its_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refused:
        copy_segment(make_source(tmp_path), 3, 30, tmp_path / "out")
    assert refused.value.reason == "INTERNAL_ERROR"
