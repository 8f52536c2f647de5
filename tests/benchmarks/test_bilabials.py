"""Which m, b and p are heard, and what a mouth makes of them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.bilabials import hear_bilabials
from benchmarks.quality.measures import judge_bilabials
from examples.demo import speak
from services.decoder.engines.pyav import PyAVDecoder
from services.lipsync.engines import SPEECH_RATE

TIMES = np.arange(100) * 0.04
SPAN = (0.0, 1.0)
PHONES = np.array([[0.4, 0.48], [1.2, 1.28], [2.0, 2.08], [2.8, 2.88]])

needs_pocketsphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="PocketSphinx is not installed; make quality installs it"
)


def say(text: str, folder: Path) -> np.ndarray:
    """(n,) float32 at SPEECH_RATE, a synthetic voice."""
    speak(text, folder / "said.wav")
    blocks = PyAVDecoder().decode_audio(folder / "said.wav", SPEECH_RATE, 1)
    return np.concatenate([block.samples[:, 0] for block in blocks])


@needs_pocketsphinx
def test_bilabials_are_heard_where_they_are_said(tmp_path: Path) -> None:
    speech = say("The people come to the museum. Maybe the problem is bigger.", tmp_path)
    found = hear_bilabials(speech)
    assert found is not None
    assert 4 <= len(found) <= 14, "the voice says eleven"
    assert (found[:, 1] > found[:, 0]).all()
    assert (found >= 0).all()
    assert (found <= len(speech) / SPEECH_RATE).all()


@needs_pocketsphinx
@pytest.mark.parametrize("seconds", [0.0, 0.5, 2.0])
def test_silence_has_none(seconds: float) -> None:
    found = hear_bilabials(np.zeros(round(seconds * SPEECH_RATE), np.float32))
    assert found is not None
    assert found.shape == (0, 2)


def test_closing_where_the_truth_closes_is_met_and_right() -> None:
    truth, mouth = np.full(100, 0.8), np.full(100, 0.8)
    truth[[10, 30, 50]] = 0.1  # not at the fourth phone: the recognizer misheard
    mouth[11] = 0.05  # the first, within a frame
    mouth[30] = 0.2  # the second nearly
    mouth[70] = 0.0  # the fourth, where the truth stays open
    assert judge_bilabials(TIMES, mouth, truth, SPAN, PHONES) == {
        "bilabials": 3,
        "bilabials_hit": 2,
        "own_bilabials": 2,
        "own_bilabials_hit": 1,
    }


def test_the_truth_itself_is_all_right_and_an_unknown_mouth_closes_nowhere() -> None:
    truth = np.full(100, 0.8)
    truth[[10, 30]] = 0.1
    known = judge_bilabials(TIMES, truth, truth, SPAN, PHONES)
    assert set(known.values()) == {2.0}
    unknown = judge_bilabials(TIMES, np.full(100, np.nan), truth, SPAN, PHONES)
    assert (unknown["bilabials_hit"], unknown["own_bilabials"]) == (0, 0)


def test_without_phones_or_frames_nothing_is_judged() -> None:
    nothing = np.zeros((0, 2))
    assert set(judge_bilabials(TIMES, np.zeros(100), np.zeros(100), SPAN, nothing).values()) == {0.0}
    assert set(judge_bilabials(np.zeros(0), np.zeros(0), np.zeros(0), SPAN, PHONES).values()) == {0.0}
