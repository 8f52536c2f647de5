"""The default detector engine: BlazeFace full-range finds faces, FaceMesh follows them, both on LiteRT."""

import math
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from services.detector.engines import TrackSettings
from services.detector.engines._region import (
    Region,
    cut_region,
    region_of_box,
    region_of_mesh,
    to_picture,
    whole_picture,
)
from services.detector.engines._ssd import decode_boxes, sigmoid, suppress_weighted
from services.detector.engines._tracker import FaceTracker
from services.runtime.engine import EngineInfo
from services.runtime.faces import LANDMARK_COUNT
from services.runtime.models import model_info, model_path

DETECTION_MODEL = "face-detection-full-range"
MESH_MODEL = "face-mesh"
_INPUT_SIDE = 192  # of both networks, pixels
_MIN_MESH_SCORE = 0.5


class _Network:
    """One interpreter and its tensors. Not thread-safe."""

    def __init__(self, path: Path, threads: int) -> None:
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """`pixels` (height, width, 3) float32, normalised. The outputs are the caller's own."""
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output)[0] for output in self._outputs]


class BlazeFace:
    """Engine of services.detector.engines. Safe to call from several threads; the networks run one call at a time.

    Raises Refusal: MODEL_MISSING, MODEL_ALTERED.
    """

    def __init__(self, threads: int = 2, min_detection_score: float = 0.5) -> None:
        models = (model_info(DETECTION_MODEL), model_info(MESH_MODEL))
        self.info = EngineInfo("blazeface", "1", models)
        self._min_detection_score = min_detection_score
        self._detection = _Network(model_path(DETECTION_MODEL), threads)
        self._mesh = _Network(model_path(MESH_MODEL), threads)
        self._lock = threading.Lock()

    def open_tracker(self, settings: TrackSettings) -> FaceTracker:
        return FaceTracker(self, settings)

    def landmark(self, crop: np.ndarray, rough: np.ndarray | None) -> tuple[float, np.ndarray] | None:
        if rough is not None:
            score, mesh = self.find_mesh(crop, region_of_mesh(rough))
            return (score, mesh) if score >= _MIN_MESH_SCORE else None
        # A face that fills its crop is larger than any the detector was trained on: give it air.
        whole = whole_picture(crop)
        found = self.find_faces(crop, Region(whole.x, whole.y, whole.size * 1.5))
        region = found[0].region if found else whole
        score, mesh = self.find_mesh(crop, region)
        if score >= _MIN_MESH_SCORE:
            score, mesh = self.find_mesh(crop, region_of_mesh(mesh))
        return (score, mesh) if score >= _MIN_MESH_SCORE else None

    def find_faces(self, picture: np.ndarray, window: Region) -> list["Detection"]:
        """Faces in a window of an RGB picture, best first. Faces must stand upright in the window, give or take."""
        cut = cut_region(picture, window, _INPUT_SIDE, cv2.BORDER_CONSTANT)
        with self._lock:
            raw_boxes, raw_scores = self._detection.run(cut * np.float32(2 / 255) - np.float32(1))
        boxes, scores = suppress_weighted(*decode_boxes(raw_boxes, raw_scores[:, 0], self._min_detection_score))
        return [_to_detection(box, float(score), window) for box, score in zip(boxes, scores, strict=True)]

    def find_mesh(self, picture: np.ndarray, region: Region) -> tuple[float, np.ndarray]:
        """Score and mesh (468, 3) float32, in picture pixels, of the face in a region of an RGB picture."""
        cut = cut_region(picture, region, _INPUT_SIDE, cv2.BORDER_REPLICATE)
        with self._lock:
            points, flag = self._mesh.run(cut * np.float32(1 / 255))
        mesh = points.reshape(LANDMARK_COUNT, 3) / np.float32(_INPUT_SIDE)
        mesh[:, :2] = to_picture(mesh[:, :2], region)
        mesh[:, 2] *= np.float32(region.size)
        return float(sigmoid(flag).item()), mesh


def _to_detection(box: np.ndarray, score: float, window: Region) -> "Detection":
    (x, y), eye, other = to_picture(box[[0, 2, 3]], window)
    angle = math.atan2(float(other[1] - eye[1]), float(other[0] - eye[0]))
    size = float(box[1].max()) * window.size
    return Detection(region_of_box(float(x), float(y), size, angle), score)
