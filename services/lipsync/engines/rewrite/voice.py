"""Speech -> what the mouth of anybody does: log-mel features and a small net trained on other people.

Everything runs on one regular grid of MOUTH_RATE steps a second, counted from time 0 of the speech; whoever wants other
times interpolates. The net's answer is *relative*: 0 is a mouth at rest, 1 spans a person's usual range of a measure.
`voice_model.onnx` holds the net and the usual range; README.md beside it says what it was trained on.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime

from services.lipsync.engines import SPEECH_RATE

MODEL_FILE = Path(__file__).with_name("voice_model.onnx")

HOP = 160  # samples: 10 ms
WINDOW = 400  # samples: 25 ms
FFT = 512  # samples
BANDS = 32
LOWEST_HERTZ, HIGHEST_HERTZ = 70.0, 7000.0
MOUTH_RATE = 50  # steps a second
MEL_PER_STEP = SPEECH_RATE // HOP // MOUTH_RATE
CONTEXT = np.arange(-10, 11, 2)  # what a person fit sees around a step, in steps of 20 ms: 200 ms either side
HEARD_BEFORE, HEARD_AFTER = 48, 16  # steps that the net hears around one, rounded up to pairs: at most 300 ms ahead
LEVEL_WINDOW = 600  # mel frames (6 s) either side over which loudness and channel are evened out
QUIET = 1e-5  # power under which a band counts as silent (about -50 dB of full scale)
STEADY = 1.2  # logarithm of power; sound that varies less than this over time is nobody's speech
_CHUNK = 4096  # steps predicted at a time


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
        return frames[:wanted]

    def _take(self, samples: np.ndarray) -> None:
        count = max((len(samples) - WINDOW) // HOP + 1, 0)
        for first in range(0, count, _CHUNK):
            last = min(first + _CHUNK, count)
            piece = np.nan_to_num(samples[first * HOP : (last - 1) * HOP + WINDOW])
            windows = np.lib.stride_tricks.sliding_window_view(piece, WINDOW)[::HOP]
            power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW).astype(np.float32), FFT)) ** 2
            self._frames.append(np.log(power @ mel_filters() + QUIET).astype(np.float32))
        self._left = samples[count * HOP :].copy()


@cache
def mel_filters() -> np.ndarray:
    """(FFT // 2 + 1, BANDS) triangles, even on the mel scale, each of height 1."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HERTZ, HIGHEST_HERTZ))
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / SPEECH_RATE)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0)


def mel_of(samples: np.ndarray) -> np.ndarray:
    stream = MelStream()
    stream.add(samples)
    return stream.finish()


def find_activity(mel: np.ndarray) -> np.ndarray:
    """How surely somebody speaks, 0 to 1, for each mel frame: loudness against the recording's own floor and speech."""
    if len(mel) == 0:
        return np.zeros(0, np.float32)
    loudness = _blur(mel[:, 2:26].mean(axis=1), 3)
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
    """(steps, BANDS + 1) float32: bands evened out for loudness and channel, and activity; one row every 20 ms."""
    activity = find_activity(mel)
    steps = -(-len(mel) // MEL_PER_STEP)
    if steps == 0:
        return np.zeros((0, BANDS + 1), np.float32)
    weights = activity.astype(np.float64) + 1e-3
    mean = _windowed_mean(mel, weights)
    spread = np.sqrt(np.maximum(_windowed_mean((mel - mean).mean(axis=1, keepdims=True) ** 2, weights), 0.25))
    even = np.clip((mel - mean) / (spread + 1.0), -4, 4)
    rows = np.concatenate([even, activity[:, None]], axis=1).astype(np.float32)
    rows = np.concatenate([rows, np.repeat(rows[-1:], steps * MEL_PER_STEP - len(mel), axis=0)])
    return rows.reshape(steps, MEL_PER_STEP, BANDS + 1).mean(axis=1)


def stack_context(features: np.ndarray, first: int, last: int) -> np.ndarray:
    """(last - first, len(CONTEXT) * columns): each step's row with its neighbours in time."""
    steps = np.arange(first, last)[:, None] + CONTEXT
    return features[np.clip(steps, 0, len(features) - 1)].reshape(last - first, -1)


class VoiceModel:
    """The net, and the median rest and span of the people it was trained on, each (measures,)."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        # One thread, so that answers do not depend on the machine and the other jobs keep their cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        facts = self._session.get_modelmeta().custom_metadata_map
        self.rest, self.span = (np.array(json.loads(facts[name]), np.float64) for name in ("rest", "span"))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Relative measures (steps, measures) float32 for features (steps, BANDS + 1)."""
        answers = [np.zeros((0, len(self.rest)), np.float32)]
        for first in range(0, len(features), _CHUNK):
            last = min(first + _CHUNK, len(features))
            heard = max(first - HEARD_BEFORE, 0)
            piece = features[heard : last + HEARD_AFTER]
            # The net takes steps in pairs.
            piece = np.concatenate([piece, piece[-1:]]) if len(piece) % 2 else piece
            (answer,) = self._session.run(None, {"features": np.ascontiguousarray(piece.T[None], np.float32)})
            answers.append(answer[0, first - heard : last - heard])
        return np.concatenate(answers)


@cache
def load_voice_model() -> VoiceModel:
    return VoiceModel(MODEL_FILE)


def step_times(steps: int) -> np.ndarray:
    """Middle of each step, in seconds."""
    return (np.arange(steps) + 0.5 - 0.5 / MEL_PER_STEP) / MOUTH_RATE


def step_activity(features: np.ndarray) -> np.ndarray:
    """How surely somebody speaks in each step, 0 to 1."""
    return features[:, -1]


def _windowed_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over LEVEL_WINDOW either side of each row, shrunk a little towards that of the whole."""
    total = weights.sum()
    whole = (values * weights[:, None]).sum(axis=0) / total
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum((values - whole) * weights[:, None], axis=0)])
    mass = np.concatenate([[0.0], np.cumsum(weights)])
    places = np.arange(len(values))
    first = np.maximum(places - LEVEL_WINDOW, 0)
    last = np.minimum(places + LEVEL_WINDOW + 1, len(values))
    near = (sums[last] - sums[first]) / ((mass[last] - mass[first])[:, None] + 100.0)
    return np.asarray(whole + near)


def _blur(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over `radius` frames either side."""
    padded = np.pad(values, radius, mode="edge")
    return np.convolve(padded, np.full(2 * radius + 1, 1 / (2 * radius + 1)), mode="valid")


def _hold(values: np.ndarray, radius: int) -> np.ndarray:
    """Largest over `radius` frames either side."""
    padded = np.pad(values, radius, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1).max(axis=1))
