"""A trial in figures: the engine's, and those of the baselines beside it. NaN where a clip cannot say."""

from dataclasses import dataclass

import numpy as np

from benchmarks.quality import measures
from benchmarks.quality.bilabials import hear_bilabials
from benchmarks.quality.clip import Clip
from benchmarks.quality.measures import LIPS
from benchmarks.quality.pictures import measure_flicker
from benchmarks.quality.trial import Driven, Trial
from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import voice
from services.lipsync.engines.rewrite.shape import Measure
from services.runtime.faces import CropOutcome

Figures = dict[str, float]

_SHIFTS = np.linspace(0.2, 0.8, 7)  # of the hidden part, by which the untouched source is shifted


@dataclass(frozen=True, slots=True)
class Person:
    """The yardstick of a clip's person. `reference`: mesh that others are laid on; `span`: opening closed and wide."""

    reference: np.ndarray
    lips: np.ndarray  # (frames, 40, 3) of the truth, aligned, eye distances
    opening: np.ndarray  # (frames,)
    span: tuple[float, float]
    mean_mouth: np.ndarray  # (40, 3) of the visible frames


def measure_trial(trial: Trial) -> dict[str, Figures]:
    """Figures by what drove the frames (straight, shifted, cross), of the baselines, and of the voice alone.

    `straight bare` and the like: the same frames without the restorer.
    """
    person = measure_person(trial.clip, trial.visible)
    if person is None:
        return {"general": {}}
    straight = trial.driven.get("straight")
    said = None if straight is None else hear_bilabials(straight.drive.speech)  # `shifted` says the same
    found = {name: _measure_driven(trial, person, driven, said) for name, driven in trial.driven.items()}
    for name, driven in trial.driven.items():
        if driven.bare is not None:
            found[f"{name} bare"] = _measure_driven(trial, person, driven.bare, said)
    if straight is not None:
        found |= _measure_baselines(trial, person, straight, said)
        found["voice"] = measure_voice(trial.clip, person.opening)
    found["general"] = {
        "frames": float(len(trial.clip.pts)),
        "hidden": float(len(trial.hidden)),
        "candidates": float(trial.prepared.candidates),
        "fitted": float(trial.prepared.fitted),
        "fit_correlation": trial.prepared.fit_correlation,
        "fit_offset_ms": 1000 * trial.fit.offset,
        "prepare_times_real_time": trial.prepare_rate,
        "sync_crops_a_second": trial.sync_rate,
    }
    return found


def measure_person(clip: Clip, visible: int) -> Person | None:
    """None where the speaker is never seen."""
    seen = np.flatnonzero(np.isfinite(clip.truth).all(axis=(1, 2)))
    if len(seen) < 8:
        return None
    rough = clip.truth[seen[0]].astype(np.float64)
    unit = np.linalg.norm(rough[measures.EYE_CORNERS[1]] - rough[measures.EYE_CORNERS[0]])
    reference = np.nanmedian(measures.align_meshes(clip.truth, rough), axis=0) * unit
    lips = measures.align_meshes(clip.truth, reference)[:, LIPS]
    opening = measures.measure_opening(clip.truth)
    low, high = np.nanpercentile(opening, [5, 95])
    taught = lips[:visible] if np.isfinite(lips[:visible]).any() else lips
    return Person(reference, lips, opening, (float(low), float(high)), np.nanmean(taught, axis=0))


def measure_voice(clip: Clip, opening: np.ndarray) -> Figures:
    """The net's opening against the truth of the whole clip, no person fit: as it is, and at the best lag."""
    if clip.speech is None:
        return {}
    predicted = predict_opening(clip.speech, clip.times)
    offset, at_best = measures.find_offset(clip.times, opening, predicted)
    return {
        "correlation": measures.correlate(predicted, opening),
        "correlation_at_best_lag": at_best,
        "lips_after_sound_ms": offset,
    }


def predict_opening(speech: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Relative opening that the engine's net hears, nothing known of the person. (n,)"""
    predicted = voice.load_voice_model().predict(voice.make_features(voice.mel_of(speech)))
    if not len(predicted):
        return np.zeros(len(times))
    return np.interp(times, voice.step_times(len(predicted)), predicted[:, Measure.OPENING])


def _measure_driven(trial: Trial, person: Person, driven: Driven, said: np.ndarray | None) -> Figures:
    drive, clip = driven.drive, trial.clip
    times = (drive.pts - drive.pts[0]) * float(clip.time_base)
    opening = measures.measure_opening(driven.meshes)
    aligned = measures.align_meshes(driven.meshes, person.reference)
    source = clip.truth[drive.shown]
    silent = measures.find_silence(drive.speech, SPEECH_RATE, times)
    found = _shares(driven)
    found["sharpness"] = measures.compare_alike(driven.sharpness, opening, clip.sharpness, person.opening)
    found["seam"] = _median_ratio(driven.seams)
    found["ring_seam"] = _ring_seam(driven.profiles)
    found["flicker"] = _divide(measure_flicker(driven.patches[:, 0]), measure_flicker(driven.patches[:, 1]))
    natural = measures.measure_jitter(person.lips[drive.shown])
    found["jitter"] = _divide(measures.measure_jitter(aligned[:, LIPS]), natural)
    found["twitch_percent"] = measures.count_twitches(aligned[:, LIPS], person.lips)
    found["identity_percent"] = measures.identity_distance(aligned, measures.align_meshes(source, person.reference))
    found["rest"] = measures.rest_spread(opening, silent)
    found["rest_of_source"] = source_rest(clip, person.opening)
    found["rest_level"] = _rest_level(opening, silent, person)
    heard = predict_opening(drive.speech, times)
    found["sound_offset_ms"], found["sound_correlation"] = measures.find_offset(times, opening, heard)
    if drive.truth is not None:
        left = trial.fit.offset - trial.fit.kept_offset
        found |= _compare(times, opening, aligned[:, LIPS], silent, drive.truth, person, left, said)
        found["wish_kept"] = measures.correlate(opening, driven.wanted)
        found["wish_correlation"] = measures.correlate(driven.wanted, person.opening[drive.truth])
    return found


def _compare(
    times: np.ndarray,
    opening: np.ndarray,
    lips: np.ndarray,
    silent: np.ndarray,
    truth: np.ndarray,
    person: Person,
    offset: float,
    said: np.ndarray | None,
) -> Figures:
    """Against what the mouth really did. `offset`: seconds by which that was earlier, as far as the engine knows.

    `said`: the speech's m, b and p, as hear_bilabials; None where nobody knows.
    """
    real = person.opening[truth]
    in_time = np.interp(times - offset, times, real) if np.isfinite(real).all() else real
    found = {
        "correlation": measures.correlate(opening, real),
        "correlation_in_time": measures.correlate(opening, in_time),
        "lip_distance_ratio": measures.lip_distance_ratio(lips, person.lips[truth], person.mean_mouth),
    }
    found["truth_offset_ms"], found["correlation_at_best_lag"] = measures.find_offset(times, opening, real)
    closures = measures.find_closures(times, in_time, person.span, silent)
    own = measures.find_closures(times, opening, person.span, silent)
    found["closures"], found["own_closures"] = float(len(closures)), float(len(own))
    found["closures_hit"] = float(measures.closure_hits(times, closures, opening, person.span))
    found["own_closures_hit"] = float(measures.closure_hits(times, own, in_time, person.span))
    found["closure_recall"] = _divide(found["closures_hit"], found["closures"])
    found["closure_precision"] = _divide(found["own_closures_hit"], found["own_closures"])
    if said is not None:
        found |= measures.judge_bilabials(times, opening, in_time, person.span, said)
        found["bilabial_recall"] = _divide(found["bilabials_hit"], found["bilabials"])
        found["bilabial_precision"] = _divide(found["own_bilabials_hit"], found["own_bilabials"])
    return found


def _measure_baselines(trial: Trial, person: Person, straight: Driven, said: np.ndarray | None) -> dict[str, Figures]:
    """What the same speech gets from the untouched source, its mouth of other times; from loudness; from no motion."""
    clip, hidden = trial.clip, straight.drive.shown
    times = clip.times[hidden] - clip.times[hidden[0]]
    silent = measures.find_silence(straight.drive.speech, SPEECH_RATE, times)
    untouched = _mean([
        _compare(times, person.opening[other], person.lips[other], silent, hidden, person, 0.0, said)
        for other in (np.roll(hidden, round(share * len(hidden))) for share in _SHIFTS)
    ])  # fmt: skip
    still = {"correlation": np.nan, "lip_distance_ratio": 1.0}
    return {
        "untouched": untouched,
        "mean_mouth": still,
        "loudness": _drive_by_loudness(trial, person, hidden, times, silent, said),
    }


def _drive_by_loudness(
    trial: Trial,
    person: Person,
    hidden: np.ndarray,
    times: np.ndarray,
    silent: np.ndarray,
    said: np.ndarray | None,
) -> Figures:
    """Lips and opening by regression on the loudness of the visible part."""
    assert trial.clip.speech is not None
    loudness = measures.measure_loudness(trial.clip.speech, SPEECH_RATE, trial.clip.times)
    loudness = np.maximum(loudness, np.percentile(loudness, 95) - 40)
    known = np.isfinite(person.opening[: trial.visible])
    mouths = np.concatenate([person.opening[:, None], person.lips.reshape(len(person.lips), -1)], axis=1)
    inputs = np.stack([loudness, np.ones_like(loudness)], axis=1)
    taught = slice(None, trial.visible)
    weights = np.linalg.lstsq(inputs[taught][known], mouths[taught][known], rcond=None)[0]
    driven = inputs[hidden] @ weights
    return _compare(times, driven[:, 0], driven[:, 1:].reshape(-1, len(LIPS), 3), silent, hidden, person, 0.0, said)


def source_rest(clip: Clip, opening: np.ndarray) -> float:
    """How still the person's mouth is in pauses; of a clip without pauses, in its calmest tenth of 0.4 s pieces."""
    silent = (
        np.ones(len(opening), bool)
        if clip.speech is None
        else measures.find_silence(clip.speech, SPEECH_RATE, clip.times)
    )
    if (silent & np.isfinite(opening)).sum() * float(np.median(np.diff(clip.times))) >= 0.4:
        return measures.rest_spread(opening, silent)
    length = max(round(0.4 / float(np.median(np.diff(clip.times)))), 4)
    pieces = np.lib.stride_tricks.sliding_window_view(opening, length).std(axis=1)
    return float(np.nanpercentile(pieces, 10))


def _rest_level(opening: np.ndarray, silent: np.ndarray, person: Person) -> float:
    """How far open the mouth is in pauses, as a share of the person's range; 0 is closed."""
    chosen = opening[silent & np.isfinite(opening)]
    return float((chosen.mean() - person.span[0]) / (person.span[1] - person.span[0])) if len(chosen) else np.nan


def _shares(driven: Driven) -> Figures:
    return {outcome.name.lower(): float((driven.outcomes == outcome).mean()) for outcome in CropOutcome}


def _mean(found: list[Figures]) -> Figures:
    return {name: _mean_known([figures[name] for figures in found]) for name in found[0]}


def _mean_known(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _divide(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _median_ratio(pairs: np.ndarray) -> float:
    """Median of the result's over median of the source's, in frames that were changed."""
    known = pairs[np.isfinite(pairs).all(axis=1)]
    return float(np.median(known[:, 0]) / max(np.median(known[:, 1]), 1e-9)) if len(known) else float("nan")


def _ring_seam(profiles: np.ndarray) -> float:
    """How much steeper than in the source the steepest ring around the lips is."""
    known = profiles[np.isfinite(profiles).all(axis=1).any(axis=1)]
    if not len(known):
        return float("nan")
    result, source = np.nanmean(known, axis=0)
    return float(np.nanmax(result / np.maximum(source, 0.3)))
