"""How the shown mouth moves: planned over the whole job, so that neighbouring frames agree whatever mouths they show.

Recorded mouths follow one another in the path's order, but their shapes need not jump with them: every frame's mouth is
moved to a shape that changes smoothly, in its measures as planned and in all else with the mouths shown around it.
"""

import numpy as np

from services.lipsync.engines.rewrite.fit import Range
from services.lipsync.engines.rewrite.library import Library
from services.lipsync.engines.rewrite.path import OWN, Wish
from services.lipsync.engines.rewrite.shape import Measure
from services.lipsync.engines.rewrite.smoothing import blur

# A recorded mouth is moved towards the wish by this much of the gap, and so many spans of it at most.
_MOVED = np.array([0.6, 0.2, 0.4, 0.6, 0.6, 0.0])
_MOST_MOVED = 0.2
_SMOOTHING = 0.06  # seconds, standard deviation over time of the blur of what recorded mouths differ from the wish
_SETTLING = 0.25  # seconds, standard deviation of the blur of mouths at rest
_STILL = (0.4, 1.2)  # spans of opening a second: below the first a mouth rests, above the second it speaks
_STILL_FOR = 0.08  # seconds, standard deviation of the blur of that speed
NEIGHBOURS = np.array([1, 2, 3, 2, 1]) / 9  # weights of the mouths shown two frames before to two frames after


def plan_shapes(candidates: np.ndarray, wish: Wish, library: Library, known: Range, interval: float) -> np.ndarray:
    """The measures (n, measures) that the frames show, one every `interval` seconds."""
    rate = 1 / max(interval, 1e-3)
    still = _find_stillness(wish.measures[:, Measure.OPENING] / known.span[Measure.OPENING], rate)[:, None]
    # Only with other moments of rest: a closure amid speech stays closed.
    settled = _blur(wish.measures * still, _SETTLING * rate) / (_blur(still, _SETTLING * rate) + 1e-6)
    wanted = wish.measures + still * (settled - wish.measures)
    gaps = np.zeros_like(wanted)
    recorded = candidates != OWN
    gaps[recorded] = library.measures[candidates[recorded]] - wanted[recorded]
    most = _MOST_MOVED * known.span
    gaps -= np.clip((_MOVED + still * (1 - _MOVED)) * gaps, -most, most)
    return np.asarray(wanted + _blur(gaps, _SMOOTHING * rate))


def _find_stillness(opening: np.ndarray, rate: float) -> np.ndarray:
    """Where a mouth whose opening is given in spans rests: 1, where it speaks: 0. (n,)"""
    speed = np.abs(np.diff(opening, prepend=opening[:1])) * rate
    speed = _blur(speed[:, None], _STILL_FOR * rate)[:, 0]
    share = np.clip((_STILL[1] - speed) / (_STILL[1] - _STILL[0]), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def mix_neighbours(own: np.ndarray, shown: list[np.ndarray | None]) -> np.ndarray:
    """The mean mouth (468, 3) of those `shown` around a frame, in the face frame; None stands for the frame's `own`."""
    mixed = np.zeros_like(own)
    for weight, mouth in zip(NEIGHBOURS, shown, strict=True):
        mixed += weight * (own if mouth is None else mouth)
    return mixed


def _blur(rows: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur over time, `deviation` in rows."""
    return blur(rows, max(deviation, 1e-3), reach=max(int(np.ceil(2.5 * deviation)), 1))
