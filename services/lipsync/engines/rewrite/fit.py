"""What a source's own speech teaches about its person: range, timing, and how this mouth differs from anybody's.

Every step is checked: the sound must fit the lips at one offset, and the correction must beat the generic net on parts
of the source that it was not fitted on. Otherwise only the person's range is used, or the usual range of everybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

from services.lipsync.engines.rewrite import blob, shape, voice
from services.lipsync.engines.rewrite.shape import Measure
from services.runtime.blobs import Rows

MAX_OFFSET = 0.2  # seconds
_OFFSET_STEP = 0.01  # seconds
# Seconds by which lips may lead or follow any speech as they do the source's: half a frame of 25 a second. Viewers
# notice 45 ms and accept none above 90 (early sound; ITU-R BT.1359): from there on the recording is at fault.
_KEPT_OFFSET, _FAULTY_OFFSET = 0.02, 0.09
_MIN_TIMED = 1.5  # seconds of speech under a visible mouth, below which not even the offset is looked for
_MIN_SPEECH = 2.5  # the same, below which nothing is fitted
_MIN_CORRELATION = 0.2  # of prediction and lips at the best offset, below which the sound is not these lips'
_OFFSET_GAIN = 0.04  # correlation that an offset must win over none
_MIN_TAUGHT = 6.0  # seconds of speech under a visible mouth, below which the net's answer is not corrected
_PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)  # of the correction's weights, per 1000 frames
_BLOCKS = 4  # of the source's frames, each held out once
_MIN_BETTER = 3  # blocks in which the correction must win
_MIN_GAIN = 0.03  # correlation that it must win on average
_TRUST = 0.5  # scale of what the nets made of the sound, as inputs of the correction
_MOVING = 0.035  # opening, in eye distances: lips that part further than this at times are lips that speak
_REST_SPREAD = 0.02  # opening at rest, in eye distances, by which people differ
# What the net is not sure of it hedges: its answers vary a little less than mouths do.
GENERIC_GAIN = 1.05
_MAX_GAIN = 1.8
_HARDLY = "The source hardly speaks: its person's range is taken as usual."


@dataclass(frozen=True, slots=True)
class Range:
    """A person's mouth: its measures at rest, and how far each usually goes from there."""

    rest: np.ndarray
    span: np.ndarray

    def to_relative(self, measures: np.ndarray) -> np.ndarray:
        return (measures - self.rest) / self.span

    def to_measures(self, relative: np.ndarray) -> np.ndarray:
        return self.rest + relative * self.span


def find_range(measures: np.ndarray) -> Range:
    """Range of a mouth seen speaking: rest is the middle of the fifth most closed, spans reach from low to high."""
    opening = measures[:, Measure.OPENING]
    closed = opening <= np.percentile(opening, 20)
    low, high = np.percentile(measures, [5, 95], axis=0)
    return Range(np.median(measures[closed], axis=0), np.maximum(high - low, 0.01))


def usual_range() -> Range:
    model = voice.load_voice_model()
    return Range(model.rest, model.span)


@dataclass(frozen=True, slots=True)
class PersonFit:
    """`weights`: (hidden + 1, measures) correction of the net's answer, the last row its bias; zeros without a fit."""

    known: Range
    weights: np.ndarray
    gain: np.ndarray  # (measures,)
    offset: float  # seconds by which the source's lips lead its sound
    fitted: bool = False
    correlation: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def kept_offset(self) -> float:
        """Seconds by which lips that say any speech lead it."""
        if abs(self.offset) >= _FAULTY_OFFSET:
            return 0.0
        return min(max(self.offset, -_KEPT_OFFSET), _KEPT_OFFSET)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Measures (steps, measures) that say the speech, at rest where nobody speaks; and Answer.closing."""
        relative, closing = np.zeros((len(features), shape.MEASURES)), np.zeros(len(features), np.float32)
        for steps, answer in voice.load_voice_model().answers(features):
            relative[steps], closing[steps] = answer.measures, answer.closing
            if self.fitted:
                relative[steps] += _inputs(answer.hidden) @ self.weights
        activity = voice.step_activity(features)
        return self.known.to_measures(relative * self.gain * activity[:, None]), closing * activity

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {
            "fit_rest": self.known.rest.astype(np.float64),
            "fit_span": self.known.span.astype(np.float64),
            "fit_weights": self.weights.astype(np.float32),
            "fit_gain": self.gain.astype(np.float64),
            "fit_facts": np.array([self.offset, float(self.fitted), self.correlation]),
        }


def read_fit(arrays: Mapping[str, Rows]) -> PersonFit:
    """Raises Refusal BLOB_UNUSABLE for arrays that make no fit."""
    span = blob.require("prepared", arrays, "fit_span", "<f8", shape.MEASURES)
    if (span <= 0).any():
        blob.refuse("prepared", "its range is damaged")
    facts = blob.require("prepared", arrays, "fit_facts", "<f8", 3)
    return PersonFit(
        Range(blob.require("prepared", arrays, "fit_rest", "<f8", shape.MEASURES), span),
        blob.require("prepared", arrays, "fit_weights", "<f4", voice.load_voice_model().hidden + 1, shape.MEASURES),
        blob.require("prepared", arrays, "fit_gain", "<f8", shape.MEASURES),
        float(facts[0]),
        bool(facts[1]),
        float(facts[2]),
    )


def fit_person(mel: np.ndarray, times: np.ndarray, measures: np.ndarray) -> PersonFit:
    """`mel`: the source's own sound; `times` (n,) seconds and `measures` (n, measures): its mouth in n frames."""
    if len(measures) == 0:
        return _unfitted(usual_range(), "No frame showed a usable mouth.")
    features = voice.make_features(mel)
    steps = voice.step_times(len(features))
    speaking = _at(voice.step_activity(features)[:, None], times)[:, 0] > 0.5
    seconds = float(np.minimum(np.diff(times, append=times[-1]), 0.1)[speaking].sum())
    if seconds < _MIN_TIMED:
        return _unfitted(_mix_range(measures, seconds / _MIN_SPEECH), _HARDLY)
    known = find_range(measures)
    truth = np.clip(known.to_relative(measures), -1.5, 2.5)
    heard = voice.load_voice_model().predict(features)
    offset, correlation = find_offset(steps, heard[:, 0], times[speaking], truth[speaking, 0])
    if seconds < _MIN_SPEECH:
        return _unfitted(_mix_range(measures, seconds / _MIN_SPEECH), _HARDLY, offset)
    if np.percentile(measures[:, 0], 95) < _MOVING or correlation < _MIN_CORRELATION:
        note = "The source's sound does not fit its lips: only its range was learned."
        return _unfitted(_mix_range(measures, 0.5), note)
    answer = _at(heard, times + offset)
    if seconds < _MIN_TAUGHT:
        note = "The source speaks too little to learn more from it than its person's range and timing."
        return PersonFit(known, _no_weights(), _find_gain(answer, truth), offset, notes=(note,))
    return _fit_checked(_hear_at(features, times + offset), answer, truth, known, offset)


def find_offset(steps: np.ndarray, predicted: np.ndarray, times: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Seconds by which the lips lead the sound, 0 unless another is clearly better; and the correlation there."""
    offsets = np.arange(-MAX_OFFSET, MAX_OFFSET + _OFFSET_STEP / 2, _OFFSET_STEP)
    found = np.array([_correlate(np.interp(times + offset, steps, predicted), truth) for offset in offsets])
    best, none = int(found.argmax()), len(offsets) // 2
    at_border = best in (0, len(offsets) - 1)
    if at_border or found[best] < _MIN_CORRELATION or found[best] - found[none] < _OFFSET_GAIN:
        best = none
    return round(float(offsets[best]), 3), float(found[best])


def _fit_checked(inputs: np.ndarray, generic: np.ndarray, truth: np.ndarray, known: Range, offset: float) -> PersonFit:
    """The correction whose penalty does best on blocks of frames left out in turn, if that is better than none."""
    missing = (truth - generic).astype(inputs.dtype)
    edges = np.linspace(0, len(inputs), _BLOCKS + 1).astype(int)
    blocks = [slice(first, end) for first, end in pairwise(edges)]
    before = np.array([_correlate(generic[block, 0], truth[block, 0]) for block in blocks])
    after = np.zeros((len(_PENALTIES), _BLOCKS))
    moments = [_Moments.of(inputs[block], missing[block]) for block in blocks]
    for place, block in enumerate(blocks):
        for row, weights in enumerate(_ridges(moments[:place] + moments[place + 1 :])):
            after[row, place] = _correlate((generic[block] + inputs[block] @ weights)[:, 0], truth[block, 0])
    best = int(after.mean(axis=1).argmax())
    gains, correlation = after[best] - before, float(after[best].mean())
    if gains.mean() < _MIN_GAIN or (gains > 0).sum() < _MIN_BETTER or correlation < _MIN_CORRELATION:
        note = "A fit to the source's speech did not predict its lips better than the net alone."
        return PersonFit(known, _no_weights(), _find_gain(generic, truth), offset, notes=(note,))
    weights = _ridges(moments)[best]
    gain = _find_gain(generic + inputs @ weights, truth)
    return PersonFit(known, weights, gain, offset, fitted=True, correlation=correlation)


class _Moments(NamedTuple):
    """Sums over frames: all that a regression knows of them. The last input is 1."""

    squares: np.ndarray  # (inputs, inputs)
    products: np.ndarray  # (inputs, outputs)

    @classmethod
    def of(cls, inputs: np.ndarray, outputs: np.ndarray) -> Self:
        exact = inputs.astype(np.float64)
        return cls(exact.T @ exact, exact.T @ outputs)


def _ridges(moments: Sequence[_Moments]) -> list[np.ndarray]:
    """Weights (inputs, outputs) float32 for each of _PENALTIES; that of the last input goes free."""
    squares, products = (sum(sums, np.zeros(1)) for sums in zip(*moments, strict=True))
    count, mean, bias = squares[-1, -1], squares[-1, :-1] / squares[-1, -1], products[-1] / squares[-1, -1]
    variances, axes = np.linalg.eigh(squares[:-1, :-1] - count * np.outer(mean, mean))
    along = axes.T @ (products[:-1] - count * np.outer(mean, bias))
    found = []
    for penalty in _PENALTIES:
        weights = axes @ (along / (np.maximum(variances, 0) + penalty * count / 1000)[:, None])
        found.append(np.concatenate([weights, (bias - mean @ weights)[None]]).astype(np.float32))
    return found


def _find_gain(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.clip(truth.std(axis=0) / np.maximum(predicted.std(axis=0), 1e-6), 1.0, _MAX_GAIN)


def _inputs(hidden: np.ndarray) -> np.ndarray:
    """(n, hidden + 1): what the correction is a linear map of."""
    inputs = np.ones((len(hidden), hidden.shape[1] + 1), hidden.dtype)
    np.multiply(hidden, _TRUST, out=inputs[:, :-1])
    return inputs


def _hear_at(features: np.ndarray, times: np.ndarray) -> np.ndarray:
    """_inputs at times; those of every step are never held together."""
    model = voice.load_voice_model()
    inputs = np.zeros((len(times), model.hidden + 1), np.float32)
    nearest = _nearest(len(features), times)
    for steps, answer in model.answers(features):
        heard = _inputs(answer.hidden)
        for places, shares in nearest:
            here = (places >= steps.start) & (places < steps.stop)
            inputs[here] += heard[places[here] - steps.start] * shares[here, None]
    return inputs


def _no_weights() -> np.ndarray:
    return np.zeros((voice.load_voice_model().hidden + 1, shape.MEASURES))


def _unfitted(known: Range, note: str, offset: float = 0.0) -> PersonFit:
    return PersonFit(known, _no_weights(), np.full(shape.MEASURES, GENERIC_GAIN), offset, notes=(note,))


def _mix_range(measures: np.ndarray, trust: float) -> Range:
    """The person's own rest, and spans between the usual and, with `trust` 1, the person's own."""
    own, usual = find_range(measures), usual_range()
    rest = own.rest.copy()
    # Who smiles with open lips all the time still closes them to speak: the lips' part of the rest is then a guess.
    smile = max(rest[Measure.OPENING] - usual.rest[Measure.OPENING] - _REST_SPREAD, 0.0)
    rest[Measure.OPENING] -= smile
    rest[Measure.LOWER_LIP] -= smile
    return Range(rest, trust * own.span + (1 - trust) * usual.span)


def _at(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Rows (steps, columns) at other times."""
    mixed = np.zeros((len(times), rows.shape[1]))
    for places, shares in _nearest(len(rows), times):
        mixed += rows[places] * shares[:, None]
    return mixed


def _nearest(steps: int, times: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The nearest step before each of the times and that after it, and their shares; none where there are no steps."""
    if steps == 0:
        return []
    places = np.clip(times * voice.MOUTH_RATE, 0, steps - 1)
    before = np.minimum(places.astype(np.int64), max(steps - 2, 0))
    after = (places - before).astype(np.float32)
    return [(before, 1 - after), (np.minimum(before + 1, steps - 1), after)]


def _correlate(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 1e-12 else 0.0
