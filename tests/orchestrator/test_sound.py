"""The sound of a result: speeches put together without clipping."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.sound import Sound, Track, find_gain
from services.orchestrator.source import SPEECH_RATE, place_speech

RATE = 100


def sound_of(*placed: tuple[int, np.ndarray]) -> Sound:
    tracks = [Track(samples, [first]) for first, samples in placed]
    return Sound(RATE, max(first + len(samples) for first, samples in placed), tracks)


def tone(samples: int, level: float, channels: int = 1) -> np.ndarray:
    return np.full((samples, channels), level, np.float32)


def whole(sound: Sound) -> np.ndarray:
    blocks = list(sound.blocks())
    assert all(len(block) <= RATE for block in blocks)
    return np.concatenate(blocks)


def test_one_speech_stays_as_it_is() -> None:
    samples = np.random.default_rng(0).normal(0, 1, (250, 2)).astype(np.float32)
    assert (whole(sound_of((0, samples))) == samples).all()


def test_speeches_are_added_where_they_begin() -> None:
    mixed = whole(sound_of((0, tone(150, 0.25)), (120, tone(200, 0.5))))
    assert mixed.shape == (320, 1)
    assert np.unique(mixed[:120]) == [0.25]
    assert np.unique(mixed[120:150]) == [0.75]
    assert np.unique(mixed[150:]) == [0.5]


def test_silence_fills_what_nobody_says() -> None:
    mixed = whole(sound_of((0, tone(50, 0.25)), (300, tone(50, 0.25))))
    assert np.abs(mixed[50:300]).max() == 0
    assert len(mixed) == 350


def test_mono_is_heard_on_both_sides_of_stereo() -> None:
    mixed = whole(sound_of((0, tone(100, 0.1, channels=2)), (0, tone(100, 0.2))))
    assert mixed == pytest.approx(np.full((100, 2), 0.3), abs=1e-6)


def test_a_mix_that_would_clip_is_turned_down_as_a_whole() -> None:
    loud = [(0, tone(200, 0.8)), (100, tone(100, 0.8))]
    gain = find_gain(sound_of(*loud))
    mixed = whole(replace(sound_of(*loud), gain=gain))
    assert np.abs(mixed).max() == pytest.approx(0.98)
    assert mixed[0] == pytest.approx(0.49, abs=1e-3)
    assert find_gain(sound_of((0, tone(100, 0.3)), (0, tone(100, 0.3)))) == 1
    assert find_gain(sound_of((0, tone(100, 0.0)))) == 1


def test_a_speech_placed_later_has_silence_around_it(tmp_path: Path) -> None:
    store, speech = ArtifactStore(tmp_path), np.arange(1, 101, dtype=np.float32)
    assert place_speech(store, "a", speech, 0.0, 60) is not speech
    assert (place_speech(store, "a", speech, 0.0, 60) == speech[:60]).all()
    placed = place_speech(store, "a", speech, 50 / SPEECH_RATE, 200)
    assert (np.asarray(placed) == np.concatenate([np.zeros(50), speech, np.zeros(50)])).all()
    assert (np.asarray(place_speech(store, "a", placed, 100 / SPEECH_RATE, 200)[150:]) == speech[:50]).all()
    assert not np.asarray(place_speech(store, "a", speech, 9.0, 200)).any()


def test_a_sound_repeats_as_loud_as_asked_until_the_result_ends() -> None:
    mixed = whole(Sound(RATE, 250, [Track(tone(100, 0.5), [0, 100, 200], level=0.5)]))
    assert (mixed == np.full((250, 1), 0.25)).all()
