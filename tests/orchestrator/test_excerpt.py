"""Which part of a source a look at a job needs, and what the job's options become on it."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.orchestrator.choice import FaceBox, FaceChoice
from services.orchestrator.excerpt import Excerpt
from services.orchestrator.options import JobOptions
from services.orchestrator.timeline import SyncMode
from services.runtime.refusal import Refusal
from syncline.v1 import decoder_pb2, media_pb2

INFO = decoder_pb2.MediaInfo(
    kind=decoder_pb2.MediaInfo.KIND_VIDEO,
    duration=media_pb2.Rational(numerator=600, denominator=1),
    video=decoder_pb2.VideoInfo(start_time=media_pb2.Rational(numerator=1, denominator=2)),
)
OPTIONS = JobOptions.choose()


def analysed(first: float) -> Any:
    """A second of 50 frames a second, from `first` on in presentation time."""
    return SimpleNamespace(pts=np.arange(50) + round(first * 50), time_base=Fraction(1, 50))


@pytest.mark.parametrize(
    ("excerpt", "options", "part"),
    [
        (Excerpt(Fraction(0), Fraction(4)), OPTIONS, (0.5, 7.5)),
        (Excerpt(Fraction(99), Fraction(2), Fraction(100)), OPTIONS, (96.5, 104.5)),
        (Excerpt(Fraction(99), Fraction(2), Fraction(100)), replace(OPTIONS, start=50.0), (146.5, 154.5)),
        (Excerpt(Fraction(0), Fraction(4)), replace(OPTIONS, face=FaceChoice(index=2)), None),
        (Excerpt(Fraction(0), Fraction(4)), replace(OPTIONS, face=FaceChoice(box=FaceBox(0, 0, 9, 9, 300))), None),
    ],
)
def test_the_part_looked_at(excerpt: Excerpt, options: JobOptions, part: tuple[float, float] | None) -> None:
    assert excerpt.find_part(INFO, options) == part


def test_options_count_from_the_part() -> None:
    excerpt = Excerpt(Fraction(99), Fraction(2), Fraction(100))
    options, duration = excerpt.narrow(INFO, analysed(96.52), replace(OPTIONS, start=0.5), Fraction(100.5))
    assert (options.start, options.end, duration) == (pytest.approx(3.48), pytest.approx(5.48), 1.5)


def test_the_whole_keeps_its_own_times() -> None:
    options, duration = Excerpt(Fraction(0), Fraction(4)).narrow(INFO, analysed(0.5), OPTIONS, Fraction(900))
    assert (options.start, options.end, duration) == (0, 4, 4)


def test_silence_goes_on_after_the_speech() -> None:
    excerpt, options = Excerpt(Fraction(99), Fraction(2), Fraction(100)), replace(OPTIONS, sync_mode=SyncMode.SILENCE)
    assert excerpt.narrow(INFO, analysed(96.5), options, Fraction(3))[1] == 2
    with pytest.raises(Refusal, match="time is 100 s"):
        excerpt.narrow(INFO, analysed(96.5), OPTIONS, Fraction(3))


def test_nothing_is_looked_at_for_what_is_never_shown() -> None:
    with pytest.raises(Refusal, match=r"previewed up to 20\.00 s"):
        Excerpt(Fraction(99), Fraction(2), Fraction(100)).find_part(INFO, replace(OPTIONS, start=10.0, end=30.0))
