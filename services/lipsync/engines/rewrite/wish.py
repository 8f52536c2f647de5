"""What mouth each output frame should show: the person's answer to the speech, and rest where nobody speaks."""

import numpy as np

from services.lipsync.engines import USUAL, Expression
from services.lipsync.engines.rewrite import voice
from services.lipsync.engines.rewrite.fit import PersonFit, Range
from services.lipsync.engines.rewrite.shape import Measure
from services.lipsync.engines.rewrite.smoothing import around, bell, blur

_MOST_SMOOTHING = 0.11  # seconds, standard deviation of the blur of the wanted shape over time
_AT_REST = 0.1  # spans of opening above rest up to which the frame's own mouth passes for closed
# How likely lips are closed, twice the strength times: from the first on they are pressed, from the second wholly.
# Chosen on clips the nets did not learn from: of their closings 0.88 are met, 0.75 of those made are theirs.
_CLOSING = (0.25, 0.45)
_REACH = 0.12  # seconds either side that a closing is felt, and
_PRESSED = 0.035  # the standard deviation of how much
_PRESSING = [Measure.OPENING, Measure.LOWER_LIP]


def wish_shapes(
    fit: PersonFit, mel: np.ndarray, times: np.ndarray, own: np.ndarray, expression: Expression = USUAL
) -> np.ndarray:
    """The measures (n, measures) wanted at `times`, given those of the frames' own mouths (NaN: no face).

    The lips lead or follow the speech by PersonFit.kept_offset. Where nobody speaks a mouth that is closed anyway is
    left as it is.
    """
    features = voice.make_features(mel)
    steps, heard = voice.step_times(len(features)), times + fit.kept_offset
    if len(steps) == 0:
        spoken, activity = np.tile(fit.known.rest, (len(times), 1)), np.zeros((len(times), 1))
    else:
        rest = fit.known.rest
        answer, closing = fit.predict(features)
        measures = rest + expression.mouth_intensity * (answer - rest)
        measures = smooth_over_time(measures, expression.smoothing)
        measures = press_lips(measures, closing, fit.known, expression.closure_strength)
        columns = zip(measures.T, rest, strict=True)
        spoken = np.stack([np.interp(heard, steps, column, right=at) for column, at in columns], axis=1)
        activity = np.interp(heard, steps, voice.step_activity(features), right=0.0)[:, None]
    spoken[:, Measure.OPENING] = np.maximum(spoken[:, Measure.OPENING], 0)
    opened = fit.known.to_relative(own)[:, :1]
    closed = np.clip(2 - np.nan_to_num(opened, nan=9.0) / _AT_REST, 0, 1)
    return np.asarray(spoken + (np.nan_to_num(own) - spoken) * closed * (1 - activity) ** 2)


def limit_opening(measures: np.ndarray, known: Range, most: float) -> np.ndarray:
    """The measures drawn back towards rest where their opening is above `most`."""
    above_rest = np.maximum(measures[:, Measure.OPENING] - known.rest[Measure.OPENING], 1e-6)
    share = np.clip((most - known.rest[Measure.OPENING]) / above_rest, 0, 1)[:, None]
    return np.asarray(known.rest + share * (measures - known.rest))


def press_lips(measures: np.ndarray, closing: np.ndarray, known: Range, strength: float) -> np.ndarray:
    """The measures, MOUTH_RATE a second, with the lips together where they are likely to be, by `strength` 0 to 1.

    `closing` (n,): Answer.closing. A net that hedges between open and closed half closes at m, b and p; lips do not.
    """
    reach = round(_REACH * voice.MOUTH_RATE)
    peaks = closing == around(np.pad(closing, 1, mode="edge"), 1).max(axis=1)
    begin, wholly = _CLOSING
    share = peaks * np.clip((2 * strength * closing - begin) / (wholly - begin), 0, 1)
    pull = (around(np.pad(share, reach), reach) * bell(reach, _PRESSED * voice.MOUTH_RATE)).max(axis=1)[:, None]
    pressed = measures.copy()
    pressed[:, _PRESSING] -= pull * np.maximum(measures - known.rest, 0)[:, _PRESSING]
    return pressed


def smooth_over_time(measures: np.ndarray, smoothing: float) -> np.ndarray:
    """Gaussian blur of rows MOUTH_RATE a second; none for 0, the most for 1."""
    deviation = smoothing * _MOST_SMOOTHING * voice.MOUTH_RATE
    return blur(measures, deviation, reach=round(3 * deviation))
