"""RetinaFace's outputs as faces: prior boxes, decoding, greedy non-maximum suppression."""

from functools import cache
from math import ceil

import numpy as np

# Stride of each level, and the sides of its two square anchors, pixels.
_LEVELS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
_VARIANCES = (0.1, 0.2)  # of centres and points, of sizes
_MOST_GROWTH = 8.0  # keeps exp finite: no face is e^8 times its anchor
_BEFORE_SUPPRESSION = 1000  # the best detections of a picture that are looked at


@cache
def make_priors(width: int, height: int) -> np.ndarray:
    """Anchors (n, 4) float32: centre x, y, width, height in units of the picture's; by level, row, column, size."""
    priors = []
    for stride, sides in _LEVELS:
        rows, columns = ceil(height / stride), ceil(width / stride)
        y, x, side = np.meshgrid(np.arange(rows), np.arange(columns), np.array(sides, np.float64), indexing="ij")
        cells = [(x + 0.5) * stride / width, (y + 0.5) * stride / height, side / width, side / height]
        priors.append(np.stack(cells, axis=-1).reshape(-1, 4))
    return np.concatenate(priors).astype(np.float32)


def decode(
    outputs: tuple[np.ndarray, np.ndarray, np.ndarray], size: tuple[int, int], min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces at or above `min_score`, best first: left, top, right, bottom (n, 4), scores (n,), points (n, 5, 2).

    In pixels. `outputs`: boxes (anchors, 4), scores (anchors, 2) and points (anchors, 10) as the network gives them;
    `size`: width and height of the picture.
    """
    boxes, scores, points = outputs
    kept = np.flatnonzero(scores[:, 1] >= min_score)
    kept = kept[np.argsort(-scores[kept, 1], kind="stable")][:_BEFORE_SUPPRESSION]
    priors, scale = make_priors(*size)[kept], np.array(size, np.float32)
    centres = priors[:, :2] + boxes[kept, :2] * _VARIANCES[0] * priors[:, 2:]
    sides = priors[:, 2:] * np.exp(np.minimum(boxes[kept, 2:] * _VARIANCES[1], _MOST_GROWTH))
    five = priors[:, None, :2] + points[kept].reshape(-1, 5, 2) * _VARIANCES[0] * priors[:, None, 2:]
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    return corners * np.tile(scale, 2), scores[kept, 1], five * scale


def suppress(boxes: np.ndarray, overlap: float = 0.4) -> np.ndarray:
    """Places (m,) of the boxes (n, 4), best first, that no better one overlaps by more; sides count whole pixels."""
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order, kept = np.arange(len(boxes)), []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.maximum(high - low + 1, 0).prod(axis=1)
        order = rest[common / (areas[best] + areas[rest] - common) <= overlap]
    return np.array(kept, np.int64)
