"""Where a face lies: five points of its mesh, laid onto the template that FFHQ's faces are cut to.

The template is facexlib's, which GFPGAN and CodeFormer were used with: centres of the eyes, tip of the nose, corners of
the mouth in a picture of 512 pixels.
"""

import numpy as np

from services.runtime.alignment import align

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
_WEIGHTS = np.array([1.0, 2.0, 3.0, 2.0, 1.0])  # of a frame and its neighbours in what is smoothed over time
REACH = len(_WEIGHTS) // 2  # frames to either side that count


def align_to_ffhq(points: np.ndarray, side: int) -> np.ndarray:
    """The similarity (2, 3) that takes five points (5, 2), pixel corners at whole numbers, onto a picture of `side`."""
    return align(points, _TEMPLATE * (side / _TEMPLATE_SIDE))


def smooth_over_time(
    values: np.ndarray, frames: np.ndarray, before: np.ndarray, frames_before: np.ndarray
) -> np.ndarray:
    """Values (n, ...) of those frames, each a little towards its neighbours' where the frames follow one another.

    `before` (m, ...): values of frames that came earlier, for what they say of the first ones.
    """
    known, numbers = np.concatenate([before, values]), np.concatenate([frames_before, frames])
    smoothed = np.empty_like(values)
    for place in range(len(before), len(known)):
        steps = np.arange(max(place - REACH, 0), min(place + REACH + 1, len(numbers)))
        near = steps[numbers[steps] - numbers[place] == steps - place]
        weights = _WEIGHTS[near - place + REACH]
        smoothed[place - len(before)] = np.tensordot(weights / weights.sum(), known[near], axes=1)
    return smoothed
