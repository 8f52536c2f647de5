"""Turned squares of a picture: what the networks look at, and the way back to picture pixels."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

# A face's square is cut this much wider than its box, as the mesh network was trained.
_MARGIN = 1.5
# Outer corners of the eyes in the mesh, left and right as seen in an upright picture.
_EYE_LEFT, _EYE_RIGHT = 33, 263
_MAX_OVERSAMPLING = 4
_WINDOW = 480.0  # pixels; faces of 20 are found in such a square, nearly all
# A mesh has settled within: part of the side, part of the side, radians.
_OFF_CENTRE, _OFF_SIZE, _OFF_ANGLE = 0.1, 0.15, 0.2


@dataclass(frozen=True, slots=True)
class Region:
    """Centre and side in pixels (origin at the outer corner of the top left pixel); `angle` in radians, clockwise."""

    x: float
    y: float
    size: float
    angle: float = 0.0


def whole_picture(picture: np.ndarray, angle: float = 0.0, room: float = 1.0) -> Region:
    """The smallest square about the picture, for the whole of it letterboxed; `room`: so many times as large."""
    height, width = picture.shape[:2]
    return Region(width / 2, height / 2, room * max(width, height), angle)


def windows_of(picture: np.ndarray, overlap: int) -> list[Region]:
    """Squares that cover the picture, for faces too small in the whole. `overlap`: pixels, of large pictures.

    Squares of half the longer side, a third or more overlapping; of a large picture more of them, none larger than the
    detector finds small faces in.
    """
    height, width = picture.shape[:2]
    side = max(width, height) / 2
    step = side * 2 / 3
    if side > _WINDOW:
        side, step = _WINDOW, _WINDOW - overlap
    return [Region(x, y, side) for y in _spread(height, side, step) for x in _spread(width, side, step)]


def _spread(length: float, side: float, step: float) -> list[float]:
    """Centres of squares along one side of the picture, at most `step` apart."""
    if length <= side:
        return [length / 2]
    count = math.ceil((length - side) / step) + 1
    return [float(centre) for centre in np.linspace(side / 2, length - side / 2, count)]


def region_of_mesh(mesh: np.ndarray) -> Region:
    """The square the mesh network should look at to find this mesh (468, 3) again."""
    across = mesh[_EYE_RIGHT] - mesh[_EYE_LEFT]
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    x, y = (low + high) / 2
    size = float((high - low).max()) * _MARGIN
    return Region(float(x), float(y), size, math.atan2(float(across[1]), float(across[0])))


def region_of_box(x: float, y: float, size: float, angle: float) -> Region:
    """As region_of_mesh, from a detected box's centre and longer side, and the angle of its eye line."""
    return Region(x, y, size * _MARGIN, angle)


def cut_region(picture: np.ndarray, region: Region, side: int, border: int) -> np.ndarray:
    """The region as (side, side, 3) uint8. `border`: cv2's name for what lies outside the picture."""
    # Warping alone takes single samples; a large region is cut larger and averaged down, which keeps meshes from
    # trembling with the aliasing.
    oversampling = min(max(round(region.size / side), 1), _MAX_OVERSAMPLING)
    cut_side = side * oversampling
    scale = cut_side / region.size
    cosine, sine = scale * math.cos(region.angle), scale * math.sin(region.angle)
    # cv2 counts from pixel centres, regions from corners: half a pixel in, half a pixel out.
    x, y = region.x - 0.5, region.y - 0.5
    middle = cut_side / 2 - 0.5
    matrix = np.array([[cosine, sine, middle - cosine * x - sine * y], [-sine, cosine, middle + sine * x - cosine * y]])
    cut = cv2.warpAffine(picture, matrix, (cut_side, cut_side), flags=cv2.INTER_LINEAR, borderMode=border)
    return cut if oversampling == 1 else cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA)


def to_picture(points: np.ndarray, region: Region) -> np.ndarray:
    """Points (n, 2) given in units of the region's side, as picture pixels."""
    cosine, sine = math.cos(region.angle), math.sin(region.angle)
    turned = (points - 0.5) @ np.array([[cosine, sine], [-sine, cosine]], np.float32)
    result: np.ndarray = turned * np.float32(region.size) + np.array([region.x, region.y], np.float32)
    return result


def widen(region: Region, factor: float) -> Region:
    return replace(region, size=region.size * factor)


def distance(region: Region, other: Region) -> float:
    """Between the centres, pixels."""
    return math.hypot(region.x - other.x, region.y - other.y)


def is_settled(found: Region, looked: Region) -> bool:
    """Whether a mesh's region is so near the one it was looked for in that looking again would change little."""
    turn = math.remainder(found.angle - looked.angle, math.tau)
    return (
        distance(found, looked) <= _OFF_CENTRE * looked.size
        and abs(found.size / looked.size - 1) <= _OFF_SIZE
        and abs(turn) <= _OFF_ANGLE
    )
