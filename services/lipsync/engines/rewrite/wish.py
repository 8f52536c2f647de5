"""What mouth each output frame should show: the person's answer to the speech, and rest where nobody speaks."""

import numpy as np

from services.lipsync.engines.rewrite import shape, voice
from services.lipsync.engines.rewrite.fit import PersonFit

_SMOOTHING = 0.022  # seconds, standard deviation of the blur of the wanted shape over time
_AT_REST = 0.1  # spans of opening above rest up to which the frame's own mouth passes for closed


def wish_shapes(fit: PersonFit, mel: np.ndarray, times: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The measures (n, measures) wanted at `times`, given those of the frames' own mouths (NaN: no face).

    Where nobody speaks a mouth that is closed anyway is left as it is.
    """
    features = voice.make_features(mel)
    steps = voice.step_times(len(features))
    if len(steps) == 0:
        spoken, activity = np.tile(fit.known.rest, (len(times), 1)), np.zeros((len(times), 1))
    else:
        rest = fit.known.rest
        answer, _ = fit.predict(features)
        measures = smooth_over_time(answer)
        columns = zip(measures.T, rest, strict=True)
        spoken = np.stack([np.interp(times, steps, column, right=at) for column, at in columns], axis=1)
        activity = np.interp(times, steps, voice.step_activity(features), right=0.0)[:, None]
    spoken[:, shape.Measure.OPENING] = np.maximum(spoken[:, shape.Measure.OPENING], 0)
    opened = fit.known.to_relative(own)[:, :1]
    closed = np.clip(2 - np.nan_to_num(opened, nan=9.0) / _AT_REST, 0, 1)
    return np.asarray(spoken + (np.nan_to_num(own) - spoken) * closed * (1 - activity) ** 2)


def smooth_over_time(measures: np.ndarray) -> np.ndarray:
    """Gaussian blur of rows MOUTH_RATE a second."""
    reach = np.arange(-3, 4)
    kernel = np.exp(-0.5 * (reach / (_SMOOTHING * voice.MOUTH_RATE)) ** 2)
    padded = np.pad(measures, ((3, 3), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(reach), axis=0)
    return np.asarray(windows @ (kernel / kernel.sum()))
