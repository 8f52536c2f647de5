"""Coarse to fine: BlazeFace says where to look, a slower network decides; FaceMesh follows what it confirms.

BlazeFace is asked first, and asked to doubt nothing; the network looks only at what it names, and decides. Where
BlazeFace names nothing the network looks at the whole window.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from services.detector.engines._anchors import suppress
from services.detector.engines._identity import Recognizer
from services.detector.engines._networks import Detection, FaceNetworks
from services.detector.engines._region import Region, cut_region, region_of_box, to_picture, widen
from services.detector.engines.blazeface import DETECTION_MODEL, MESH_MODEL, BlazeFace
from services.runtime.backends import Backend
from services.runtime.engine import EngineInfo
from services.runtime.models import model_path

NEAR_SIDE = 192  # pixels of a face's surroundings as the network sees them
_WHOLE_SIDE = 640  # of a whole window
_SURROUNDINGS = 1.6  # of a face's region
_DOUBTFUL = 0.2  # score from which BlazeFace's detections are looked at
_BORDER = 0  # cv2.BORDER_CONSTANT: black, as pictures are padded

# Squares (n, side, side, 3) uint8 RGB as the network wants them: (n, 3, side, side) float32.
Prepare = Callable[[np.ndarray], np.ndarray]
# A square's outputs and its size as boxes (n, 4), scores (n,) and five points (n, 5, 2), best first, pixels.
Decode = Callable[[Sequence[np.ndarray], tuple[int, int]], tuple[np.ndarray, np.ndarray, np.ndarray]]


class ConfirmedNetworks(FaceNetworks):
    """FaceNetworks whose faces another network has confirmed."""

    def __init__(self, backend: Backend, prepare: Prepare, decode: Decode, threads: int, most: int) -> None:
        """`most`: pictures in one batch."""
        super().__init__(model_path(DETECTION_MODEL), model_path(MESH_MODEL), threads, _DOUBTFUL)
        self._backend, self._prepare, self._decode, self._most = backend, prepare, decode, most

    def find_faces(self, picture: np.ndarray, window: Region) -> list[Detection]:
        named = super().find_faces(picture, window)
        if not named:
            return self._look(picture, [window], _WHOLE_SIDE)
        return self._look(picture, [widen(detection.region, _SURROUNDINGS) for detection in named], NEAR_SIDE)

    def _look(self, picture: np.ndarray, regions: list[Region], side: int) -> list[Detection]:
        """Faces in squares of a picture, best first, each once."""
        pictures = self._prepare(np.stack([cut_region(picture, region, side, _BORDER) for region in regions]))
        batches = [pictures[first : first + self._most] for first in range(0, len(pictures), self._most)]
        seen = [outputs for batch in batches for outputs in zip(*self._backend.run([batch]), strict=True)]
        found, places = [], []
        for region, outputs in zip(regions, seen, strict=True):
            corners, sure, five = self._decode(outputs, (side, side))
            for place in suppress(corners):
                found.append(_to_detection(corners[place], float(sure[place]), five[place], region, side))
                detected = found[-1].region
                half = detected.size / 2
                places.append([detected.x - half, detected.y - half, detected.x + half, detected.y + half])
        order = sorted(range(len(found)), key=lambda place: -found[place].score)
        if not order:
            return []
        return [found[order[place]] for place in suppress(np.array(places)[order])]


class ConfirmedDetector(BlazeFace):
    """Engine of services.detector.engines. Safe to call from several threads."""

    def __init__(self, networks: ConfirmedNetworks, info: EngineInfo, recognizer: Recognizer | None = None) -> None:
        self.info, self._networks, self._recognizer = info, networks, recognizer


def _to_detection(corners: np.ndarray, score: float, five: np.ndarray, region: Region, side: int) -> Detection:
    """From pixels of the cut to the picture's; the eyes say how the head is turned."""
    middle = (corners[:2] + corners[2:]) / 2
    (x, y), left, right = to_picture(np.stack([middle, five[0], five[1]]).astype(np.float32) / side, region)
    angle = math.atan2(float(right[1] - left[1]), float(right[0] - left[0]))
    size = float((corners[2:] - corners[:2]).max()) / side * region.size
    return Detection(region_of_box(float(x), float(y), size, angle), score)
