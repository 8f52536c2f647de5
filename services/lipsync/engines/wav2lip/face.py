"""Faces into the network and back: the box it is shown, the half that is masked, the soft edge of what it made."""

import cv2
import numpy as np

_CHIN_ROOM = 0.05  # of the face's height, below the chin: the jaw opens
_SMOOTHING = 5  # frames over which boxes are averaged
# The jaw from ear to ear, then back over cheeks and the base of the nose. Points of the FaceMesh.
_LOWER_FACE = (
    *(93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323),
    *(425, 2, 205),
)
_CHEEK = (234, 454)  # the face's width
_SEEN = {384: 8}  # pixels of the lower half's border that a network of this side was shown in training
_MARGIN, _FEATHER = 0.03, 0.05  # of the face's width: by how much the mask is wider than the face, and how soft


def find_box(mesh: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom (4,) float32 of the face with room below the chin, pixels of the mesh's picture."""
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    return np.array([*low, high[0], high[1] + _CHIN_ROOM * (high[1] - low[1])], np.float32)


def smooth_boxes(boxes: np.ndarray) -> np.ndarray:
    """Each box (n, 4) the mean of itself and those that follow, five in all; NaN stays NaN and is left out."""
    smoothed = boxes.copy()
    for place in np.flatnonzero(np.isfinite(boxes[:, 0])):
        near = boxes[min(place, max(len(boxes) - _SMOOTHING, 0)) : place + _SMOOTHING]
        smoothed[place] = np.nanmean(near, axis=0)
    return smoothed


def to_network(picture: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """(6, side, side) float32, 0 to 1, BGR: the face with its lower half black, and as it is. `picture`: RGB."""
    face = _to_side(picture, box, side)[..., ::-1].astype(np.float32) / np.float32(255)
    masked = face.copy()
    seen = _SEEN.get(side, 0)
    masked[side // 2 : side - seen, seen : side - seen] = 0
    return np.ascontiguousarray(np.concatenate([masked, face], axis=2).transpose(2, 0, 1))


def lay_back(output: np.ndarray, picture: np.ndarray, box: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """RGBA: the network's face (3, side, side) in its box, where `mask` (height, width) uint8 lets it through."""
    made = np.ascontiguousarray(np.clip(output.transpose(1, 2, 0) * 255, 0, 255)[..., ::-1])
    height, width = picture.shape[:2]
    matrix = _matrix(box, output.shape[-1])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(made, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    colour = np.where(mask[..., None] > 0, np.clip(np.rint(laid), 0, 255).astype(np.uint8), picture)
    return np.dstack([colour, mask])


def make_mask(mesh: np.ndarray, box: np.ndarray, shape: tuple[int, ...], padding: float) -> np.ndarray:
    """(height, width) uint8: the lower face, wider with `padding` (0.5 to 1.5), soft, within the box's lower half."""
    width = float(np.linalg.norm(mesh[_CHEEK[0], :2] - mesh[_CHEEK[1], :2]))
    mask: np.ndarray = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(mesh[list(_LOWER_FACE), :2]).astype(np.int32)], 255)
    change = round(width * (_MARGIN + 0.1 * (padding - 1)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(change) + 1,) * 2)
    mask = cv2.dilate(mask, kernel) if change >= 0 else cv2.erode(mask, kernel)
    # What the network was shown it gives back softer: nothing above the half that it made is taken.
    mask[: max(round(float(box[1] + box[3]) / 2), 0)] = 0
    mask[max(round(float(box[3])), 0) :] = 0
    soft = 2 * max(round(width * _FEATHER), 1) + 1
    return np.asarray(cv2.blur(cv2.erode(mask, np.ones((soft // 2, soft // 2), np.uint8)), (soft, soft)))


def _to_side(picture: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The box as a square picture; what lies outside repeats the edge. A large one is averaged down, not sampled."""
    steps = max(round(float(max(box[2] - box[0], box[3] - box[1])) / side), 1)
    size = side * steps
    matrix = _matrix(box, size)
    face = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return face if steps == 1 else cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)


def _matrix(box: np.ndarray, side: int) -> np.ndarray:
    """Picture to square; both count from pixel centres, boxes from corners."""
    across, down = (side / max(float(box[axis + 2] - box[axis]), 1.0) for axis in (0, 1))
    x, y = (scale * (0.5 - float(box[axis])) - 0.5 for axis, scale in ((0, across), (1, down)))
    return np.array([[across, 0, x], [0, down, y]])
