"""Speech into features and mouths: loudness and channel must not matter, silence must rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import shape, voice

from .people import speak


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9000), st.lists(st.integers(0, 3000), max_size=8))
def test_pieces_of_any_size_give_the_same_features(length: int, cuts: list[int]) -> None:
    speech = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    stream = voice.MelStream()
    for piece in np.split(speech, np.sort(np.minimum(cuts, length))):
        stream.add(piece)
    mel = stream.finish()
    assert len(mel) == -(-length // voice.HOP)
    np.testing.assert_allclose(mel, voice.mel_of(speech), atol=1e-5)


def test_a_tone_lands_in_its_band_at_its_time() -> None:
    speech = np.zeros(SPEECH_RATE, np.float32)
    first, last = 4000, 8000
    speech[first:last] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(last - first) / SPEECH_RATE)
    mel = voice.mel_of(speech)
    band = int(mel[37].argmax())
    centre = voice.mel_filters()[:, band].argmax() * SPEECH_RATE / voice.FFT
    assert abs(centre - 1000) < 100
    loud = np.flatnonzero(mel[:, band] > mel[37, band] - 3)
    assert abs(loud[0] - first / voice.HOP) <= 1
    assert abs(loud[-1] - last / voice.HOP) <= 1


@pytest.mark.parametrize("gain", [0.05, 0.3, 3.0])
def test_loudness_does_not_matter(gain: float) -> None:
    speech, _ = speak(8)
    model = voice.load_voice_model()
    normal = model.predict(voice.make_features(voice.mel_of(speech)))
    other = model.predict(voice.make_features(voice.mel_of(speech * gain)))
    assert np.corrcoef(normal[:, 0], other[:, 0])[0, 1] > 0.97
    assert abs(normal[:, 0].std() / other[:, 0].std() - 1) < 0.2


def test_a_dull_microphone_hardly_matters() -> None:
    speech, _ = speak(8)
    dull = np.convolve(speech, [0.6, 0.3, 0.1])[: len(speech)].astype(np.float32)
    model = voice.load_voice_model()
    normal, other = (model.predict(voice.make_features(voice.mel_of(sound))) for sound in (speech, dull))
    assert np.corrcoef(normal[:, 0], other[:, 0])[0, 1] > 0.9


def test_speech_is_told_from_pauses() -> None:
    speech, _ = speak(3)
    pause = np.random.default_rng(0).normal(0, 1e-3, 2 * SPEECH_RATE).astype(np.float32)
    activity = voice.find_activity(voice.mel_of(np.concatenate([speech, pause, speech])))
    assert activity[325:475].max() < 0.1
    assert activity[:290].mean() > 0.6


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-3])
def test_nobody_speaks_in_silence(level: float) -> None:
    silence = np.random.default_rng(0).normal(0, 1, 3 * SPEECH_RATE).astype(np.float32) * np.float32(level)
    assert voice.find_activity(voice.mel_of(silence)).max() < 0.2


@pytest.mark.parametrize("length", [0, 1, 100, 401])
def test_hardly_any_sound_is_no_trouble(length: int) -> None:
    features = voice.make_features(voice.mel_of(np.ones(length, np.float32)))
    assert features.shape == (len(features), voice.FEATURES)
    model = voice.load_voice_model()
    assert model.predict(features).shape == (len(features), shape.MEASURES)
    for _, answer in model.answers(features):
        assert np.isfinite(answer.measures).all()
        assert answer.closing.shape == (len(features),)
        assert answer.hidden.shape == (len(features), model.hidden)


def test_broken_samples_do_not_spread() -> None:
    speech, _ = speak(2)
    speech[8000:8010] = np.nan
    assert np.isfinite(voice.make_features(voice.mel_of(speech))).all()


def test_the_net_hears_at_most_300_ms_ahead() -> None:
    features = np.random.default_rng(0).normal(0, 1, (400, voice.FEATURES)).astype(np.float32)
    other = features.copy()
    other[200:] = 0
    model = voice.load_voice_model()
    normal, changed = model.predict(features), model.predict(other)
    ahead = int(0.3 * voice.MOUTH_RATE)
    np.testing.assert_allclose(normal[: 200 - ahead], changed[: 200 - ahead], atol=1e-5)
    assert np.abs(normal[200 - ahead : 200] - changed[200 - ahead : 200]).max() > 0.01


def test_long_speech_is_predicted_as_if_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features = voice.make_features(voice.mel_of(speak(7.98)[0]))
    assert len(features) % 2
    model = voice.load_voice_model()
    monkeypatch.setattr(voice, "_CHUNK", len(features))
    ((_, whole),) = model.answers(features)
    monkeypatch.setattr(voice, "_CHUNK", 64)
    for steps, piece in model.answers(features):
        np.testing.assert_allclose(piece.measures, whole.measures[steps], atol=1e-4)
        np.testing.assert_allclose(piece.closing, whole.closing[steps], atol=1e-4)
        np.testing.assert_allclose(piece.hidden, whole.hidden[steps], atol=1e-3)
    np.testing.assert_allclose(model.predict(features), whole.measures, atol=1e-4)
