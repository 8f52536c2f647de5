"""The mel spectrogram that Wav2Lip was trained on, as librosa makes it (Slaney's scale and normalisation)."""

from collections.abc import Iterator
from functools import cache

import numpy as np

SAMPLE_RATE = 16000  # hertz
HOP = 200  # samples
STEPS_PER_SECOND = SAMPLE_RATE // HOP  # 80
WINDOW_STEPS = 16  # that the network sees: 0.2 s
BANDS = 80
_FFT = 800  # samples
_LOW, _HIGH = 55.0, 7600.0  # hertz
_PREEMPHASIS = 0.97
_FLOOR_DB, _REFERENCE_DB = -100.0, 20.0
_RANGE = 4.0  # values lie in -4 to 4
_BLOCK = 2048  # steps transformed at once

# Slaney's mel: linear to 1000 Hz, logarithmic above.
_LINEAR_HERTZ, _BREAK_HERTZ = 200 / 3, 1000.0
_BREAK_MEL, _LOG_STEP = _BREAK_HERTZ / _LINEAR_HERTZ, np.log(6.4) / 27


def make_mel(samples: np.ndarray) -> np.ndarray:
    """(80, steps) float32, -4 to 4: one step for every 200 samples, and one. `samples`: (n,) float32 at 16000 Hz."""
    emphasised = np.asarray(samples, np.float64).copy()
    emphasised[1:] -= _PREEMPHASIS * emphasised[:-1]
    if len(emphasised) <= _FFT // 2:  # too short to be mirrored at its ends
        emphasised = np.pad(emphasised, (0, _FFT // 2 + 1 - len(emphasised)))
    padded = np.pad(emphasised, _FFT // 2, mode="reflect")
    bands = np.concatenate([_filters() @ magnitudes for magnitudes in _transform(padded)], axis=1)
    decibels = 20 * np.log10(np.maximum(10 ** (_FLOOR_DB / 20), bands)) - _REFERENCE_DB
    return np.asarray(np.clip(2 * _RANGE * (decibels / -_FLOOR_DB + 1) - _RANGE, -_RANGE, _RANGE), np.float32)


def place_windows(times: np.ndarray, steps: int) -> np.ndarray:
    """The first step of each frame's window (frames,) int32: from its own time on, the last ones ending with the sound.

    `times` (frames,) seconds, whatever the frame rate; `steps`: of the whole spectrogram, WINDOW_STEPS or more.
    """
    first = np.floor(np.asarray(times) * STEPS_PER_SECOND + 1e-6)
    return np.clip(first, 0, max(steps - WINDOW_STEPS, 0)).astype(np.int32)


def _transform(padded: np.ndarray) -> Iterator[np.ndarray]:
    """Magnitudes (401, steps) of a block of steps after another."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)  # Hann, periodic
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::HOP]
    for first in range(0, len(frames), _BLOCK):
        yield np.abs(np.fft.rfft(frames[first : first + _BLOCK] * window, axis=1)).T


@cache
def _filters() -> np.ndarray:
    """(80, 401): triangles of equal area, their corners equally far apart in mel."""
    corners = _to_hertz(np.linspace(_to_mel(_LOW), _to_mel(_HIGH), BANDS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    area = 2 / (corners[2:] - corners[:-2])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * area[:, None])


def _to_mel(hertz: float) -> float:
    if hertz < _BREAK_HERTZ:
        return hertz / _LINEAR_HERTZ
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HERTZ) / _LOG_STEP)


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.asarray(np.where(mel < _BREAK_MEL, mel * _LINEAR_HERTZ, above))
