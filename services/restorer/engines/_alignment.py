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


def align_to_ffhq(points: np.ndarray, side: int) -> np.ndarray:
    """The similarity (2, 3) that takes five points (5, 2), pixel corners at whole numbers, onto a picture of `side`."""
    return align(points, _TEMPLATE * (side / _TEMPLATE_SIDE))
