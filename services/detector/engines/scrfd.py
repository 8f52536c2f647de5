"""Detector engine: SCRFD confirms faces, FaceMesh follows them; see _confirmed.py. SCRFD comes as an ONNX file."""

from collections.abc import Sequence

import numpy as np

from services.detector.config import DetectorConfig
from services.detector.engines._centres import decode_centres
from services.detector.engines._confirmed import NEAR_SIDE, ConfirmedDetector, ConfirmedNetworks
from services.detector.engines._identity import Recognizer
from services.detector.engines.blazeface import list_models
from services.runtime.backends import Backend
from services.runtime.engine import EngineInfo
from services.runtime.networks.catalogue import load_model
from services.runtime.refusal import Refusal

VERSION = "1"
_MEAN, _DEVIATION = 127.5, 128.0
_MIN_SCORE = 0.5


def load_scrfd(config: DetectorConfig, recognizer: Recognizer | None = None) -> ConfirmedDetector:
    """Raises ConfigError, and Refusal MODEL_MISSING, MODEL_ALTERED, MODEL_MISMATCH, MODEL_FORBIDDEN."""
    backend, info = load_model(config.scrfd_model, "scrfd", config.network, config.allow_noncommercial)
    _warm(backend, config.scrfd_model)
    models = (info, *list_models(recognizer))
    networks = ConfirmedNetworks(backend, _prepare, _decode, config.threads, config.network.max_batch_size)
    return ConfirmedDetector(networks, EngineInfo("scrfd", VERSION, models), recognizer)


def _warm(backend: Backend, model: str) -> None:
    """Raises Refusal MODEL_MISMATCH for a file of fixed sides, or of other strides or anchors."""
    try:
        outputs = backend.run([np.zeros((1, 3, NEAR_SIDE, NEAR_SIDE), np.float32)])
        _decode([output[0] for output in outputs], (NEAR_SIDE, NEAR_SIDE))
    except Exception as error:
        # ONNX Runtime's own, of a picture that the file does not take, have no common public base.
        foreign = type(error).__module__.startswith("onnxruntime")
        if not foreign and not isinstance(error, RuntimeError | ValueError | IndexError):
            raise
        why = str(error).partition("\n")[0]
        message = f"model {model} is no SCRFD with points and open sides: {why}"
        raise Refusal("MODEL_MISMATCH", message, model=model) from error


def _prepare(squares: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((squares.transpose(0, 3, 1, 2) - np.float32(_MEAN)) / np.float32(_DEVIATION))


def _decode(outputs: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return decode_centres(outputs, size, _MIN_SCORE)
