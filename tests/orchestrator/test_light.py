"""HDR in, HDR out: what the source says of its light is in the result, for every codec that can say it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from services.decoder.convert import from_facts
from services.decoder.engines.pyav import PyAVDecoder
from services.orchestrator.assembling import EncodedSound, assemble
from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, to_picture
from services.orchestrator.light import Light, to_light
from services.orchestrator.timeline import SyncMode, build_timeline, cut_segments
from services.runtime.frames import Color, ContentLight, Frame, FrameFormat, MasteringDisplay, PixelFormat

DISPLAY = MasteringDisplay((34000, 16000, 13250, 34500, 7500, 3000), (15635, 16450), 50, 10_000_000)
BOTH = Light(DISPLAY, ContentLight(1000, 400))
PQ = FrameFormat(128, 96, PixelFormat.YUV420P10, Color(9, 9, 16))


def make_video(path: Path, codec: str, light: Light) -> Path:
    timeline = build_timeline(range(8), Fraction(1, 25), Fraction(1, 25), Fraction(8, 25), SyncMode.CUT_OFF)
    settings = EncodeSettings(PQ, Fraction(25), 30, "ultrafast", codec=codec, light=light)
    planes = tuple(np.full(shape, 500, np.uint16) for shape in PQ.plane_shapes)
    segments = []
    for span in cut_segments(timeline, Fraction(4, 25)):
        segments.append(path.with_name(f"{span.index}.mp4"))
        with SegmentEncoder(segments[-1], settings) as encoder:
            for _ in range(span.frame_count):
                encoder.encode(to_picture(Frame(0, PQ, planes))[0])
    assemble(segments, timeline, EncodedSound([np.zeros((8000, 1), np.float32)], 16000), path)
    return path


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize(
    "light", [BOTH, Light(content_light=BOTH.content_light), Light()], ids=["both", "content", "neither"]
)
def test_light_and_colour_come_through(tmp_path: Path, codec: str, light: Light) -> None:
    facts = PyAVDecoder().inspect(make_video(tmp_path / "hdr.mp4", codec, light))
    assert facts.video is not None
    assert facts.video.format.color == PQ.color
    assert facts.video.format.pixel_format is PixelFormat.YUV420P10
    found = to_light(from_facts(facts).video)
    assert found.content_light == light.content_light
    if light.mastering_display is None or codec != "av1":
        assert found.mastering_display == light.mastering_display
    else:  # AV1 counts in finer, binary fractions
        assert found.mastering_display is not None
        assert found.mastering_display.primaries == pytest.approx(DISPLAY.primaries, abs=1)
        assert found.mastering_display.max_luminance == pytest.approx(DISPLAY.max_luminance, rel=1e-3)
