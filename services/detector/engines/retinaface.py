"""Detector engine: RetinaFace confirms faces, FaceMesh follows them; see _confirmed.py."""

from collections.abc import Sequence

import numpy as np

from services.detector.config import DetectorConfig
from services.detector.engines._anchors import decode
from services.detector.engines._confirmed import NEAR_SIDE, ConfirmedDetector, ConfirmedNetworks
from services.detector.engines._identity import Recognizer
from services.detector.engines.blazeface import list_models
from services.runtime.backends import Backend
from services.runtime.engine import EngineInfo
from services.runtime.networks.catalogue import load_model

VERSION = "1"
_MEAN = np.array([104, 117, 123], np.float32)  # BGR
_MIN_SCORE = 0.6


def load_retinaface(config: DetectorConfig, recognizer: Recognizer | None = None) -> ConfirmedDetector:
    """Raises ConfigError, and Refusal MODEL_MISSING, MODEL_ALTERED, MODEL_MISMATCH, MODEL_FORBIDDEN."""
    backend, info = load_model(config.retinaface_model, "retinaface", config.network, config.allow_noncommercial)
    backend.run([np.zeros((1, 3, NEAR_SIDE, NEAR_SIDE), np.float32)])  # warmed
    version = "-".join([VERSION, config.network.backend, config.network.precision])
    models = (info, *list_models(recognizer))
    networks = open_networks(backend, config.threads, config.network.max_batch_size)
    return ConfirmedDetector(networks, EngineInfo("retinaface", version, models), recognizer)


def open_networks(backend: Backend, threads: int, most: int) -> ConfirmedNetworks:
    return ConfirmedNetworks(backend, _prepare, _decode, threads, most)


def _prepare(squares: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((squares[..., ::-1] - _MEAN).transpose(0, 3, 1, 2))


def _decode(outputs: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes, scores, points = outputs
    return decode((boxes, scores, points), size, _MIN_SCORE)
