"""Advice with the right numbers, and none where nothing is wrong."""

from fractions import Fraction

import numpy as np
import pytest

from services.orchestrator.advice import advise_on_faces, advise_on_length, advise_on_sound, advise_on_speed
from services.orchestrator.analysis import Analysis
from services.orchestrator.faces import DetectedFaces
from services.orchestrator.hearing import Heard, Listener
from services.orchestrator.persons import Person
from services.orchestrator.speed import Speed
from services.orchestrator.timeline import SyncMode
from services.runtime.frames import FrameFormat, PixelFormat
from tests.stages import portrait

RATE = 16000


def hear(samples: np.ndarray) -> Heard:
    """Of one channel, in blocks."""
    listener = Listener()
    for first in range(0, len(samples), RATE):
        listener.add(samples[first : first + RATE, None].astype(np.float32), RATE)
    return listener.finish()


def make_speech(seconds: float, level: float = 0.3) -> np.ndarray:
    """A voice's buzz in syllables, four a second, over a faint hiss."""
    time = np.arange(int(seconds * RATE)) / RATE
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, 1)
    hiss = np.random.default_rng(0).normal(0, 1e-3, len(time))
    return level * syllables * np.sign(np.sin(2 * np.pi * 120 * time)) * 0.7 + hiss


def codes(advice: object) -> list[str]:
    return [one.code for one in advice]  # type: ignore[attr-defined]


def test_speech_is_heard_and_nothing_is_wrong_with_it() -> None:
    heard = hear(make_speech(5))
    assert heard.seconds == 5
    assert 1.5 < heard.voiced_seconds < 3.5
    assert heard.cut_peaks == 0
    assert codes(advise_on_sound(heard, "The speech")) == []


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.2])
def test_silence_and_steady_noise_are_no_speech(level: float) -> None:
    heard = hear(np.random.default_rng(1).normal(0, 1, 5 * RATE) * level)
    (advice,) = advise_on_sound(heard, "The speech")
    assert advice.code == "NO_SPEECH"
    assert "of 5.0 s" in advice.message


def test_peaks_cut_off_are_counted() -> None:
    time = np.arange(4 * RATE) / RATE
    samples = np.clip(make_speech(4, 1e-3) + 1.5 * np.sin(2 * np.pi * 5 * time) ** 31, -1, 1)
    heard = hear(samples)
    assert heard.cut_peaks == 40  # ten a second, every other one below zero
    (advice,) = advise_on_sound(heard, "The speech")
    assert advice.code == "CLIPPED_AUDIO"
    assert "40 peaks" in advice.message
    assert "10.0 a second" in advice.message


@pytest.mark.parametrize(
    ("video", "speech", "mode", "words"),
    [
        (Fraction(10), Fraction("10.2"), None, None),
        (Fraction(10), Fraction("12.5"), None, "last 2.50 s of the speech"),
        (Fraction(10), Fraction(4), SyncMode.CUT_OFF, "last 6.00 s of the video"),
    ],
)
def test_lengths_that_differ_are_told(
    video: Fraction, speech: Fraction, mode: SyncMode | None, words: str | None
) -> None:
    advice = list(advise_on_length(video, speech, mode))
    assert codes(advice) == ([] if words is None else ["LENGTH_MISMATCH"])
    if words is not None:
        assert words in advice[0].message
        assert ("sync mode is cut_off" in advice[0].message) == (mode is SyncMode.CUT_OFF)


def look(width: float, degrees: float) -> list[str]:
    """Codes of the advice on a face so many pixels wide, turned by so many degrees."""
    mesh = portrait()[1].astype(np.float64)
    mesh -= mesh.mean(axis=0)
    turn = np.radians(degrees)
    mesh = mesh @ np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    mesh *= width / np.linalg.norm(mesh[454] - mesh[234])
    frames = 6
    faces = DetectedFaces(
        np.arange(frames), np.ones(frames, np.int64), np.ones(frames), np.zeros((frames, 2)), np.zeros(frames, bool)
    )
    meshes = np.repeat(mesh[None].astype(np.float32), frames, axis=0)
    frame_format = FrameFormat(640, 480, PixelFormat.YUV420P)
    analysis = Analysis(frame_format, Fraction(1, 25), np.arange(frames), faces, meshes, {}, {})
    person = Person(1, np.arange(frames), None, 1.0)
    return codes(advise_on_faces(analysis, [person]))


def test_small_and_turned_faces_are_told() -> None:
    assert look(200, 0) == []
    assert look(60, 0) == ["SMALL_FACE"]
    assert look(200, 50) == ["TURNED_FACE"]
    assert look(200, -50) == ["TURNED_FACE"]


def test_speeds_are_those_that_were_measured() -> None:
    (none,) = advise_on_speed({})
    assert "no job of 720 or 1080 lines has been done yet" in none.message
    (some,) = advise_on_speed({720: Speed(3, 41.26, 512), 2160: Speed(1, 5, 1300)})
    assert "at 720 lines 41.3 frames a second were rendered (median of 3; at most 512 MB" in some.message
    assert "at 2160 lines 5.0 frames" in some.message
    assert "no job of 1080 lines" in some.message
