"""What a source's own speech teaches, and when it is not believed."""

import numpy as np
import pytest

from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import shape, voice
from services.lipsync.engines.rewrite.fit import PersonFit, fit_person, read_fit, usual_range
from services.lipsync.engines.rewrite.shape import Measure
from services.lipsync.engines.rewrite.wish import wish_shapes
from services.runtime.refusal import Refusal

from .people import make_points, open_mouths, pose, speak

RATE = 25


def watch(openness: np.ndarray, wide: float, lead: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Frame times and measures of a mouth that opens `wide` at most and moves `lead` seconds before its sound."""
    times = np.arange(int(len(openness) / SPEECH_RATE * RATE)) / RATE
    places = np.clip((times + lead) * SPEECH_RATE, 0, len(openness) - 1).astype(int)
    meshes = pose(make_points(open_mouths(wide * openness[places])))
    meshes += np.random.default_rng(0).normal(0, 0.2, meshes.shape).astype(np.float32)
    return times, shape.measure_shapes(meshes)


def correlate(fit_measures: np.ndarray, truth: np.ndarray, times: np.ndarray) -> float:
    found = np.interp(times, voice.step_times(len(fit_measures)), fit_measures[:, 0])
    return float(np.corrcoef(found, truth[:, 0])[0, 1])


def test_a_person_is_learned_from_seconds_of_speech() -> None:
    speech, openness = speak(14)
    times, measures = watch(openness, 0.3)
    fit = fit_person(voice.mel_of(speech), times, measures)
    assert fit.fitted
    assert fit.correlation > 0.7
    unheard, truth = speak(8, seed=5)
    features = voice.make_features(voice.mel_of(unheard))
    other_times, other = watch(truth, 0.3)
    relative = voice.load_voice_model().predict(features)
    predicted, _ = fit.predict(features)
    assert correlate(predicted, other, other_times) > max(0.5, correlate(relative, other, other_times))
    low, high = np.percentile(predicted[:, 0], [5, 98])
    assert low < 0.05
    assert 0.15 < high < 0.4


@pytest.mark.parametrize("lead", [-0.12, 0.0, 0.08])
def test_lips_out_of_time_are_found_out(lead: float) -> None:
    speech, openness = speak(14)
    fit = fit_person(voice.mel_of(speech), *watch(openness, 0.3, lead))
    assert abs(fit.offset - lead) <= 0.055  # people open a little before they sound; this mouth does not
    # What the net says of a speech is in time with its sound, however the source was.
    unheard, truth = speak(8, seed=5)
    times, measures = watch(truth, 0.3)
    predicted, _ = fit.predict(voice.make_features(voice.mel_of(unheard)))
    assert correlate(predicted, measures, times) > 0.5


@pytest.mark.parametrize(
    ("offset", "kept"), [(0.0, 0.0), (0.01, 0.01), (-0.01, -0.01), (0.07, 0.02), (-0.08, -0.02), (0.09, 0), (-0.2, 0)]
)
def test_lips_keep_as_much_of_their_own_time_as_nobody_notices(offset: float, kept: float) -> None:
    known = usual_range()
    weights, gain = np.zeros((voice.load_voice_model().hidden + 1, shape.MEASURES)), np.ones(shape.MEASURES)
    speech, _ = speak(6)
    mel, times = voice.mel_of(speech), np.arange(0.5, 5.5, 0.04)
    unseen = np.full((len(times), shape.MEASURES), np.nan)
    as_it_is = wish_shapes(PersonFit(known, weights, gain, 0.0), mel, times + kept, unseen)
    np.testing.assert_allclose(wish_shapes(PersonFit(known, weights, gain, offset), mel, times, unseen), as_it_is)


@pytest.mark.parametrize(("seconds", "timed"), [(3.0, True), (1.8, False)])  # 2.1 and 1.1 of them speech
def test_lips_are_timed_before_anything_else_is_learned(seconds: float, timed: bool) -> None:
    speech, openness = speak(14)
    times, measures = watch(openness, 0.3, 0.08)
    seen = times < seconds
    fit = fit_person(voice.mel_of(speech[: int(seconds * SPEECH_RATE)]), times[seen], measures[seen])
    assert (fit.offset > 0.02) == timed
    assert not fit.fitted


def test_another_persons_sound_teaches_only_the_range() -> None:
    _, openness = speak(14)
    other, _ = speak(14, seed=77)
    times, measures = watch(openness, 0.3)
    fit = fit_person(voice.mel_of(other), times, measures)
    assert not fit.fitted
    assert fit.correlation == 0
    assert fit.notes


def test_a_silent_source_has_its_own_rest_and_the_usual_range() -> None:
    times, measures = watch(np.zeros(6 * SPEECH_RATE), 0.3)
    fit = fit_person(voice.mel_of(np.zeros(0, np.float32)), times, measures)
    assert not fit.fitted
    assert abs(fit.known.rest[Measure.OPENING] - measures[:, 0].mean()) < 0.01
    assert fit.known.span[Measure.OPENING] > 0.5 * usual_range().span[Measure.OPENING]
    assert fit.offset == 0


def test_a_single_photo_is_enough() -> None:
    fit = fit_person(voice.mel_of(np.zeros(0, np.float32)), *(part[:1] for part in watch(np.zeros(SPEECH_RATE), 0.3)))
    speech, _ = speak(4)
    predicted, _ = fit.predict(voice.make_features(voice.mel_of(speech)))
    assert np.isfinite(predicted).all()
    assert predicted[:, 0].max() > 0.08


def test_no_face_at_all_is_no_error() -> None:
    fit = fit_person(voice.mel_of(speak(4)[0]), np.zeros(0), np.zeros((0, shape.MEASURES)))
    assert not fit.fitted


def test_silence_rests() -> None:
    speech, openness = speak(14)
    fit = fit_person(voice.mel_of(speech), *watch(openness, 0.3))
    pause = np.random.default_rng(0).normal(0, 1e-3, 3 * SPEECH_RATE).astype(np.float32)
    predicted, _ = fit.predict(voice.make_features(voice.mel_of(np.concatenate([speech[: 3 * SPEECH_RATE], pause]))))
    np.testing.assert_allclose(predicted[170:], fit.known.rest[None].repeat(len(predicted) - 170, 0), atol=0.01)


def test_arrays_give_the_same_fit() -> None:
    speech, openness = speak(10)
    fit = fit_person(voice.mel_of(speech), *watch(openness, 0.3))
    features = voice.make_features(voice.mel_of(speech))
    again = read_fit(fit.to_arrays())
    np.testing.assert_allclose(again.predict(features)[0], fit.predict(features)[0], atol=1e-4)
    with pytest.raises(Refusal):
        read_fit(fit.to_arrays() | {"fit_span": np.zeros(shape.MEASURES)})
