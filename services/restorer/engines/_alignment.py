"""Where a face lies: five points of its mesh, laid onto the template that FFHQ's faces are cut to.

The template is facexlib's, which GFPGAN and CodeFormer were used with: centres of the eyes, tip of the nose, corners of
the mouth in a picture of 512 pixels. The similarity is that of least squares (Umeyama, PAMI 1991): it moves smoothly
with the points, where the usual least median of squares jumps from one subset of them to another.
"""

from collections.abc import Sequence

import numpy as np

_TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
_TEMPLATE_SIDE = 512
# Points of the FaceMesh; the eye and the corner of the mouth on the picture's left come first.
_EYES = ((33, 133, 159, 145, 158, 153, 160, 144), (362, 263, 386, 374, 385, 380, 387, 373))
_NOSE, _CORNERS = 4, (61, 291)
_WEIGHTS = np.array([1.0, 2.0, 3.0, 2.0, 1.0])  # of a frame and its neighbours in what is smoothed over time


def find_five_points(mesh: np.ndarray) -> np.ndarray:
    """(5, 2) of a mesh (468, 3), in its pixels."""
    eyes = [mesh[list(eye), :2].mean(axis=0) for eye in _EYES]
    return np.array([*eyes, mesh[_NOSE, :2], *(mesh[corner, :2] for corner in _CORNERS)], np.float64)


def align(points: np.ndarray, side: int) -> np.ndarray:
    """The similarity (2, 3) that takes five points (5, 2), pixel corners at whole numbers, onto a picture of `side`."""
    target = _TEMPLATE * (side / _TEMPLATE_SIDE)
    source = points - 0.5  # cv2 counts from pixel centres
    (middle, wanted) = (source.mean(axis=0), target.mean(axis=0))
    x, y = (source - middle).T
    u, v = (target - wanted).T
    power = max(float((x**2 + y**2).sum()), 1e-9)
    cosine, sine = float((x * u + y * v).sum()) / power, float((x * v - y * u).sum()) / power
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.hstack([turn, (wanted - turn @ middle)[:, None]])


def smooth_over_time(values: np.ndarray, frames: Sequence[int]) -> np.ndarray:
    """Values (n, ...) of those frames, each a little towards its neighbours' where the frames follow one another."""
    smoothed = np.empty_like(values)
    numbers = np.asarray(frames, np.int64)
    reach = len(_WEIGHTS) // 2
    for place, number in enumerate(numbers):
        steps = np.arange(max(place - reach, 0), min(place + reach + 1, len(numbers)))
        near = steps[numbers[steps] - number == steps - place]
        weights = _WEIGHTS[near - place + reach]
        smoothed[place] = np.tensordot(weights / weights.sum(), values[near], axes=1)
    return smoothed
