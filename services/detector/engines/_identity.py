"""Who a face is: ArcFace's embedding of it, taken once for a track, and again on doubt."""

import math

import cv2
import numpy as np

from services.detector.config import DetectorConfig
from services.runtime.alignment import align, find_five_points
from services.runtime.batching import Batcher
from services.runtime.engine import ModelInfo
from services.runtime.networks.catalogue import load_model

_SIDE = 112  # pixels of the face that the network looks at
# Eyes, tip of the nose, corners of the mouth in it: the template of InsightFace's norm crop.
_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_MOST_FINER = 4  # times; that a large face is cut out larger
_EYE_LEFT, _EYE_RIGHT = 33, 263  # points of the FaceMesh
# Cosine of embeddings below which a face in doubt is another's. Those of strangers lie round 0, of one person seen in
# one light well above; between the two the track keeps its number.
_ANOTHER = 0.2


class Recognizer:
    """ArcFace on its backend. Safe to call from several threads; faces of all streams share batches."""

    def __init__(self, batcher: Batcher, info: ModelInfo) -> None:
        self._batcher = batcher
        self.info = info

    def embed(self, picture: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """(512,) float32 of length 1 for the face with that mesh (468, 3), both in pixels of an RGB picture.

        Raises Refusal DEVICE_EXHAUSTED, SERVICE_UNAVAILABLE.
        """
        matrix = align(find_five_points(mesh), _TEMPLATE)
        # A large face is averaged down, not sampled.
        finer = min(max(round(1 / max(math.hypot(*matrix[0, :2]), 1e-6)), 1), _MOST_FINER)
        if finer > 1:
            matrix = align(find_five_points(mesh), (_TEMPLATE + 0.5) * finer - 0.5)
        face = cv2.warpAffine(picture, matrix, (finer * _SIDE, finer * _SIDE), flags=cv2.INTER_LINEAR)
        face = cv2.resize(face, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        pixels = np.ascontiguousarray((face * np.float32(1 / 127.5) - np.float32(1)).transpose(2, 0, 1))
        ((embedding,),) = self._batcher.run([[pixels]])
        return np.asarray(embedding / max(float(np.linalg.norm(embedding)), 1e-6), np.float32)


def load_recognizer(config: DetectorConfig) -> Recognizer:
    """Raises ConfigError and Refusal as load_model does."""
    backend, info = load_model(config.arcface_model, "arcface", config.network, config.allow_noncommercial)
    batcher = Batcher(backend, config.network)
    batcher.run([[np.zeros((3, _SIDE, _SIDE), np.float32)]])  # warmed
    return Recognizer(batcher, info)


def is_another(embedding: np.ndarray, known: np.ndarray) -> bool:
    return float(embedding @ known) < _ANOTHER


def measure_look(mesh: np.ndarray) -> float:
    """How much a view shows of a face: the distance between the eyes in its pixels, less the more it is turned."""
    across = mesh[_EYE_RIGHT] - mesh[_EYE_LEFT]
    flat = math.hypot(float(across[0]), float(across[1]))
    return flat * flat / max(float(np.linalg.norm(across)), 1e-6)
