"""SCRFD's outputs as faces: two anchors in the corner of each cell, distances from them, no variances.

Guo, Deng, Lattas, Zafeiriou: Sample and Computation Redistribution for Efficient Face Detection, ICLR 2022.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

STRIDES = (8, 16, 32)
ANCHORS = 2  # of each cell
_BEFORE_SUPPRESSION = 1000  # the best detections of a picture that are looked at


@cache
def make_centres(width: int, height: int, stride: int) -> np.ndarray:
    """(n, 2) float32, pixels; by row, column, anchor."""
    x, y = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
    cells = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32) * stride
    return np.repeat(cells, ANCHORS, axis=0)


def decode_centres(
    outputs: Sequence[np.ndarray], size: tuple[int, int], min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces at or above `min_score`, best first: left, top, right, bottom (n, 4), scores (n,), points (n, 5, 2).

    In pixels. `outputs`: scores (m, 1), boxes (m, 4) and points (m, 10) of each stride, all scores first; `size`: width
    and height of the picture. Raises ValueError for outputs of other strides or anchors.
    """
    levels = len(STRIDES)
    corners, sure, five = [], [], []
    for level, stride in enumerate(STRIDES):
        scores, boxes, points = (outputs[level + kind * levels] for kind in range(3))
        centres = make_centres(*size, stride)
        if scores.size != len(centres):
            raise ValueError(f"{scores.size} scores at stride {stride} are not {ANCHORS} of each cell")
        kept = np.flatnonzero(scores.reshape(-1) >= min_score)
        near, reach = centres[kept], boxes.reshape(-1, 4)[kept] * stride
        corners.append(np.concatenate([near - reach[:, :2], near + reach[:, 2:]], axis=1))
        sure.append(scores.reshape(-1)[kept])
        five.append(near[:, None] + points.reshape(-1, 5, 2)[kept] * stride)
    order = np.argsort(-np.concatenate(sure), kind="stable")[:_BEFORE_SUPPRESSION]
    return np.concatenate(corners)[order], np.concatenate(sure)[order], np.concatenate(five)[order]
