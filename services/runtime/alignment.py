"""Five points of a face's mesh, and the similarity that lays them on a template's."""

import numpy as np

# Points of the FaceMesh; the eye and the corner of the mouth on the picture's left come first.
_EYES = ((33, 133, 159, 145, 158, 153, 160, 144), (362, 263, 386, 374, 385, 380, 387, 373))
_NOSE, _CORNERS = 4, (61, 291)


def find_five_points(mesh: np.ndarray) -> np.ndarray:
    """(5, 2) float64 of a mesh (468, 3), in its pixels: centres of the eyes, tip of the nose, corners of the mouth."""
    eyes = [mesh[list(eye), :2].mean(axis=0) for eye in _EYES]
    return np.array([*eyes, mesh[_NOSE, :2], *(mesh[corner, :2] for corner in _CORNERS)], np.float64)


def align(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) from `points` (5, 2) to `target` (5, 2), by least squares (Umeyama, PAMI 1991).

    `points` count from pixel corners, `target` from pixel centres, as templates do. The matrix moves smoothly with the
    points, where the usual least median of squares jumps from one subset of them to another.
    """
    source = points - 0.5  # cv2 counts from pixel centres
    (middle, wanted) = (source.mean(axis=0), target.mean(axis=0))
    x, y = (source - middle).T
    u, v = (target - wanted).T
    power = max(float((x**2 + y**2).sum()), 1e-9)
    cosine, sine = float((x * u + y * v).sum()) / power, float((x * v - y * u).sum()) / power
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.hstack([turn, (wanted - turn @ middle)[:, None]])
