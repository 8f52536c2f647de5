"""The output of the BlazeFace full-range network as detections: anchors, decoding, weighted suppression."""

import numpy as np

# One anchor in the middle of each cell; box and key points are offsets from it in input pixels.
_GRID = 48
_INPUT_SIDE = 192
_SCORE_CLIP = 80.0  # keeps exp finite in float32
_SAME_FACE_OVERLAP = 0.3

_CELLS = (np.arange(_GRID, dtype=np.float32) + 0.5) / _GRID
_ANCHORS = np.stack(np.meshgrid(_CELLS, _CELLS), axis=-1).reshape(-1, 2)  # (2304, 2) x, y, row by row


def sigmoid(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-np.clip(values, -_SCORE_CLIP, _SCORE_CLIP)))
    return result


def decode_boxes(raw_boxes: np.ndarray, raw_scores: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray]:
    """Detections above `min_score`, best first.

    `raw_boxes` (2304, 16), `raw_scores` (2304,). Returns (n, 8, 2) and (n,): centre, size and the six key points (eye,
    eye, nose, mouth, ear, ear) as x, y in units of the input's side.
    """
    scores = sigmoid(raw_scores)
    kept = np.flatnonzero(scores >= min_score)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    boxes = raw_boxes[kept].reshape(-1, 8, 2) / np.float32(_INPUT_SIDE)
    boxes[:, [0, *range(2, 8)]] += _ANCHORS[kept, None]
    return boxes, scores[kept]


def suppress_weighted(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One detection per face: the mean of those that overlap, weighted by score. In and out as decode_boxes returns."""
    merged, best = [], []
    while len(boxes):
        same = overlaps(boxes[0], boxes) > _SAME_FACE_OVERLAP
        same[0] = True  # a box of no area overlaps not even itself
        merged.append(np.average(boxes[same], axis=0, weights=scores[same]))
        best.append(scores[0])
        boxes, scores = boxes[~same], scores[~same]
    return np.array(merged, np.float32).reshape(-1, 8, 2), np.array(best, np.float32)


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one (k, 2) with many (n, k, 2), rows 0 and 1 being centre and size."""
    low = np.maximum(box[0] - box[1] / 2, boxes[:, 0] - boxes[:, 1] / 2)
    high = np.minimum(box[0] + box[1] / 2, boxes[:, 0] + boxes[:, 1] / 2)
    common = np.clip(high - low, 0, None).prod(axis=1)
    union = box[1].prod() + boxes[:, 1].prod(axis=1) - common
    result: np.ndarray = common / np.maximum(union, 1e-12)
    return result
