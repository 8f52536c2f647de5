"""People whose mouths and voices are known exactly."""

import cv2
import numpy as np

from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import shape
from services.lipsync.engines.rewrite.shape import Measure
from services.runtime.faces import Crop

CROP_SIDE = 256


def open_mouths(openings: np.ndarray) -> np.ndarray:
    """Changes of shape (n, measures) of a mouth that opens by so much: the lower lip and the jaw go along."""
    changes = np.zeros((len(openings), shape.MEASURES))
    changes[:, Measure.OPENING] = openings
    changes[:, Measure.LOWER_LIP] = 0.8 * openings
    changes[:, Measure.JAW] = 0.7 * openings
    return changes


def make_points(changes: np.ndarray) -> np.ndarray:
    """Meshes (n, 468, 3) of the face frame: the mean face, its lips together, changed."""
    model = shape.load_face_model()
    own = shape.measure_points(model.reference[None])[0]
    closing = open_mouths(np.array([0.01 - own[Measure.OPENING]]))[0]
    return np.array([shape.change_shape(model.reference, closing + change) for change in changes])


def turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation as shape.measure_poses reads it. Degrees."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def pose(
    points: np.ndarray,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    scale: float = 80.0,
    centre: tuple[float, float] = (CROP_SIDE / 2, CROP_SIDE / 2),
) -> np.ndarray:
    """Meshes (n, 468, 3) float32 in pixels."""
    moved = scale * points @ turn(yaw, pitch, roll).T + np.array([*centre, 0.0])
    return np.asarray(moved, np.float32)


def paint(mesh: np.ndarray, side: int = CROP_SIDE) -> np.ndarray:
    """A picture of the face: skin with pores, red lips, a dark inside."""
    noise = np.random.default_rng(1).normal(0, 6, (side, side, 1))
    picture = np.clip(np.array([200.0, 160, 140]) + noise, 0, 255).astype(np.uint8)
    for ring, colour in ((shape.OUTER_LIPS, (180, 70, 80)), (shape.INNER_LIPS, (40, 10, 10))):
        cv2.fillPoly(picture, [np.rint(mesh[ring, :2]).astype(np.int32)], colour)
    return picture


def film(openings: np.ndarray, first: int = 0, rate: int = 25) -> list[Crop]:
    """Crops, one per opening; pts count frames."""
    meshes = pose(make_points(open_mouths(openings)))
    return [Crop(first + k, first + k, paint(mesh), mesh) for k, mesh in enumerate(meshes)]


def speak(seconds: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sound made of syllables and pauses, and how open (0 to 1) its mouth is, at SPEECH_RATE.

    Open syllables are bright and loud, half-open ones dull and nearly as loud.
    """
    random = np.random.default_rng(seed)
    total = int(seconds * SPEECH_RATE)
    openness, bright = np.zeros(total), np.zeros(total)
    start = 0
    while start < total:
        length = int(random.uniform(0.16, 0.32) * SPEECH_RATE)
        arch = np.hanning(length)[: max(total - start, 0)]
        kind = random.integers(3)  # open, half-open, pause
        openness[start : start + length] = arch * (1.0, 0.35, 0.0)[kind]
        bright[start : start + length] = arch * (1.0, 0.0, 0.0)[kind]
        start += length
    times = np.arange(total) / SPEECH_RATE
    loudness = np.sqrt(openness)
    low = sum(np.sin(2 * np.pi * 120 * k * times) / k for k in range(1, 8))
    high = sum(np.sin(2 * np.pi * 120 * k * times) for k in range(8, 24)) / 5
    hiss = random.normal(0, 1e-3, total)
    return np.asarray(0.1 * loudness * (low + bright * high) + hiss, np.float32), openness
