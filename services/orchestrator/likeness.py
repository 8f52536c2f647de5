"""Whether two faces are the same person's: by the detector's embeddings where it takes any, else by their looks.

By looks a face becomes a vector: directions of edges around landmarks off the mouth (after Chen et al., "Blessing of
dimensionality", CVPR 2013), colours there and of the hair above, and how far apart the landmarks lie. That tells people
of one video apart, in one light and at similar angles. It does not know a person again from another day: an embedding
does. Both are vectors whose likeness is computed alike; how much of it is needed is the measure's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

SAME_PERSON = 0.93  # likeness from which faces of two shots are one person's; see docs/measured.md
LIKE_PHOTO = 0.9  # likeness to a photo, from which it may show this person
CLEARLY = 0.02  # likeness by which one person must be more like a photo than all others


@dataclass(frozen=True, slots=True)
class Measure:
    """What faces are compared by, and the likeness it takes: see SAME_PERSON, LIKE_PHOTO, CLEARLY.

    `another`: likeness below which a face is another's though it is where the first one was a moment ago.
    """

    name: str
    same_person: float
    like_photo: float
    clearly: float
    another: float


LANDMARKS = Measure("landmarks", SAME_PERSON, LIKE_PHOTO, CLEARLY, -np.inf)
# Cosines of ArcFace's embeddings, about 0 for strangers. Not measured here: see docs/engines.md.
ARCFACE = Measure("arcface", 0.4, 0.3, 0.05, 0.2)
MEASURES = {measure.name: measure for measure in (LANDMARKS, ARCFACE)}

_SIDE = 128  # pixels of the patch in which a face is looked at
# Middles of the eyes, tip of the nose, corners of the mouth: where they lie in the patch.
_ANCHORS = np.array([[51.25, 62.9], [76.62, 62.76], [64.02, 77.33], [53.6, 92.18], [74.61, 92.07]], np.float32)
_LEFT_EYE, _RIGHT_EYE, _NOSE_TIP, _MOUTH_CORNERS = [33, 133, 159, 145], [263, 362, 386, 374], 1, [61, 291]
# Forehead, brows, eyes, nose, cheeks, sides of the face. Not the mouth: it moves.
_POINTS = [
    10, 67, 297, 109, 338, 54, 284, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327,
    70, 63, 105, 66, 107, 300, 293, 334, 296, 336, 33, 160, 158, 133, 153, 144, 263, 387, 385, 362, 380, 373,
    116, 117, 118, 119, 50, 205, 345, 346, 347, 348, 280, 425, 234, 454, 127, 356, 93, 323, 132, 361, 58, 288,
]  # fmt: skip
_FOREHEAD, _BETWEEN_EYES = [10, 109, 338], 168
_HAIR = 0.35  # of the forehead's height above it
_RIGID = np.array([33, 133, 263, 362, 168, 6, 197, 5, 1, 2, 10, 151, 9, 67, 297, 127, 356, 234, 454, 98, 327, 70, 300])
_CORNERS = np.array([[-4, -4], [4, -4], [-4, 4], [4, 4]], np.float32)  # pixels from a point to its four cells
_DIRECTIONS = 8
_CELL, _SMOOTH, _SKIN = 3.0, 0.8, 3.0  # pixels: deviation of the blur over cells, of edges, of colours
_FLAT = 4.0  # strength of edges that is none
_LIGHTNESS = 0.5  # weight beside the colours: light differs more between shots
_COLOUR = 0.0003  # of a squared distance in Lab, beside edges
_SHAPE = 40.0  # of a squared distance in sizes of the face, beside edges


def describe_face(view: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(n,) float32 for the face with that mesh (468, 3), both in pixels of the view (height, width, 3) uint8 RGB."""
    to_patch = _align(mesh)
    patch = cv2.warpAffine(view, to_patch, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
    places = mesh[:, :2] @ to_patch[:, :2].T + to_patch[:, 2]
    hair = places[_FOREHEAD] + _HAIR * (places[_FOREHEAD[0]] - places[_BETWEEN_EYES])
    edges = _describe_edges(patch, places[_POINTS])
    colours = _describe_colours(patch, np.concatenate([places[_POINTS], hair]))
    return np.concatenate([edges, np.sqrt(_COLOUR) * colours, np.sqrt(_SHAPE) * _describe_shape(mesh)])


def join_descriptions(descriptions: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """The description of one person seen several times: describe_face's, or embeddings."""
    joined = np.average(np.array(descriptions, np.float32), axis=0, weights=weights)
    edges = len(_POINTS) * len(_CORNERS) * _DIRECTIONS
    joined[:edges] /= max(float(np.linalg.norm(joined[:edges])), 1e-6)
    return np.asarray(joined, np.float32)


def compare_faces(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Likeness of descriptions (..., n) and (..., n): 1 at most, below 0 for faces that have nothing in common."""
    return np.asarray(1 - ((first - second) ** 2).sum(axis=-1) / 2)


def _align(mesh: np.ndarray) -> np.ndarray:
    """(2, 3): the similarity that lays eyes, nose and mouth on _ANCHORS, least squares."""
    points = mesh[:, :2].astype(np.float64)
    eyes = [points[_LEFT_EYE].mean(axis=0), points[_RIGHT_EYE].mean(axis=0)]
    seen = np.array([*eyes, points[_NOSE_TIP], *points[_MOUTH_CORNERS]]) @ [1, 1j]
    wanted = _ANCHORS.astype(np.float64) @ [1, 1j]
    centred = seen - seen.mean()
    turn = (centred.conj() @ (wanted - wanted.mean())) / max((centred.conj() @ centred).real, 1e-9)
    shift = wanted.mean() - turn * seen.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _describe_edges(patch: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Strengths of edges by direction in four cells around each point, evened out for contrast; of length 1."""
    grey = cv2.GaussianBlur(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _SMOOTH)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    turn = np.arctan2(down, across) % (2 * np.pi) * (_DIRECTIONS / (2 * np.pi))
    maps = []
    for direction in range(_DIRECTIONS):
        near = np.abs((turn - direction + _DIRECTIONS / 2) % _DIRECTIONS - _DIRECTIONS / 2)
        maps.append(cv2.GaussianBlur(strength * np.maximum(1 - near, 0).astype(np.float32), (0, 0), _CELL))
    cells = [_sample(plane, places + corner) for plane in maps for corner in _CORNERS]
    edges = np.concatenate(cells, axis=1)
    edges = np.sqrt(edges / (np.linalg.norm(edges, axis=1, keepdims=True) + _FLAT)).ravel()
    return np.asarray(edges / max(float(np.linalg.norm(edges)), 1e-6), np.float32)


def _describe_colours(patch: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Lab at each point, lightness against the face's own; a mean over points when squared and summed."""
    lab = cv2.GaussianBlur(cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), _SKIN)
    colours = np.concatenate([_sample(plane, places) for plane in cv2.split(lab)], axis=1)
    colours[:, 0] = _LIGHTNESS * (colours[:, 0] - colours[:, 0].mean())
    return np.asarray(colours.ravel() / np.sqrt(len(places)), np.float32)


def _describe_shape(mesh: np.ndarray) -> np.ndarray:
    """Distances between points of the skull in sizes of the face, whichever way the head is turned."""
    points = mesh[_RIGID].astype(np.float64)
    rows, columns = np.triu_indices(len(points), 1)
    distances = np.linalg.norm(points[rows] - points[columns], axis=1)
    return np.asarray(distances / max(distances.mean(), 1e-6) / np.sqrt(len(distances)), np.float32)


def _sample(plane: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(points, 1): the plane's values at places (points, 2)."""
    x, y = places.astype(np.float32).T
    return np.asarray(cv2.remap(plane, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
