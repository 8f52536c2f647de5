"""The two networks of BlazeFace on LiteRT: find faces in a window of a picture, lay the mesh on one."""

import math
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from services.detector.engines._region import (
    Region,
    cut_region,
    is_settled,
    region_of_box,
    region_of_mesh,
    to_picture,
)
from services.detector.engines._ssd import decode_boxes, sigmoid, suppress_weighted
from services.runtime.faces import LANDMARK_COUNT

_INPUT_SIDE = 192  # of both networks, pixels


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found: the region in which the mesh network should find it."""

    region: Region
    score: float


@dataclass(frozen=True, slots=True)
class Mesh:
    """`points`: (468, 3) float32, picture pixels, z on the scale of x. `score`: that it lies on a face, 0 to 1."""

    points: np.ndarray
    score: float


class FaceNetworks:
    """Safe to call from several threads; the networks run one call at a time."""

    def __init__(self, detection: Path, mesh: Path, threads: int, min_detection_score: float) -> None:
        self._detection = _Network(detection, threads)
        self._mesh = _Network(mesh, threads)
        self._min_detection_score = min_detection_score
        self._lock = threading.Lock()

    def find_faces(self, picture: np.ndarray, window: Region) -> list[Detection]:
        """Faces in a window of an RGB picture, best first. They must stand roughly upright in the window."""
        cut = cut_region(picture, window, _INPUT_SIDE, cv2.BORDER_CONSTANT)
        pixels = cut * np.float32(2 / 255) - np.float32(1)
        with self._lock:
            raw_boxes, raw_scores = self._detection.run(pixels)
        boxes, scores = suppress_weighted(*decode_boxes(raw_boxes, raw_scores[:, 0], self._min_detection_score))
        return [_to_detection(box, float(score), window) for box, score in zip(boxes, scores, strict=True)]

    def find_mesh(self, picture: np.ndarray, region: Region) -> Mesh:
        """The mesh of the face in a region of an RGB picture."""
        cut = cut_region(picture, region, _INPUT_SIDE, cv2.BORDER_REPLICATE)
        pixels = cut * np.float32(1 / 255)
        with self._lock:
            raw_points, flag = self._mesh.run(pixels)
        points = raw_points.reshape(LANDMARK_COUNT, 3) / np.float32(_INPUT_SIDE)
        points[:, :2] = to_picture(points[:, :2], region)
        points[:, 2] *= np.float32(region.size)
        return Mesh(points, float(sigmoid(flag).item()))

    def settle_mesh(self, picture: np.ndarray, region: Region, min_score: float, looks: int) -> Mesh | None:
        """As find_mesh, looking again from where the face was found until it is found where it was looked for.

        None when a look scores below `min_score`. `looks`: at most so many.
        """
        mesh = self.find_mesh(picture, region)
        for _ in range(looks - 1):
            centred = region_of_mesh(mesh.points)
            if mesh.score < min_score or is_settled(centred, region):
                break
            region, mesh = centred, self.find_mesh(picture, centred)
        return mesh if mesh.score >= min_score else None


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


def _to_detection(box: np.ndarray, score: float, window: Region) -> Detection:
    """`box` (8, 2) as decode_boxes returns it."""
    (x, y), eye, other = to_picture(box[[0, 2, 3]], window)
    angle = math.atan2(float(other[1] - eye[1]), float(other[0] - eye[0]))
    size = float(box[1].max()) * window.size
    return Detection(region_of_box(float(x), float(y), size, angle), score)
