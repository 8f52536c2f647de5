"""Detector engine: RetinaFace finds faces, FaceMesh follows them. Coarse to fine: BlazeFace says where to look.

BlazeFace is asked first, and asked to doubt nothing; RetinaFace looks only at what it names, and decides. Where
BlazeFace names nothing RetinaFace looks at the whole window.
"""

import math

import numpy as np

from services.detector.config import DetectorConfig
from services.detector.engines._anchors import decode, suppress
from services.detector.engines._identity import Recognizer
from services.detector.engines._networks import Detection, FaceNetworks
from services.detector.engines._region import Region, cut_region, region_of_box, to_picture, widen
from services.detector.engines.blazeface import DETECTION_MODEL, MESH_MODEL, BlazeFace
from services.runtime.backends import Backend
from services.runtime.engine import EngineInfo
from services.runtime.models import model_info, model_path
from services.runtime.networks.catalogue import load_model

VERSION = "1"
_MEAN = np.array([104, 117, 123], np.float32)  # BGR
_WHOLE_SIDE, _NEAR_SIDE = 640, 192  # pixels of a window and of a face's surroundings as RetinaFace sees them
_SURROUNDINGS = 1.6  # of a face's region
_DOUBTFUL = 0.2  # score from which BlazeFace's detections are looked at
_BORDER = 0  # cv2.BORDER_CONSTANT: black, as pictures are padded
_MIN_SCORE = 0.6


class RetinaFaceNetworks(FaceNetworks):
    """FaceNetworks whose faces RetinaFace has confirmed."""

    def __init__(self, backend: Backend, threads: int, most: int) -> None:
        super().__init__(model_path(DETECTION_MODEL), model_path(MESH_MODEL), threads, _DOUBTFUL)
        self._backend, self._most = backend, most

    def find_faces(self, picture: np.ndarray, window: Region) -> list[Detection]:
        named = super().find_faces(picture, window)
        if not named:
            return self._look(picture, [window], _WHOLE_SIDE)
        return self._look(picture, [widen(detection.region, _SURROUNDINGS) for detection in named], _NEAR_SIDE)

    def _look(self, picture: np.ndarray, regions: list[Region], side: int) -> list[Detection]:
        """Faces in squares of a picture, best first, each once."""
        cuts = np.stack([cut_region(picture, region, side, _BORDER) for region in regions])
        pictures = np.ascontiguousarray((cuts[..., ::-1] - _MEAN).transpose(0, 3, 1, 2))
        batches = [pictures[first : first + self._most] for first in range(0, len(pictures), self._most)]
        seen = [outputs for batch in batches for outputs in zip(*self._backend.run([batch]), strict=True)]
        found, places = [], []
        for region, outputs in zip(regions, seen, strict=True):
            corners, sure, five = decode(outputs, (side, side), _MIN_SCORE)
            for place in suppress(corners):
                found.append(_to_detection(corners[place], float(sure[place]), five[place], region, side))
                detected = found[-1].region
                half = detected.size / 2
                places.append([detected.x - half, detected.y - half, detected.x + half, detected.y + half])
        order = sorted(range(len(found)), key=lambda place: -found[place].score)
        if not order:
            return []
        return [found[order[place]] for place in suppress(np.array(places)[order])]


class RetinaFaceDetector(BlazeFace):
    """Engine of services.detector.engines. Safe to call from several threads. `most`: pictures in one batch."""

    def __init__(
        self, backend: Backend, info: EngineInfo, threads: int, most: int, recognizer: Recognizer | None = None
    ) -> None:
        self.info = info
        self._networks = RetinaFaceNetworks(backend, threads, most)
        self._recognizer = recognizer


def load_retinaface(config: DetectorConfig, recognizer: Recognizer | None = None) -> RetinaFaceDetector:
    """Raises ConfigError, and Refusal MODEL_MISSING, MODEL_ALTERED, MODEL_MISMATCH, MODEL_FORBIDDEN."""
    backend, info = load_model(config.retinaface_model, "retinaface", config.network, config.allow_noncommercial)
    backend.run([np.zeros((1, 3, _NEAR_SIDE, _NEAR_SIDE), np.float32)])  # warmed
    version = "-".join([VERSION, config.network.backend, config.network.precision])
    models = (info, model_info(DETECTION_MODEL), model_info(MESH_MODEL), *([recognizer.info] if recognizer else []))
    engine = EngineInfo("retinaface", version, models)
    return RetinaFaceDetector(backend, engine, config.threads, config.network.max_batch_size, recognizer)


def _to_detection(corners: np.ndarray, score: float, five: np.ndarray, region: Region, side: int) -> Detection:
    """From pixels of the cut to the picture's; the eyes say how the head is turned."""
    middle = (corners[:2] + corners[2:]) / 2
    (x, y), left, right = to_picture(np.stack([middle, five[0], five[1]]).astype(np.float32) / side, region)
    angle = math.atan2(float(right[1] - left[1]), float(right[0] - left[0]))
    size = float((corners[2:] - corners[:2]).max()) / side * region.size
    return Detection(region_of_box(float(x), float(y), size, angle), score)
