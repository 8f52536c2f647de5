"""The oddest files of the decoder's corpus, on through timeline, encoder and muxer."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import pytest

from services.decoder.engines.pyav import PyAVDecoder
from services.orchestrator.assembling import EncodedSound, assemble
from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, to_picture
from services.orchestrator.timeline import SyncMode, build_timeline, cut_segments
from tests.decoder.corpus import FRAMES, OddFile, odd_files
from tests.decoder.test_corpus import check_picture
from tests.orchestrator.test_encoding import SPEECH_RATE, make_speech


def oddest() -> Iterator[OddFile]:
    """Of each coder the file with the most that is odd."""
    for _, files in groupby(odd_files(), key=lambda odd: odd.coder):
        yield max(files, key=count_oddities)


def count_oddities(odd: OddFile) -> int:
    width, height = odd.size
    turned, timed = odd.turn not in ("upright", "180"), odd.clock in ("variable", "late")
    return turned + timed + (width % 2 or height % 2) + ("420p" not in odd.layout) + ("10" in odd.layout)


@pytest.mark.parametrize("odd", list(oddest()), ids=lambda odd: odd.name)
def test_an_odd_file_comes_out_in_time_and_looks_as_it_did(odd: OddFile, tmp_path: Path) -> None:
    engine = PyAVDecoder()
    source = odd.write(tmp_path / f"odd.{odd.container}")
    facts = engine.inspect(source).video
    assert facts is not None
    stream = engine.decode_frames(source, None, None)
    frames = list(stream.frames)
    pts = [frame.pts for frame in frames]
    timeline = build_timeline(pts, stream.time_base, 1 / facts.frame_rate, Fraction(9), SyncMode.CUT_OFF)
    settings = EncodeSettings(stream.format, timeline.frame_rate, 8, sample_aspect_ratio=facts.sample_aspect_ratio)
    segments = []
    for span in cut_segments(timeline, timeline.end / 2):
        segments.append(tmp_path / f"{span.index}.mp4")
        with SegmentEncoder(segments[-1], settings) as encoder:
            for frame in frames[span.first_frame : span.first_frame + span.frame_count]:
                encoder.encode(to_picture(frame)[0])
    assert len(segments) == 2
    path = tmp_path / "out.mp4"
    assemble(segments, timeline, EncodedSound(make_speech(2), SPEECH_RATE), path)

    made = engine.decode_frames(path, None, None)
    shown = list(made.frames)
    assert made.format == stream.format
    assert (made.format.width, made.format.height) == odd.shown_size
    assert len(shown) == FRAMES
    begin = pts[0] * stream.time_base
    assert [frame.pts * made.time_base for frame in shown] == [time * stream.time_base - begin for time in pts]
    with av.open(path) as result:
        video = result.streams.video[0]
        assert (video.duration or 0) * video.time_base == timeline.end
    for number, frame in enumerate(shown):
        check_picture(frame, number, odd)
