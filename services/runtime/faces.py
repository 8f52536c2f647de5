"""Faces and face crops: the nouns that detector, lipsync, restorer and orchestrator share. Knows no wire."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

# Points of the MediaPipe FaceMesh, in its order. A mesh is an array (468, 3) float32: x, y in pixels of the picture
# (origin at the outer corner of the top left pixel), z growing away from the camera on the scale of x.
LANDMARK_COUNT = 468


@dataclass(frozen=True, slots=True)
class Box:
    """In pixels; may reach outside the picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Face:
    """A face in one frame. `landmarks`: (468, 3) float32, pixels of the same picture as `box`.

    `embedding`: who it is, (512,) float32 of length 1; in the frames in which it was taken, the first and on doubt.
    """

    track: int
    box: Box
    score: float
    landmarks: np.ndarray
    embedding: np.ndarray | None = None


class CropOutcome(IntEnum):
    """What was done to a crop; as `CropOutcome` in media.proto, number for number."""

    SYNCED = 1
    WARPED = 2
    DRAWN = 3
    PASSED_THROUGH = 4


@dataclass(frozen=True, slots=True)
class Crop:
    """A face crop on its way through an engine.

    `pixels`: (height, width, 3) uint8 RGB or (height, width, 4) uint8 RGBA. In RGBA the A is the weight with which the
    crop replaces the frame, and RGB is the source's own wherever A is 0. `landmarks`: (468, 3) float32 in crop pixels,
    or None where no usable face is. `trust`: 0 to 1, how far a network's picture was let in; None: by no network.
    """

    frame: int
    pts: int
    pixels: np.ndarray
    landmarks: np.ndarray | None
    outcome: CropOutcome | None = None
    trust: float | None = None
