"""Speech -> what the mouth of anybody does: cepstra, and nets that hear phones in them and know what lips do.

Everything runs on one regular grid of MOUTH_RATE steps a second, counted from time 0 of the speech; whoever wants other
times interpolates. The model's answer is *relative*: 0 is a mouth at rest, 1 spans a person's usual range of a measure.
`voice_model.onnx` holds the nets and the usual range; README.md beside it says what it was trained on.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime

from services.lipsync.engines import SPEECH_RATE

MODEL_FILE = Path(__file__).with_name("voice_model.onnx")

# The front end is that of the acoustic model inside the net (CMU Sphinx en-us), so that its densities hold.
HOP = 160  # samples: 10 ms
WINDOW = 410  # samples: 25.6 ms
FFT = 512  # samples
BANDS = 25
LOWEST_HERTZ, HIGHEST_HERTZ = 130.0, 6800.0
EMPHASIS = 0.97  # of each sample the one before is taken off by this much
CEPSTRA, LIFTER = 13, 22
FEATURES = 3 * CEPSTRA + 1
MOUTH_RATE = 50  # steps a second
MEL_PER_STEP = SPEECH_RATE // HOP // MOUTH_RATE
HEARD_BEFORE, HEARD_AFTER = 48, 16  # steps that the net hears around one, rounded up to pairs: at most 300 ms ahead
LEVEL_WINDOW = 600  # mel frames (6 s) either side over which the channel is evened out
QUIET = 1e-8  # power under which a band counts as silent: what 16 bits do not tell from nothing
FLOOR = 10.0  # logarithm of power by which whatever is quieter than loud speech is not heard
STEADY = 1.2  # logarithm of power; sound that varies less than this over time is nobody's speech
_CHUNK = 256  # steps at a time: memory, here and in the net, must hardly grow with the speech


@dataclass(frozen=True, slots=True)
class Answer:
    """What a mouth does in n steps of speech.

    `measures`: (n, measures) float32, relative; `closing`: (n,) how likely the lips are closed, 0 to 1; `hidden`:
    (n, any) what the nets made of the sound before they answered, for a person fit to answer otherwise.
    """

    measures: np.ndarray
    closing: np.ndarray
    hidden: np.ndarray


class MelStream:
    """Log-mel frames (n, BANDS) float32 of speech that comes in pieces; frame k is centred on sample k * HOP."""

    def __init__(self) -> None:
        self._left = np.zeros(WINDOW // 2, np.float32)
        self._frames: list[np.ndarray] = []
        self._samples = 0

    @property
    def seconds(self) -> float:
        return self._samples / SPEECH_RATE

    def add(self, samples: np.ndarray) -> None:
        self._samples += len(samples)
        self._take(np.concatenate([self._left, np.asarray(samples, np.float32)]))

    def finish(self) -> np.ndarray:
        self._take(np.concatenate([self._left, np.zeros(WINDOW, np.float32)]))
        wanted = -(-self._samples // HOP) if self._samples else 0
        frames = np.concatenate(self._frames) if self._frames else np.zeros((0, BANDS), np.float32)
        self._frames = []
        return frames[:wanted]

    def _take(self, samples: np.ndarray) -> None:
        count = max((len(samples) - WINDOW) // HOP + 1, 0)
        for first in range(0, count, _CHUNK):
            last = min(first + _CHUNK, count)
            piece = np.nan_to_num(samples[first * HOP : (last - 1) * HOP + WINDOW])
            windows = np.lib.stride_tricks.sliding_window_view(piece, WINDOW)[::HOP]
            power = np.abs(np.fft.rfft(windows * np.hamming(WINDOW).astype(np.float32), FFT)) ** 2
            self._frames.append(np.log(power @ mel_filters() + QUIET).astype(np.float32))
        self._left = samples[count * HOP :].copy()


@cache
def mel_filters() -> np.ndarray:
    """(FFT // 2 + 1, BANDS) triangles, even on the mel scale, each of area 1 in bins; EMPHASIS is in them."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HERTZ, HIGHEST_HERTZ))
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1) * FFT / SPEECH_RATE
    edges, bins = np.round(edges), np.arange(FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(np.minimum(rising, falling), 0) * 2 / (edges[2:] - edges[:-2])
    return triangles * (1 + EMPHASIS**2 - 2 * EMPHASIS * np.cos(2 * np.pi * bins / FFT))


def mel_of(samples: np.ndarray) -> np.ndarray:
    stream = MelStream()
    stream.add(samples)
    return stream.finish()


def find_activity(mel: np.ndarray) -> np.ndarray:
    """How surely somebody speaks, 0 to 1, for each mel frame: loudness against the recording's own floor and speech."""
    if len(mel) == 0:
        return np.zeros(0, np.float32)
    loudness = _blur(mel[:, 1:20].mean(axis=1), 3)
    floor, speech = np.percentile(loudness, [5, 95])
    silence = np.log(QUIET)
    if speech < silence + 2.0 or speech - floor < STEADY:
        return np.zeros(len(mel), np.float32)
    floor = min(floor, speech - 4.0)  # a recording without pauses has no floor of its own
    threshold = max(floor + 0.35 * (speech - floor), silence + 1.0)
    softness = max(0.06 * (speech - floor), 0.2)
    sure = 1 / (1 + np.exp(-np.clip((loudness - threshold) / softness, -30, 30)))
    return np.asarray(_blur(_hold(sure, 8), 4), np.float32)


def make_features(mel: np.ndarray) -> np.ndarray:
    """(steps, FEATURES) float32: cepstra, their slope and bend over time, and activity; one row every 20 ms.

    Davis and Mermelstein, Comparison of Parametric Representations (1980), in the variety of CMU Sphinx (1s_c_d_dd).
    """
    if len(mel) == 0:
        return np.zeros((0, FEATURES), np.float32)
    activity = find_activity(mel)
    heard = np.logaddexp(mel, np.percentile(mel.mean(axis=1), 95) - FLOOR)
    _even_out(heard, activity.astype(np.float64) + 1e-3)
    features = np.empty((-(-len(mel) // MEL_PER_STEP), FEATURES), np.float32)
    for first in range(0, len(features), _CHUNK):
        frames = np.arange(MEL_PER_STEP * first, min(MEL_PER_STEP * (first + _CHUNK), len(mel)))
        around = np.arange(frames[0] - 3, frames[-1] + 4)
        rows = heard[np.clip(around, 0, len(mel) - 1)] @ cepstral_axes()
        slope = rows[4:] - rows[:-4]
        bend = slope[2:] - slope[:-2]
        columns = (rows[3:-3], slope[1:-1], bend, activity[frames, None])
        features[first : first + _CHUNK] = np.concatenate(columns, axis=1)[::MEL_PER_STEP]
    return features


@cache
def cepstral_axes() -> np.ndarray:
    """(BANDS, CEPSTRA): the orthonormal cosine transform, liftered."""
    order = np.arange(CEPSTRA)
    axes = np.cos(np.pi * (np.arange(BANDS)[:, None] + 0.5) * order / BANDS) * np.sqrt(2 / BANDS)
    axes[:, 0] *= np.sqrt(0.5)
    return np.asarray(axes * (1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER)))


class VoiceModel:
    """The nets, and the median rest and span of the people they were trained on, each (measures,)."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        # One thread, so that answers do not depend on the machine and the other jobs keep their cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # else pieces of each length take memory of their own
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        facts = self._session.get_modelmeta().custom_metadata_map
        self.rest, self.span = (np.array(json.loads(facts[name]), np.float64) for name in ("rest", "span"))
        self.hidden = int(self._session.get_outputs()[2].shape[2])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Answer.measures to all of the features (steps, FEATURES)."""
        measures = np.zeros((len(features), len(self.rest)), np.float32)
        for steps, answer in self.answers(features):
            measures[steps] = answer.measures
        return measures

    def answers(self, features: np.ndarray) -> Iterator[tuple[slice, Answer]]:
        """The answers to features (steps, FEATURES), some seconds at a time, each with the steps that it is of."""
        for first in range(0, len(features), _CHUNK):
            last = min(first + _CHUNK, len(features))
            heard = max(first - HEARD_BEFORE, 0)
            piece = features[heard : last + HEARD_AFTER]
            # The nets take steps in pairs.
            piece = np.concatenate([piece, piece[-1:]]) if len(piece) % 2 else piece
            parts = self._session.run(None, {"features": np.ascontiguousarray(piece, np.float32)[None]})
            yield slice(first, last), Answer(*(part[0, first - heard : last - heard] for part in parts))


@cache
def load_voice_model() -> VoiceModel:
    return VoiceModel(MODEL_FILE)


def step_times(steps: int) -> np.ndarray:
    """Seconds."""
    return np.arange(steps) / MOUTH_RATE


def step_activity(features: np.ndarray) -> np.ndarray:
    """How surely somebody speaks in each step, 0 to 1."""
    return features[:, -1]


def _even_out(values: np.ndarray, weights: np.ndarray) -> None:
    """Takes off, in place, the weighted mean over LEVEL_WINDOW either side of each row, shrunk a little towards that of
    the whole.
    """
    places = np.arange(len(values))
    first = np.maximum(places - LEVEL_WINDOW, 0)
    last = np.minimum(places + LEVEL_WINDOW + 1, len(values))
    mass = np.concatenate([[0.0], np.cumsum(weights)])
    total, near = weights.sum(), mass[last] - mass[first] + 100.0
    for column in values.T:  # one by one: an hour of speech takes much memory
        exact = column.astype(np.float64)
        exact -= (exact * weights).sum() / total
        sums = np.concatenate([[0.0], np.cumsum(exact * weights)])
        column[:] = exact - (sums[last] - sums[first]) / near


def _blur(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over `radius` frames either side."""
    padded = np.pad(values, radius, mode="edge")
    return np.convolve(padded, np.full(2 * radius + 1, 1 / (2 * radius + 1)), mode="valid")


def _hold(values: np.ndarray, radius: int) -> np.ndarray:
    """Largest over `radius` frames either side."""
    padded = np.pad(values, radius, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1).max(axis=1))
