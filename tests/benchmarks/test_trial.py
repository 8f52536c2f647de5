"""What the engine may see of a clip, what it is driven with, and how its figures are judged."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.clip import Clip
from benchmarks.quality.measures import find_silence
from benchmarks.quality.tables import ClipFigures, judge
from benchmarks.quality.trial import plan_drives, split_clip
from services.lipsync.engines import SPEECH_RATE
from services.orchestrator.faces import DetectedFaces, SpeakerTrack


def make_clip(seconds: float, speech: bool = True, first: int = 0) -> Clip:
    """25 frames per second; the sound rises steadily, so that each sample tells its time."""
    count = round(25 * seconds)
    nobody = DetectedFaces(
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2)), np.zeros(count, bool)
    )
    track = SpeakerTrack(nobody, np.zeros((0, 468, 3), np.float32), np.zeros(0, np.int64))
    sound = (np.arange(round(seconds * SPEECH_RATE)) / SPEECH_RATE).astype(np.float32)
    nothing = np.full((count, 468, 3), np.nan, np.float32)
    pts = np.arange(count) + first
    return Clip(Path("clip.mp4"), Fraction(1, 25), pts, track, nothing, nothing[:, 0, 0], sound if speech else None)


@pytest.mark.parametrize(("seconds", "visible", "hidden"), [(4, 60, 40), (10, 150, 100), (60, 250, 600)])
def test_sixty_percent_at_most_ten_seconds_may_be_seen(seconds: float, visible: int, hidden: int) -> None:
    seen, unseen = split_clip(make_clip(seconds))
    assert seen == pytest.approx(visible, abs=1)
    assert len(unseen) == pytest.approx(hidden, abs=1)
    assert unseen[0] >= seen
    assert unseen[-1] == round(25 * seconds) - 1


def test_hidden_frames_are_driven_with_their_own_sound() -> None:
    clip = make_clip(10, first=5)
    _, hidden = split_clip(clip)
    straight, shifted = plan_drives(clip, hidden, None)
    assert straight.speech[0] == pytest.approx(clip.times[hidden[0]], abs=1e-3)
    assert straight.pts[0] == 0
    assert (straight.shown == hidden).all()
    assert shifted.truth is not None
    assert (shifted.truth == hidden).all()
    assert (np.abs(shifted.shown - hidden) * 0.04 > 1).all(), "no frame's own mouth says what is heard"
    assert sorted(shifted.shown) == sorted(hidden)


def test_another_clips_speech_gets_a_pause() -> None:
    clip, voice = make_clip(20, speech=False), np.full(30 * SPEECH_RATE, 0.3, np.float32)
    _, hidden = split_clip(clip)
    (cross,) = plan_drives(clip, hidden, voice)
    times = cross.pts / 25
    assert times[-1] == pytest.approx(6, abs=0.05)
    assert cross.truth is None
    assert find_silence(cross.speech, SPEECH_RATE, times).sum() * 0.04 == pytest.approx(1.5 - 0.24, abs=0.1)


def test_aims_are_judged_by_medians_over_good_truth_and_pooled_closures() -> None:
    def figures(correlation: float, hit: float) -> ClipFigures:
        return {"straight": {"correlation": correlation, "closures": 10, "closures_hit": hit}}

    found = {"hdtf_2": figures(0.8, 9), "hdtf_3": figures(0.72, 9), "retalking_1": figures(0.1, 3)}
    aims = judge(found | {"hdtf_4": figures(-1.0, 0)})
    correlation, recall = aims[0], next(aim for aim in aims if aim.name == "closures of any kind: recall")
    assert correlation.value == pytest.approx(0.72)
    assert correlation.met
    assert correlation.worst.startswith("retalking_1")
    assert recall.value == pytest.approx(0.7)
    assert not recall.met
