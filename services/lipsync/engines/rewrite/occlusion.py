"""Whether something is in front of the mouth: a hand, a microphone, paper. The mesh does not tell, it guesses on.

What the lower face looks like is learned from the source: the coarse colour at mesh points against that of the upper
face, so that the light matters little, as it goes with pose and mouth. Whatever hides skin, lips or beard is coloured
otherwise at many of these points at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from services.lipsync.engines.rewrite import blob, shape
from services.lipsync.engines.rewrite.masks import LOWER_INNER_LIP, UPPER_INNER_LIP
from services.runtime.blobs import Rows

# Between the eyes, down the nose and on the cheekbones: what is hidden last.
_REFERENCE = np.array([6, 197, 195, 5, 50, 280, 101, 330, 118, 347, 36, 266, 205, 425, 117, 346])
_COARSE = 28  # pixels between the eyes in the picture that colours are read from
_INPUTS = shape.Measure.PROTRUSION + 3  # measures but the last, yaw, pitch and roll
_DARK = 12.0  # levels added before taking logarithms: noise in the dark says nothing
_FEWEST = 16  # faces to learn from
_PENALTY = 0.02  # of the regression on pose and mouth, share of the number of faces
_LEAST_SPREAD = 0.05  # logarithm of colour: 5 %
_MOST_SHADE = 0.12  # logarithm by which the whole lower face may be lighter or darker than thought
_UNUSUAL = (2.5, 4.0)  # spreads off at which a point begins to be unlike, and surely is
_HIDDEN = 0.2  # share of unlike points above which a face teaches nothing
_ROUNDS = 4  # of learning without the faces that the round before found hidden
_BLOCK = 256  # faces measured at a time: what is thought of them takes far more memory than they do
_FADE = (0.12, 0.2)  # shares of unlike points between which the new mouth fades out
_TURNED = np.array([[30.0, 34.0], [42.0, 42.0]])  # yaw and pitch, degrees, between which it keeps to the frame's own


@dataclass(frozen=True, slots=True)
class Looks:
    """How the lower face looks: colour logarithms by pose and mouth. No points when too little was seen."""

    weights: np.ndarray  # (1 + inputs, points * 3)
    centre: np.ndarray  # (inputs,) mean of the inputs seen
    reach: np.ndarray  # (2, inputs) least and most of them
    spread: np.ndarray  # (points,)

    def measure_hidden(self, colours: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """The share (n,) of points that look unlike this face. `colours`: (n, points, 3); `inputs`: (n, inputs)."""
        if not len(self.spread):
            return np.zeros(len(colours))
        known = np.clip(inputs, *self.reach)
        expected = _with_one(known - self.centre) @ self.weights
        unlike = colours - expected.reshape(colours.shape)
        unlike -= np.clip(np.median(unlike, axis=1, keepdims=True), -_MOST_SHADE, _MOST_SHADE)
        beyond = 1 + np.abs(inputs - known).max(axis=1, keepdims=True)
        off = np.abs(unlike).max(axis=2) / (self.spread * beyond)
        share = np.clip((off - _UNUSUAL[0]) / (_UNUSUAL[1] - _UNUSUAL[0]), 0, 1)
        return np.asarray(share.mean(axis=1))

    def find_hidden(self, colours: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Which faces (n,) teach nothing of the mouth."""
        shares = [self.measure_hidden(colours[block], inputs[block]) for block in _blocks(len(colours))]
        return np.concatenate([np.zeros(0), *shares]) > _HIDDEN

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {f"looks_{name}": getattr(self, name).astype(np.float32) for name in self.__slots__}


NOTHING = Looks(np.zeros((1, 0)), np.zeros(0), np.zeros((2, 0)), np.zeros(0))


def weigh_mouth(picture: np.ndarray, mesh: np.ndarray, looks: Looks) -> float:
    """How much of a new mouth the frame may show: 1, or less the more of the face is hidden, down to 0.

    Of this frame alone, so that it is the same wherever a segment begins; it fades as a hand comes and goes.
    """
    measures, poses = shape.measure_faces(mesh[None])
    colours = read_colours(picture, mesh)[None]
    hidden = float(looks.measure_hidden(colours, measure_inputs(measures, poses))[0])
    return 1 - float(_smooth_step((hidden - _FADE[0]) / (_FADE[1] - _FADE[0])))


def weigh_turn(mesh: np.ndarray) -> float:
    """How far from its own shape a mouth may go: 1, or less the farther the head is turned, down to 0.

    A head may stay turned for long. Half of another mouth over its own would be a ghost all the while, a mouth that
    moves half as much is none; and far mouths, whose mesh is guesswork, would spread over what is behind the face.
    """
    poses = shape.measure_poses(mesh[None])
    return 1 - float(_smooth_step((np.abs(poses[0, :2]) - _TURNED[0]) / (_TURNED[1] - _TURNED[0])).max())


def measure_inputs(measures: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """What the looks go with: (n, inputs) of measures (n, measures) and poses (n, 4)."""
    mouth = measures[:, : shape.Measure.PROTRUSION] / 0.1
    # Coarser than what the size of a batch does to the last digits.
    return np.concatenate([mouth, poses[:, :3] / 10], axis=1).astype(np.float32)


def read_colours(picture: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Logarithms of coarse colours at the lower face's points, against the upper face's. (points, 3)"""
    points = np.concatenate([_lower_face(), _REFERENCE])
    low, high = mesh[points, :2].min(axis=0), mesh[points, :2].max(axis=0)
    scale = _COARSE / max(float(np.linalg.norm(mesh[263] - mesh[33])), 1.0)
    height, width = picture.shape[:2]
    left, top = np.clip(np.floor(low) - 4, 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(high) + 4, (left + 1, top + 1), (width, height)).astype(int)
    part = picture[top:bottom, left:right, :3]
    size = (max(2, round((right - left) * scale)), max(2, round((bottom - top) * scale)))
    coarse = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    at = (mesh[points, :2] - (left, top)) * (size[0] / (right - left), size[1] / (bottom - top)) - 0.5
    at = at.astype(np.float32)
    read = cv2.remap(coarse, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    logarithms = np.log(read.astype(np.float32) + _DARK)
    return np.asarray(logarithms[: -len(_REFERENCE)] - np.median(logarithms[-len(_REFERENCE) :], axis=0))


def learn_looks(colours: np.ndarray, inputs: np.ndarray) -> Looks:
    """From faces (n, points, 3), the most of which are not hidden."""
    if len(colours) < _FEWEST:
        return NOTHING
    flat = colours.reshape(len(colours), -1)
    median = np.median(flat, axis=0)
    off = np.abs(flat - median).reshape(colours.shape).max(axis=2)
    open_faces = (off > 3 * np.maximum(np.median(off, axis=0), _LEAST_SPREAD)).mean(axis=1) < _HIDDEN
    looks = NOTHING
    for _ in range(_ROUNDS):
        if open_faces.sum() < _FEWEST:
            return NOTHING
        looks = _fit(flat[open_faces], inputs[open_faces], colours.shape[1])
        open_faces = ~looks.find_hidden(colours, inputs)
    return looks


def read_looks(arrays: Mapping[str, Rows]) -> Looks:
    """Raises Refusal BLOB_UNUSABLE for arrays that make no looks."""
    spread = blob.require("prepared", arrays, "looks_spread", "<f4", None)
    centre = blob.require("prepared", arrays, "looks_centre", "<f4", None)
    points, inputs = len(spread), len(centre)
    looks = Looks(
        blob.require("prepared", arrays, "looks_weights", "<f4", 1 + inputs, 3 * points),
        centre,
        blob.require("prepared", arrays, "looks_reach", "<f4", 2, inputs),
        spread,
    )
    if (points, inputs) not in ((0, 0), (len(_lower_face()), _INPUTS)) or (spread <= 0).any():
        blob.refuse("prepared", "its looks are damaged")
    return looks


def _fit(flat: np.ndarray, inputs: np.ndarray, points: int) -> Looks:
    """Ridge regression on pose and mouth, and what it leaves unexplained."""
    centre = inputs.mean(axis=0)
    given = _with_one(inputs - centre)
    penalty = np.full(given.shape[1], _PENALTY * len(given))
    penalty[0] = 0
    moments = sum(given[block].T @ flat[block] for block in _blocks(len(flat)))
    weights = np.linalg.solve(given.T @ given + np.diag(penalty), moments)
    left = np.empty((len(flat), points), np.float32)
    for block in _blocks(len(flat)):
        unlike = (flat[block] - given[block] @ weights).reshape(-1, points, 3)
        unlike -= np.median(unlike, axis=1, keepdims=True)
        left[block] = np.abs(unlike).max(axis=2)
    spread = np.maximum(np.percentile(left, 80, axis=0) / 1.3, _LEAST_SPREAD)  # 1.3: of a normal deviate
    fitted = min(given.shape[1] / len(given), 0.6)
    spread = spread * np.sqrt((1 + fitted) / (1 - fitted))  # faces that were learned from fit better than others will
    return Looks(weights, centre, np.stack([inputs.min(axis=0), inputs.max(axis=0)]), spread)


def _blocks(faces: int) -> list[slice]:
    return [slice(first, first + _BLOCK) for first in range(0, faces, _BLOCK)]


def _with_one(inputs: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(inputs), 1)), inputs], axis=1)


@cache
def _lower_face() -> np.ndarray:
    """Points on lips and skin that a mouth moves, but for the rim of the mouth's inside."""
    moved = np.flatnonzero(shape.load_face_model().weights > 0.25)
    return np.setdiff1d(moved, np.concatenate([UPPER_INNER_LIP, LOWER_INNER_LIP]))


def _smooth_step(value: float | np.ndarray) -> np.ndarray:
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
