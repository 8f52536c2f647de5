"""The parts of the 468-point mesh that rendering speaks of, and the triangles between its points."""

from functools import cache
from pathlib import Path

import numpy as np

# Corner to corner, the person's right to left.
UPPER_INNER_LIP = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308])
LOWER_INNER_LIP = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308])
UPPER_OUTER_LIP = np.array([61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291])
LOWER_OUTER_LIP = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291])
EYE_CORNERS = (33, 263)  # the outer ones

# Clockwise as seen, from the top of the forehead.
_LEFT_OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
_RIGHT_OVAL = [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
FACE_OVAL = np.array([*_LEFT_OVAL, *_RIGHT_OVAL])
# The first two rings of skin around the lips; the second touches the nose and ends above the chin's tip.
_SKIN_AT_LIPS = [57, 186, 92, 165, 167, 164, 393, 391, 322, 410, 287, 273, 335, 406, 313, 18, 83, 182, 106, 43]
# The ring after those, without the nose.
_SKIN_BEYOND = [206, 216, 212, 202, 204, 194, 201, 200, 421, 418, 424, 422, 432, 436, 426]


def inner_lip_ring(mesh: np.ndarray) -> np.ndarray:
    """The outline of the mouth's inside. (20, 2)"""
    return mesh[np.concatenate([UPPER_INNER_LIP, LOWER_INNER_LIP[-2:0:-1]]), :2]


def outer_lip_ring(mesh: np.ndarray) -> np.ndarray:
    """The outline of the lips. (20, 2)"""
    return mesh[np.concatenate([UPPER_OUTER_LIP, LOWER_OUTER_LIP[-2:0:-1]]), :2]


@cache
def skin_triangles() -> np.ndarray:
    """Point indices (876, 3) that cover the face but for the mouth's inside.

    A Delaunay triangulation of a mean frontal face with its mouth open, so that no triangle joins upper and lower lip.
    """
    return np.load(Path(__file__).with_name("triangles.npy")).astype(np.int64)


@cache
def inside_triangles() -> np.ndarray:
    """Point indices (18, 3) that cover the mouth's inside, in pairs from corner to corner."""
    triangles = []
    for upper_left, upper_right, lower_left, lower_right in zip(
        UPPER_INNER_LIP[:-1], UPPER_INNER_LIP[1:], LOWER_INNER_LIP[:-1], LOWER_INNER_LIP[1:], strict=True
    ):
        triangles += [(upper_left, upper_right, lower_right), (upper_left, lower_right, lower_left)]
    return np.array([triangle for triangle in triangles if len(set(triangle)) == 3])


@cache
def lip_points() -> np.ndarray:
    """Indices of all points on the lips, outer outline and inner outline and between."""
    between = [
        [76, 62, 184, 183, 74, 42, 73, 41, 72, 38, 11, 12, 302, 268, 303, 271, 304, 272, 408, 407, 306, 292],
        [77, 96, 90, 89, 180, 179, 85, 86, 16, 15, 315, 316, 404, 403, 320, 319, 307, 325],
    ]
    outlines = [UPPER_INNER_LIP, LOWER_INNER_LIP, UPPER_OUTER_LIP, LOWER_OUTER_LIP]
    return np.unique(np.concatenate([*outlines, *between]))


@cache
def all_corners_on_lips() -> np.ndarray:
    """Which of the skin triangles are lip alone. (876,) bool"""
    corners: np.ndarray = np.isin(skin_triangles(), lip_points())
    return np.logical_and.reduce(corners, axis=1)


def mouth_weights(padding: float = 1.0) -> np.ndarray:
    """How much of a recorded mouth each mesh point takes: 1 on the lips and the skin next to them, else 0. (468,)

    With less `padding` that skin takes less, none at 0.5; with more the skin around it joins in, wholly at 1.5.
    """
    weights = np.zeros(468, np.float32)
    weights[_SKIN_BEYOND] = np.clip(2 * padding - 2, 0, 1)
    weights[_SKIN_AT_LIPS] = np.clip(2 * padding - 1, 0, 1)
    weights[lip_points()] = 1
    return weights
