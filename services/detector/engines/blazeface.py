"""The default detector engine: BlazeFace full-range finds faces, FaceMesh follows them, both on LiteRT."""

import numpy as np

from services.detector.engines import TrackSettings
from services.detector.engines._identity import Recognizer
from services.detector.engines._networks import FaceNetworks
from services.detector.engines._region import Region, region_of_mesh, whole_picture, widen
from services.detector.engines._tracker import FaceTracker
from services.runtime.engine import EngineInfo, ModelInfo
from services.runtime.models import model_info, model_path

DETECTION_MODEL = "face-detection-full-range"
MESH_MODEL = "face-mesh"
_MIN_MESH_SCORE = 0.5
_LOOKS = 2
# A face that fills its crop is larger than those the detector knows: it sees the crop with air around it.
_AIR = 1.5
_FAR = 1e5  # pixels; farther out no rough mesh has anything to do with its crop


class BlazeFace:
    """Engine of services.detector.engines. Safe to call from several threads.

    `threads`: of the networks, in all. `recognizer`: tells persons apart. Raises Refusal: MODEL_MISSING, MODEL_ALTERED.
    """

    def __init__(
        self, threads: int = 2, min_detection_score: float = 0.5, recognizer: Recognizer | None = None
    ) -> None:
        self.info = EngineInfo("blazeface", "3", list_models(recognizer))
        self._recognizer = recognizer
        self._networks = FaceNetworks(model_path(DETECTION_MODEL), model_path(MESH_MODEL), threads, min_detection_score)

    def open_tracker(self, settings: TrackSettings) -> FaceTracker:
        return FaceTracker(self._networks, settings, self._recognizer)

    def landmark(self, crop: np.ndarray, rough: np.ndarray | None) -> tuple[float, np.ndarray] | None:
        region = region_of_mesh(rough) if rough is not None and _is_usable(rough) else self._find_region(crop)
        mesh = self._networks.settle_mesh(crop, region, _MIN_MESH_SCORE, _LOOKS)
        return (mesh.score, mesh.points) if mesh else None

    def _find_region(self, crop: np.ndarray) -> Region:
        whole = whole_picture(crop)
        found = self._networks.find_faces(crop, widen(whole, _AIR))
        # Both are coarse: a first mesh says where to look for the final one.
        rough = self._networks.find_mesh(crop, found[0].region if found else whole)
        return region_of_mesh(rough.points) if rough.score >= _MIN_MESH_SCORE else whole


def list_models(recognizer: Recognizer | None) -> tuple[ModelInfo, ...]:
    """What every engine of this family runs: BlazeFace, FaceMesh, and who tells persons apart."""
    return (model_info(DETECTION_MODEL), model_info(MESH_MODEL), *([recognizer.info] if recognizer else []))


def _is_usable(rough: np.ndarray) -> bool:
    return bool(np.abs(rough).max() < _FAR and np.ptp(rough[:, :2], axis=0).min() >= 1)
