"""Frame count, timestamps, duration, geometry and colour of every odd file."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from services.decoder.engines.pyav import PyAVDecoder
from services.runtime.frames import Frame
from tests.decoder.corpus import BASE, BRIGHTER, CHROMA, FRAMES, STEP, OddFile, odd_files

_OFF = 4  # code values of 8 bits that lossy coders may be off, in the middle of an even area
_CLOCKS = {"mkv": Fraction(1, 1000), "webm": Fraction(1, 1000), "ts": Fraction(1, 90000)}  # coarser than some rates


def quarters(plane: np.ndarray) -> dict[tuple[int, int], float]:
    """The middle of each quarter, by (right, lower)."""
    rows, columns = plane.shape
    return {
        (right, lower): float(
            np.median(plane[rows * (1 + 2 * lower) // 4 - 2 :, columns * (1 + 2 * right) // 4 - 2 :][:4, :4])
        )
        for right in (0, 1)
        for lower in (0, 1)
    }


def check_picture(frame: Frame, number: int, odd: OddFile) -> None:
    scale = 4 if frame.format.bit_depth == 10 else 1
    luma = quarters(frame.planes[0])
    for place, found in luma.items():
        expected = BASE + STEP * number + (BRIGHTER if place == odd.corner else 0)
        assert found / scale == pytest.approx(expected, abs=_OFF), (number, place)
    for plane, expected in zip(frame.planes[1:], CHROMA, strict=True):
        assert float(np.median(plane)) / scale == pytest.approx(expected, abs=_OFF)


@pytest.mark.parametrize("odd", list(odd_files()), ids=lambda odd: odd.name)
def test_odd_file(odd: OddFile, tmp_path: Path) -> None:
    path = odd.write(tmp_path / f"odd.{odd.container}")
    engine = PyAVDecoder()
    facts = engine.inspect(path)
    video = facts.video
    assert video is not None
    stream = engine.decode_frames(path, None, None)
    frames = list(stream.frames)
    assert video.frame_count == len(frames) == FRAMES

    times = [frame.pts * stream.time_base for frame in frames]
    coarse = _CLOCKS.get(odd.container, 0)
    assert all(abs(found - told) <= coarse for found, told in zip(times, odd.times, strict=True)), times
    assert facts.duration == pytest.approx(float(odd.times[-1]) + 0.04, abs=0.045)
    assert video.variable_frame_rate == (odd.clock == "variable")

    assert (video.format.width, video.format.height) == odd.shown_size
    assert stream.format == video.format
    assert all([plane.shape for plane in frame.planes] == stream.format.plane_shapes for frame in frames)
    assert (video.rotation, video.mirrored) == (odd.rotation, odd.turn.startswith("mirrored"))

    assert stream.format.bit_depth == (10 if "10" in odd.layout else 8)
    assert stream.format.color.full_range == ("j" in odd.layout)
    for number, frame in enumerate(frames):
        check_picture(frame, number, odd)
