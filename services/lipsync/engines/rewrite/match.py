"""Whose voice it is: what the voice model says a mouth should do, against what each mouth does.

A correlation does not care how far a mouth opens, so a listener's trembling lips do not lose for being small; they lose
because they do not move when and how the sound asks for.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from services.lipsync.engines import Mouth, VoiceMatch
from services.lipsync.engines.rewrite import shape, voice

# How far the judge trusts each measure of shape.Measure: those that the net predicts well count most. Chosen on pairs
# of talking clips with one clip's sound (benchmarks/speakers.py).
_TRUST = np.array([1.0, 0.5, 0.3, 0.8, 0.7, 0.1])
_OFFSETS = np.arange(-0.2, 0.21, 0.02)  # seconds by which a recording's lips may lead its sound
_FAR_OFFSET = 0.15  # score that the largest offset costs: most recordings are in time
_SPEAKING = 0.5  # activity from which somebody is taken to speak
_LEAST_FRAMES = 10  # of a mouth while somebody speaks, below which nothing is said about it
_LONGEST_FRAME = 0.1  # seconds; a longer step between two frames is a gap


class RewriteMatching:
    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._mel = voice.MelStream()
        self._seen: dict[int, list[tuple[float, np.ndarray]]] = {}  # by mouth: seconds, measures

    def add_speech(self, samples: np.ndarray) -> None:
        self._mel.add(samples)

    def add_mouths(self, mouths: Sequence[Mouth]) -> None:
        measures = shape.measure_shapes(np.array([mouth.landmarks for mouth in mouths]))
        for mouth, measured in zip(mouths, measures, strict=True):
            self._seen.setdefault(mouth.mouth, []).append((float(mouth.pts * self._time_base), measured))

    def finish(self) -> list[VoiceMatch]:
        features = voice.make_features(self._mel.finish())
        predicted = voice.load_voice_model().predict(features)
        return [
            match_mouth(
                mouth, features, predicted, np.array([time for time, _ in seen]), np.array([m for _, m in seen])
            )
            for mouth, seen in self._seen.items()
        ]


def match_mouth(
    mouth: int, features: np.ndarray, predicted: np.ndarray, times: np.ndarray, measures: np.ndarray
) -> VoiceMatch:
    """`predicted` (steps, measures): what the sound asks for; `measures` (n, measures): the mouth at `times` (n,)."""
    if not len(features):
        return VoiceMatch(mouth, 0.0, 0.0)
    steps = voice.step_times(len(features))
    speaking = np.interp(times, steps, voice.step_activity(features)) > _SPEAKING
    if speaking.sum() < _LEAST_FRAMES:
        return VoiceMatch(mouth, 0.0, 0.0)
    seconds = float(np.minimum(np.diff(times, append=times[-1]), _LONGEST_FRAME)[speaking].sum())
    times, done = times[speaking], _standardise(measures[speaking])
    scores = []
    for offset in _OFFSETS:
        asked = np.stack([np.interp(times + offset, steps, column) for column in predicted.T], axis=1)
        correlations = (_standardise(asked) * done).mean(axis=0)
        scores.append(correlations @ _TRUST / _TRUST.sum() - _FAR_OFFSET * (offset / _OFFSETS[-1]) ** 2)
    return VoiceMatch(mouth, seconds, float(np.clip(max(scores), -1, 1)))


def _standardise(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1; those that do not vary stay 0."""
    deviation = columns.std(axis=0)
    return np.asarray((columns - columns.mean(axis=0)) / np.where(deviation > 1e-6, deviation, np.inf))
